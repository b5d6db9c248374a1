"""Curves at points that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc

from models.measures import curves
from models.measures.metrics import Observed, metric_value

#: From the highest score down the labels are 1, 1, 0, then 1 and 0 at the same score, then 0.
ROWS = Observed(
    "binary",
    np.array([1, 1, 0, 1, 0, 0], np.int32),
    np.array([0.9, 0.8, 0.7, 0.5, 0.5, 0.1]),
    np.arange(6),
)


def test_the_roc_curve_by_hand() -> None:
    third = 1 / 3
    expected = np.array([[0, 0], [0, third], [0, 2 * third], [third, 2 * third], [2 * third, 1], [1, 1]])
    found = curves.roc(ROWS)
    # Points on a straight line between two others are dropped.
    assert all(any(np.allclose(point, wanted) for wanted in expected) for point in found)
    assert auc(*found.T) == pytest.approx(metric_value("roc_auc", ROWS)) == pytest.approx(7.5 / 9)


def test_precision_over_recall_by_hand() -> None:
    expected = np.array([[1 / 3, 1], [2 / 3, 1], [2 / 3, 2 / 3], [1, 3 / 5], [1, 1 / 2]])
    np.testing.assert_allclose(curves.precision_recall(ROWS), expected)


def test_gains_by_hand() -> None:
    expected = np.array([[0, 0], [1 / 6, 1 / 3], [2 / 6, 2 / 3], [3 / 6, 2 / 3], [5 / 6, 1], [1, 1]])
    np.testing.assert_allclose(curves.gains(ROWS), expected)


def test_calibration_by_hand() -> None:
    """Six rows make no fifteen bins: each score is one, and the two equal ones stand together."""
    expected = np.array([[0.1, 0], [0.5, 0.5], [0.7, 0], [0.8, 1], [0.9, 1]])
    np.testing.assert_allclose(curves.calibration(ROWS), expected)


def test_of_several_classes_the_likeliest_ones_probability_is_judged() -> None:
    score = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    rows = Observed("multiclass", np.array([0, 2], np.int32), score, np.arange(2))
    np.testing.assert_allclose(curves.calibration(rows), [[0.6, 1], [0.7, 0]])


def test_a_long_curve_keeps_its_ends_and_its_shape() -> None:
    chance = np.random.default_rng(4)
    label = (chance.random(5000) < 0.3).astype(np.int32)
    rows = Observed("binary", label, label * 0.5 + chance.random(5000), np.arange(5000))
    found = curves.roc(rows)
    assert len(found) <= 202
    np.testing.assert_array_equal(found[[0, -1]], [[0, 0], [1, 1]])
    assert auc(*found.T) == pytest.approx(metric_value("roc_auc", rows), abs=0.005)


def test_a_curve_is_written_a_point_a_line() -> None:
    assert curves.to_csv(curves.GAINS, np.array([[0, 0], [1 / 3, 1]])) == (
        "share_of_rows,share_of_positives\n0,0\n0.333333,1\n"
    )
