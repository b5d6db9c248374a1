"""Measures on rows that can be worked out by hand, and against scikit-learn on rows that nobody chose."""

from __future__ import annotations

from functools import partial
from math import log
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from core.plan.evaluate import METRICS, Metric
from core.prediction_interval import PredictionInterval
from models.measures.metrics import (
    ECE_BINS,
    LOWER_IS_BETTER,
    Observed,
    entity_numbers,
    equal_bins,
    metric_value,
    statistic,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LABEL = np.array([1, 0, 1, 0], dtype=np.int32)
SCORE = np.array([0.9, 0.6, 0.5, 0.2])


def binary(
    label: NDArray[np.int32] = LABEL, score: NDArray[np.float64] = SCORE, threshold: float = 0.55, **settings: Any
) -> Observed:
    return Observed("binary", label, score, np.arange(len(label)), threshold, **settings)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("roc_auc", 3 / 4),  # of 4 pairs only (0.5, 0.6) is in the wrong order
        ("pr_auc", (1 / 1 + 2 / 3) / 2),
        ("brier", (0.01 + 0.36 + 0.25 + 0.04) / 4),
        ("log_loss", -(log(0.9) + log(0.4) + log(0.5) + log(0.8)) / 4),
        ("precision", 1 / 2),
        ("recall", 1 / 2),
        ("f1", 1 / 2),
        ("accuracy", 2 / 4),
        ("balanced_accuracy", (1 / 2 + 1 / 2) / 2),
        ("ece", (0.1 + 0.6 + 0.5 + 0.2) / 4),  # every row is a bin
    ],
)
def test_four_rows_by_hand(metric: Metric, expected: float) -> None:
    assert metric_value(metric, binary()) == pytest.approx(expected)


def test_profit_is_of_a_thousand_rows() -> None:
    # Two of four are approached: one would have been lost (earns 10), one would have stayed (costs 3).
    assert metric_value("profit", binary(earned=(10.0, -3.0))) == pytest.approx(1000 * (10 - 3) / 4)


def test_gain_and_lift_are_of_the_highest_scores() -> None:
    rows = binary(top=0.25)
    assert metric_value("gain", rows) == pytest.approx(1 / 2)
    assert metric_value("lift", rows) == pytest.approx(2)


def test_a_tie_at_the_edge_of_the_top_counts_in_part() -> None:
    # The top half is the row at 0.9 and one of the three at 0.5, drawn by lot: 1 + 1/3 of 2 positives.
    rows = binary(score=np.array([0.9, 0.5, 0.5, 0.5]), top=0.5)
    assert metric_value("gain", rows) == pytest.approx((1 + 1 / 3) / 2)


def test_a_sure_and_wrong_score_costs_much_and_not_everything() -> None:
    assert np.isfinite(metric_value("log_loss", binary(score=np.array([0.0, 1.0, 0.5, 0.5]))))


def test_the_calibration_error_of_one_score_is_its_distance_from_the_rate() -> None:
    assert metric_value("ece", binary(score=np.full(4, 0.8))) == pytest.approx(0.3)


def test_bins_hold_equal_numbers_and_keep_equal_values_together() -> None:
    assert np.bincount(equal_bins(np.arange(100.0), 4)).tolist() == [25, 25, 25, 25]
    assert equal_bins(np.array([1.0, 1.0, 1.0, 2.0]), 4).tolist() == [0, 0, 0, 1]
    assert len(np.unique(equal_bins(np.arange(1000.0), ECE_BINS))) == ECE_BINS


def test_three_classes_by_hand() -> None:
    score = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    rows = Observed("multiclass", np.array([0, 1, 2, 2], dtype=np.int32), score, np.arange(4))
    assert metric_value("accuracy", rows) == pytest.approx(3 / 4)
    assert metric_value("balanced_accuracy", rows) == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert metric_value("f1", rows) == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert metric_value("log_loss", rows) == pytest.approx(-(log(0.6) + log(0.5) + log(0.2) + log(0.7)) / 4)
    # One against the rest: class 0 and class 1 rank right, class 2 has (0.2, 0.3) of four pairs in the wrong order.
    assert metric_value("roc_auc", rows) == pytest.approx((1 + 1 + 3 / 4) / 3)


def test_numbers_by_hand() -> None:
    label, score = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0])
    rows = Observed("regression", label, score, np.arange(3), quantile=0.9)
    assert metric_value("rmse", rows) == pytest.approx((5 / 3) ** 0.5)
    assert metric_value("mae", rows) == pytest.approx(1)
    assert metric_value("r2", rows) == pytest.approx(1 - 5 / 14)
    assert metric_value("pinball", rows) == pytest.approx((0.1 * 1 + 0.9 * 2) / 3)


def test_counts_by_hand() -> None:
    label, score = np.array([0.0, 1.0, 4.0]), np.array([0.5, 2.0, 2.0])
    rows = Observed("regression", label, score, np.arange(3))
    deviances = [2 * 0.5, 2 * (log(1 / 2) - 1 + 2), 2 * (4 * log(4 / 2) - 4 + 2)]
    assert metric_value("poisson_deviance", rows) == pytest.approx(sum(deviances) / 3)
    mean = 5 / 3
    of_mean = 2 * (0 + log(1 / mean) + 4 * log(4 / mean))  # the differences of label and mean sum to 0
    assert metric_value("d2_poisson", rows) == pytest.approx(1 - sum(deviances) / of_mean)


@pytest.mark.parametrize(("label", "score"), [(-1.0, 1.0), (1.0, 0.0), (1.0, -0.5)])
def test_what_is_no_count_or_no_mean_of_counts_has_no_deviance(label: float, score: float) -> None:
    rows = Observed("regression", np.array([label, 2.0]), np.array([score, 2.0]), np.arange(2))
    assert np.isnan(metric_value("poisson_deviance", rows))
    assert np.isnan(metric_value("d2_poisson", rows))


@pytest.mark.parametrize("metric", ["roc_auc", "balanced_accuracy"])
def test_one_class_does_not_define_what_compares_two(metric: Metric) -> None:
    assert np.isnan(metric_value(metric, binary(label=np.ones(4, np.int32))))


def test_nobody_decided_leaves_the_precision_undefined() -> None:
    assert np.isnan(metric_value("precision", binary(threshold=1.1)))


def test_no_threshold_leaves_decisions_undefined() -> None:
    assert np.isnan(metric_value("f1", binary(threshold=np.nan)))


@pytest.mark.parametrize("metric", METRICS["binary"])
def test_a_score_that_is_no_number_makes_every_measure_undefined(metric: Metric) -> None:
    assert np.isnan(metric_value(metric, binary(score=np.array([0.9, np.nan, 0.1, 0.2]))))


@pytest.mark.parametrize("metric", METRICS["binary"])
def test_no_rows_define_nothing(metric: Metric) -> None:
    assert np.isnan(metric_value(metric, binary(np.empty(0, np.int32), np.empty(0))))


def test_a_metric_of_another_problem_is_refused() -> None:
    with pytest.raises(ValueError, match="'rmse' is not a metric of a binary problem; expected roc_auc, "):
        metric_value("rmse", binary())


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="4 labels, 3 scores, 4 entities"):
        Observed("binary", LABEL, SCORE[:3], np.arange(4))


def test_every_metric_of_the_plan_belongs_to_a_problem_and_is_known_here() -> None:
    assert {metric for metrics in METRICS.values() for metric in metrics} == set(get_args(Metric))
    assert set(get_args(Metric)) >= LOWER_IS_BETTER
    some = {
        "binary": binary(earned=(1.0, -1.0)),
        "multiclass": Observed("multiclass", LABEL, np.full((4, 2), 0.5), np.arange(4)),
        "regression": Observed(
            "regression", SCORE, SCORE + 0.1, np.arange(4), interval=PredictionInterval(0.9, -0.2, 0.2)
        ),
    }
    for problem, rows in some.items():
        for metric in METRICS[problem]:
            assert np.isfinite(metric_value(metric, rows)), (problem, metric)


def test_entities_are_numbered_in_order() -> None:
    assert entity_numbers(["b", "a", "b"]).tolist() == [1, 0, 1]


#: scikit-learn's measures of probabilities and of decisions, with the weights of rows.
OF_SCORES: dict[Metric, Callable[..., float]] = {
    "roc_auc": metrics.roc_auc_score,
    "pr_auc": metrics.average_precision_score,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score_loss,
}
OF_DECISIONS: dict[Metric, Callable[..., float]] = {
    "precision": partial(metrics.precision_score, zero_division=np.nan),
    "recall": metrics.recall_score,
    "f1": metrics.f1_score,
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
}


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[Observed, NDArray[np.float64]]:
    """Rows with ties, of entities with several rows, and how often each entity was drawn; both labels count."""
    rows = draw(st.integers(2, 30))
    label = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows))], dtype=np.int32)
    score = np.array(draw(st.lists(st.integers(1, 9), min_size=rows + 2, max_size=rows + 2))) / 10
    entity = np.array([0, 1, *draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows))])
    weights = np.array([1, 2, *draw(st.lists(st.integers(0, 3), min_size=4, max_size=4))], dtype=np.float64)
    rows_ = Observed("binary", label, score, entity_numbers(entity), draw(st.integers(0, 10)) / 10)
    return rows_, weights[np.unique(entity)]


@pytest.mark.parametrize("metric", [*OF_SCORES, *OF_DECISIONS])
@given(drawn=weighted_rows())
def test_a_weighted_measure_is_scikit_learns_with_row_weights(
    metric: Metric, drawn: tuple[Observed, NDArray[np.float64]]
) -> None:
    rows, weights = drawn
    oracle = {**OF_SCORES, **OF_DECISIONS}[metric]
    judged = rows.score if metric in OF_SCORES else rows.decided
    expected = oracle(rows.label, judged, sample_weight=weights[rows.entity])
    found = float(statistic(metric, rows)(weights[None, :])[0])
    assert found == pytest.approx(expected, nan_ok=True)


@given(drawn=weighted_rows())
def test_a_weight_is_as_good_as_as_many_copies(drawn: tuple[Observed, NDArray[np.float64]]) -> None:
    rows, weights = drawn
    copies = np.repeat(np.arange(len(rows.label)), weights[rows.entity].astype(np.int64))
    many = Observed("binary", rows.label[copies], rows.score[copies], np.arange(len(copies)), rows.threshold)
    for metric in ("lift", "gain"):
        assert statistic(metric, rows)(weights[None, :])[0] == pytest.approx(metric_value(metric, many))


@given(
    label=st.lists(st.integers(0, 2), min_size=9, max_size=40),
    seed=st.integers(0, 1000),
)
def test_measures_of_classes_are_scikit_learns(label: list[int], seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth = np.array([0, 1, 2, *label], dtype=np.int32)
    score = chance.dirichlet(np.ones(3), len(truth))
    rows = Observed("multiclass", truth, score, np.arange(len(truth)))
    decided = score.argmax(axis=1)
    assert metric_value("roc_auc", rows) == pytest.approx(metrics.roc_auc_score(truth, score, multi_class="ovr"))
    assert metric_value("log_loss", rows) == pytest.approx(metrics.log_loss(truth, score))
    assert metric_value("f1", rows) == pytest.approx(metrics.f1_score(truth, decided, average="macro"))
    assert metric_value("balanced_accuracy", rows) == pytest.approx(metrics.balanced_accuracy_score(truth, decided))


@given(seed=st.integers(0, 1000), rows=st.integers(3, 50))
def test_measures_of_numbers_are_scikit_learns(seed: int, rows: int) -> None:
    chance = np.random.default_rng(seed)
    label, score, weight = chance.normal(size=rows), chance.normal(size=rows), chance.integers(1, 4, rows).astype(float)
    some = Observed("regression", label, score, np.arange(rows), quantile=0.8)
    oracles: dict[Metric, float] = {
        "rmse": metrics.root_mean_squared_error(label, score, sample_weight=weight),
        "mae": metrics.mean_absolute_error(label, score, sample_weight=weight),
        "r2": metrics.r2_score(label, score, sample_weight=weight),
        "pinball": metrics.mean_pinball_loss(label, score, sample_weight=weight, alpha=0.8),
    }
    for metric, expected in oracles.items():
        assert statistic(metric, some)(weight[None, :])[0] == pytest.approx(expected)
