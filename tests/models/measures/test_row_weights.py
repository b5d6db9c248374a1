"""A row with weight 2 counts like two equal rows, in metrics, thresholds, calibrations and fits; amounts may differ by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from core.errors import PlanError
from core.plan.evaluate import METRICS, Money, Threshold
from core.plan.train import (
    LightGbmCandidate,
    LinearRegressionCandidate,
    LogisticCandidate,
    MajorityCandidate,
    SingleFeatureCandidate,
)
from core.prediction_interval import PredictionInterval
from models.candidates.candidates import fit
from models.candidates.trial_loss import loss_of
from models.data.rows import Rows, Task, row_weights, weights_of
from models.evaluation.measure_candidates import earned_by_row
from models.measures.calibration import fit_calibration
from models.measures.groups import filter_rows
from models.measures.metrics import Observed, metric_value
from models.measures.thresholds import NOBODY, choose_threshold
from models.scoring.encoding import Inputs
from models.scoring.model_file import load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Problem
    from core.plan.train import Candidate

_ROWS = 90
_INTERVAL = PredictionInterval(0.8, -1.0, 2.0)
WEIGHT = np.tile([0.0, 1.0, 2.0], _ROWS // 3)
#: The index of each row as often as its weight.
REPEATED = np.repeat(np.arange(_ROWS), WEIGHT.astype(int))


def _observed(problem: Problem, rows: NDArray[np.int64], weight: NDArray[np.float64] | None) -> Observed:
    rng = np.random.default_rng(1)
    label: NDArray[Any] = rng.integers(0, 3 if problem == "multiclass" else 2, _ROWS).astype(np.int32)
    score = np.round(rng.uniform(0.05, 0.95, _ROWS), 1)  # with ties
    if problem == "multiclass":
        score = rng.dirichlet([1, 1, 1], _ROWS)
    if problem == "regression":
        label = rng.poisson(3, _ROWS).astype(float)
    lost, staying = rng.uniform(1, 2, _ROWS), -rng.uniform(0, 1, _ROWS)
    entity = np.unique(rows // 3, return_inverse=True)[1]
    return Observed(
        problem,
        label[rows],
        score[rows],
        entity,
        0.5,
        earned=(lost[rows], staying[rows]),
        weight=weight,
        interval=_INTERVAL,
    )


@pytest.mark.parametrize(
    ("problem", "metric"),
    # The bins of the calibration error have equal numbers of rows, whatever their weights.
    [(problem, metric) for problem, metrics in METRICS.items() for metric in metrics if metric != "ece"],
)
def test_a_weighted_metric_is_that_of_repeated_rows(problem: Problem, metric: Metric) -> None:
    every = np.arange(_ROWS)
    weighted = metric_value(metric, _observed(problem, every, WEIGHT))
    assert weighted == pytest.approx(metric_value(metric, _observed(problem, REPEATED, None)))
    assert weighted != pytest.approx(metric_value(metric, _observed(problem, every, None)), abs=1e-6)


def test_a_part_of_the_rows_keeps_their_weights_and_profits() -> None:
    rows = _observed("binary", np.arange(_ROWS), WEIGHT)
    half = filter_rows(rows, np.arange(_ROWS) < _ROWS // 2)
    assert half.weight is not None
    np.testing.assert_array_equal(half.weight, WEIGHT[: _ROWS // 2])
    np.testing.assert_array_equal(half.earned[0], np.asarray(rows.earned[0])[: _ROWS // 2])


@pytest.mark.parametrize("goal", ["f1", "balanced_accuracy", "profit"])
def test_a_threshold_counts_rows_by_their_weight(goal: Any) -> None:
    rows = _observed("binary", np.arange(_ROWS), None)
    money = Money(kept_value=3, offer_cost=1, acceptance=1)
    label, score = rows.label.astype(np.int32), rows.score
    found = choose_threshold(Threshold(maximise=goal), money, label, score, WEIGHT)
    assert found == choose_threshold(Threshold(maximise=goal), money, label[REPEATED], score[REPEATED])


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_a_calibration_counts_rows_by_their_weight(kind: Any) -> None:
    rows = _observed("binary", np.arange(_ROWS), None)
    label, score, grid = rows.label.astype(np.int32), rows.score, np.array([0.2, 0.5, 0.8])
    weighted = fit_calibration(kind, label, score, WEIGHT).apply(grid)
    np.testing.assert_allclose(weighted, fit_calibration(kind, label[REPEATED], score[REPEATED]).apply(grid), atol=2e-3)


_FEATURES = (ContractFeature("v", "x", "float64"), ContractFeature("v", "y", "float64"))


@pytest.mark.parametrize(
    ("problem", "candidate"),
    [
        ("binary", MajorityCandidate(estimator="majority")),
        ("regression", MajorityCandidate(estimator="majority")),
        ("binary", LogisticCandidate(estimator="logistic_regression", numeric=())),
        ("regression", LinearRegressionCandidate(estimator="linear_regression", numeric=())),
        ("multiclass", LogisticCandidate(estimator="logistic_regression", numeric=(), class_weight="balanced")),
    ],
)
def test_a_candidate_is_fitted_as_on_repeated_rows(problem: Problem, candidate: Candidate) -> None:
    rng = np.random.default_rng(2)
    matrix, label = rng.normal(size=(_ROWS, 2)), rng.integers(0, 3 if problem == "multiclass" else 2, _ROWS)
    task = Task(problem, ("a", "b", "c") if problem == "multiclass" else ())
    label = label.astype(float if problem == "regression" else np.int32)
    weighted, repeated = Rows(Inputs(matrix), label, WEIGHT), Rows(Inputs(matrix), label).take(REPEATED)
    outputs = []
    for rows in (weighted, repeated):
        fitted = fit(candidate, _FEATURES, rows, rows, 1, task)
        outputs.append(load_model(fitted.model_format, fitted.content).outputs(Inputs(matrix)))
    # scikit-learn's solver stops at a tolerance; the penalty is that of the sum of weights.
    np.testing.assert_allclose(outputs[0], outputs[1], atol=0.02)


def test_boosted_trees_fit_and_stop_by_the_weights() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 2))
    # The label follows the first column among the rows that count, and the reverse among those that do not.
    counts = rng.random(600) < 0.5
    label = np.where(counts, x[:, 0] > 0, x[:, 0] <= 0).astype(np.int32)
    rows = Rows(Inputs(x), label, counts.astype(float))
    for candidate in (
        LightGbmCandidate(estimator="lightgbm", rounds=20, early_stopping=20),
        SingleFeatureCandidate(estimator="single_feature", feature="v.x"),
    ):
        fitted = fit(candidate, _FEATURES, rows, rows, 1)
        score = load_model(fitted.model_format, fitted.content).outputs(Inputs(x))[:, 0]
        assert ((score > 0.5) == (label == 1))[counts].mean() > 0.95
        assert ((score > 0.5) == (label == 1))[~counts].mean() < 0.1


def test_balanced_classes_have_equal_totals_of_the_rows_own_weights() -> None:
    weights = row_weights("balanced", np.array([0, 0, 1]), Task("binary"), np.array([1.0, 3.0, 2.0]))
    assert weights is not None
    assert weights[:2].sum() == pytest.approx(weights[2])
    assert weights.mean() == pytest.approx(1)
    assert weights[1] == pytest.approx(3 * weights[0])


def test_the_loss_of_a_trial_counts_rows_by_their_weight() -> None:
    outputs = np.array([[1.0], [5.0]])
    assert loss_of(outputs, np.array([1.0, 1.0]), np.array([3.0, 1.0])) == pytest.approx(2.0)  # sqrt(16 / 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], "v.weight is null in one of 1 of 2 rows"),
        ([1.0, -0.5], "v.weight is -0.5 in"),
        ([1.0, float("inf")], "v.weight is inf in"),
        ([0.0, 0.0], "v.weight is 0 in all of 2 rows"),
    ],
)
def test_a_weight_that_cannot_count_is_refused(values: list[float | None], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        weights_of(pa.table({"v__weight": pa.array(values, pa.float64())}), "v__weight")


MONEY = Money(kept_value="v.value", offer_cost=1, acceptance=1)
_TABLE = pa.table({"v__value": pa.array([2, 101, 2, 2], pa.int64())})
_LABEL, _SCORE = np.array([1, 1, 0, 0], np.int32), np.array([0.9, 0.4, 0.8, 0.3])


def test_the_profit_of_a_row_follows_from_its_own_amounts() -> None:
    lost, staying = earned_by_row(MONEY, _TABLE)
    assert np.asarray(lost).tolist() == [1, 100, 1, 1]
    assert np.asarray(staying).tolist() == [-1, -1, -1, -1]
    rows = Observed("binary", _LABEL, _SCORE, np.arange(4), 0.4, earned=(lost, staying))
    assert metric_value("profit", rows) == pytest.approx(1000 * (1 + 100 - 1) / 4)


def test_the_threshold_of_the_highest_profit_follows_the_amounts_of_the_rows() -> None:
    goal, earned = Threshold(maximise="profit"), earned_by_row(MONEY, _TABLE)
    assert choose_threshold(goal, MONEY, _LABEL, _SCORE, None, earned) == 0.4
    alike = Money(kept_value=2, offer_cost=1, acceptance=1)
    assert choose_threshold(goal, alike, _LABEL, _SCORE) == 0.9
    nothing = earned_by_row(MONEY, pa.table({"v__value": [0, 0, 0, 0]}))
    assert choose_threshold(goal, MONEY, _LABEL, _SCORE, None, nothing) == NOBODY


def test_an_amount_that_is_missing_is_refused_with_its_key() -> None:
    with pytest.raises(PlanError, match=r"evaluate.money.kept_value: v.value is null in one of 1 of 2 rows"):
        earned_by_row(MONEY, pa.table({"v__value": [None, 3.0]}))
