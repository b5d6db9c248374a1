"""DeLong's and McNemar's tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitoring.paired.statistics import delong_test, mcnemar_test

LABEL = np.array([1, 1, 0, 0], dtype=np.int32)


def test_delongs_test_of_four_rows_is_what_can_be_worked_out_by_hand() -> None:
    """V10 is (1, 1/2) and (1, 1), V01 is (1/2, 1) and (1, 1): each difference has the variance 1/8, over 2 rows."""
    found = delong_test(LABEL, np.array([0.9, 0.6, 0.7, 0.2]), np.array([0.8, 0.7, 0.1, 0.2]))
    assert (found.first, found.second, found.difference) == (0.75, 1.0, 0.25)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 8), rel=1e-12)
    assert found.p_value == pytest.approx(math.erfc(0.5), rel=1e-12)


def test_delongs_placements_are_those_of_all_pairs_with_ties_as_halves() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(60) < 0.4).astype(np.int32)
    first, second = (np.round(rng.normal(label, 1.5), 1) for _ in range(2))
    found = delong_test(label, first, second)
    wins = [
        np.where(score[label == 1][:, None] > score[label == 0], 1.0, 0.0)
        + np.where(score[label == 1][:, None] == score[label == 0], 0.5, 0.0)
        for score in (first, second)
    ]
    apart = wins[1] - wins[0]
    variance = sum(apart.mean(axis=axis).var(ddof=1) / apart.shape[1 - axis] for axis in (0, 1))
    assert (found.first, found.second) == pytest.approx((wins[0].mean(), wins[1].mean()), rel=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_delongs_test_of_equal_models_is_right_at_its_level() -> None:
    """In 400 tests 20 are expected below 0.05, with a standard deviation of 4.4."""
    rng = np.random.default_rng(5)
    label = np.repeat(np.array([0, 1], dtype=np.int32), 60)
    below = 0
    for _ in range(400):
        signal = label + rng.normal(0, 1, 120)
        first, second = signal + rng.normal(0, 1, 120), signal + rng.normal(0, 1, 120)
        below += delong_test(label, first, second).p_value < 0.05
    assert 7 <= below <= 34


def test_equal_orders_have_the_p_value_1_and_one_positive_has_none() -> None:
    score = np.array([0.9, 0.6, 0.7, 0.2])
    assert delong_test(LABEL, score, score**2).p_value == 1
    assert math.isnan(delong_test(np.array([1, 0, 0, 0], dtype=np.int32), score, score).p_value)


def test_mcnemars_test_is_binomial() -> None:
    assert mcnemar_test(1, 5) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar_test(0, 0) == 1


def test_mcnemars_published_example_is_reproduced() -> None:
    """Approval of a prime minister, Agresti (2013), Categorical Data Analysis, 11.1: 150 and 86 changed their opinion."""
    assert mcnemar_test(150, 86) == pytest.approx(3.716e-05, rel=1e-3)
