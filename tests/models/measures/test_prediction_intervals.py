"""The interval of a regression holds as many labels as it promises, and is measured as the literature defines it."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import PlanError
from core.prediction_interval import PredictionInterval
from models.measures.metrics import Observed, metric_value
from models.measures.prediction_intervals import conformal_interval


def test_the_bounds_are_order_statistics_of_the_errors() -> None:
    # 19 errors 1, ..., 19; each side misses a tenth: the 18th smallest of 20 places above, the 2nd below.
    label = np.arange(1.0, 20.0)
    assert conformal_interval(0.8, label, np.zeros(19)) == PredictionInterval(0.8, 2.0, 18.0)
    assert conformal_interval(0.9, label, np.zeros(19)) == PredictionInterval(0.9, 1.0, 19.0)


def test_too_few_validation_rows_are_refused_with_the_number_that_suffices() -> None:
    with pytest.raises(PlanError, match=r"18 validation rows are too few for a coverage of 0.9; expected at least 19"):
        conformal_interval(0.9, np.arange(18.0), np.zeros(18))


def test_weights_count_relative_to_their_mean() -> None:
    rng = np.random.default_rng(1)
    label, weight = rng.normal(size=400), rng.choice([1.0, 3.0], 400)
    weighted = conformal_interval(0.8, label, np.zeros(400), weight)
    assert weighted == conformal_interval(0.8, label, np.zeros(400), weight * 10)
    repeated = np.repeat(label, weight.astype(int))
    alike = conformal_interval(0.8, repeated, np.zeros(len(repeated)))
    assert (weighted.lower, weighted.upper) == pytest.approx((alike.lower, alike.upper), abs=0.05)


def test_skewed_labels_of_new_rows_lie_inside_as_often_as_promised() -> None:
    rng, inside = np.random.default_rng(2), []
    for _ in range(2000):
        label = rng.exponential(size=50)
        found = conformal_interval(0.8, label[:49], np.ones(49))
        lower, upper = found.around(1.0)
        inside.append(lower <= label[49] <= upper)
    # Exactly 0.8 for 49 rows: both bounds are order statistics, 5 and 45 of 50 places. Standard error 0.009.
    assert np.mean(inside) == pytest.approx(0.8, abs=0.03)


_ROWS = Observed(
    "regression",
    np.array([0.0, 1.0, 5.0, -4.0]),
    np.array([0.0, 0.0, 2.0, 0.0]),
    np.arange(4),
    interval=PredictionInterval(0.8, -1.0, 2.0),
)


def test_coverage_is_the_share_inside_and_the_score_adds_width_and_misses() -> None:
    # Widths 3; the third label is 1 above its bound, the fourth 3 below: 2 / 0.2 for each unit.
    assert metric_value("coverage", _ROWS) == 0.5
    assert metric_value("interval_score", _ROWS) == pytest.approx(3 + (10 * 1 + 10 * 3) / 4)


def test_metrics_of_intervals_are_undefined_without_one() -> None:
    rows = Observed("regression", _ROWS.label, _ROWS.score, _ROWS.entity)
    assert np.isnan([metric_value("coverage", rows), metric_value("interval_score", rows)]).all()


def test_the_agreement_of_ordered_classes_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(3)
    label, score = rng.integers(0, 4, 200).astype(np.int32), rng.dirichlet([1, 1, 1, 1], 200)
    rows = Observed("multiclass", label, score, np.arange(200))
    expected = cohen_kappa_score(label, score.argmax(axis=1), weights="quadratic")
    assert metric_value("quadratic_kappa", rows) == pytest.approx(expected)


def test_the_error_of_ordered_classes_is_their_mean_distance() -> None:
    score = np.eye(3)[[0, 2, 1, 2]]
    rows = Observed("multiclass", np.array([0, 0, 2, 2], np.int32), score, np.arange(4))
    assert metric_value("ordinal_mae", rows) == pytest.approx((0 + 2 + 1 + 0) / 4)


def test_the_agreement_is_undefined_for_one_class_only() -> None:
    rows = Observed("multiclass", np.zeros(3, np.int32), np.eye(3)[[0, 0, 0]], np.arange(3))
    assert np.isnan(metric_value("quadratic_kappa", rows))
