"""Measures on four rows that can be worked out by hand."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from core.plan import Threshold
from models.metrics import best_threshold, measure

LABEL = np.array([1, 0, 1, 0], dtype=np.int32)
SCORE = np.array([0.9, 0.6, 0.5, 0.2])


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    assert measure("roc_auc", LABEL, SCORE) == pytest.approx(3 / 4)


def test_pr_auc_is_the_mean_precision_at_the_positives() -> None:
    assert measure("pr_auc", LABEL, SCORE) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_brier_is_the_mean_squared_error() -> None:
    assert measure("brier", LABEL, SCORE) == pytest.approx((0.01 + 0.36 + 0.25 + 0.04) / 4)


def test_log_loss_is_the_mean_surprise() -> None:
    assert measure("log_loss", LABEL, SCORE) == pytest.approx(-(log(0.9) + log(0.4) + log(0.5) + log(0.8)) / 4)


def test_a_sure_and_wrong_score_costs_much_and_not_everything() -> None:
    assert np.isfinite(measure("log_loss", LABEL, np.array([0.0, 1.0, 0.5, 0.5])))


def test_the_threshold_of_f1() -> None:
    # At 0.9: 2/3; at 0.6: 2/4; at 0.5: 4/5; at 0.2: 4/6.
    assert best_threshold(Threshold(maximise="f1"), LABEL, SCORE) == 0.5


def test_the_threshold_of_balanced_accuracy_is_the_highest_of_the_best() -> None:
    # At 0.9: (1/2 + 1) / 2; at 0.5: (1 + 1/2) / 2: equal, so the higher one.
    assert best_threshold(Threshold(maximise="balanced_accuracy"), LABEL, SCORE) == 0.9


def test_rows_of_one_score_are_decided_together() -> None:
    label, score = np.array([1, 0, 1, 0], dtype=np.int32), np.array([0.7, 0.7, 0.7, 0.1])
    assert best_threshold(Threshold(maximise="f1"), label, score) == 0.7
