"""A classifier that tells samples apart: what it finds, what it does not claim, and with which weights the reference stands."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.domain_classifier import separate


def sample(rows: int, seed: int, correlation: float = 0.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Draw two standard normal columns with this correlation, and a third that is missing in a tenth of the rows."""
    rng = np.random.default_rng(seed)
    first, second, third = rng.normal(size=(3, rows))
    third[rng.random(rows) < 0.1] = np.nan
    return np.stack([first, correlation * first + np.sqrt(1 - correlation**2) * second, third], axis=1)


def test_samples_of_one_distribution_are_not_told_apart() -> None:
    found = separate(sample(2_000, 1), sample(600, 2))
    assert found is not None
    assert not found.is_shown
    assert found.lower <= 0.5 <= found.upper
    # (1/5) sqrt(5 (n + m + 1) / (12 n m)) with n = 120 and m = 400 in each fold, times 2.3263 and 1.25
    assert found.limit == pytest.approx(0.5 + 2.3263 * 1.25 * np.sqrt(521 / (5 * 12 * 120 * 400)))


def test_a_change_that_no_column_shows_alone_is_told_by_both() -> None:
    found = separate(sample(2_000, 1), sample(600, 2, correlation=0.9))
    assert found is not None
    assert found.is_shown
    assert found.importance[:2].sum() > 0.9


def test_the_odds_weigh_the_reference_as_the_current_rows() -> None:
    reference, current = sample(4_000, 1), sample(4_000, 2)
    current[:, 0] += 0.5
    found = separate(reference, current)
    assert found is not None
    assert found.odds.mean() == pytest.approx(1)
    assert np.average(reference[:, 0], weights=found.odds) == pytest.approx(current[:, 0].mean(), abs=0.1)


def test_equal_arguments_give_equal_results_and_too_few_rows_none() -> None:
    one, two = separate(sample(300, 1), sample(300, 2), 3), separate(sample(300, 1), sample(300, 2), 3)
    assert one is not None
    assert two is not None
    assert one.auc == two.auc
    assert separate(sample(300, 1), sample(199, 2)) is None
