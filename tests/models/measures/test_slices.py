"""The search finds where a model was made worse, and does not cry wolf where it was not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from core.contracts import ContractFeature
from models.measures.metrics import Observed
from models.measures.slices import bins_of, confirm, holm, losses, suspects

FEATURES = (
    ContractFeature("v", "amount", "float64"),
    ContractFeature("v", "kind", "string", ("a", "b")),
    ContractFeature("v", "age", "int64"),
    ContractFeature("v", "note", "text"),
)


def world(seed: int, spoiled: bool) -> tuple[Observed, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Rows with true probabilities as scores; where `spoiled`, those of kind b with a high amount are said the opposite."""
    chance = np.random.default_rng(seed)
    rows = 6000
    matrix = np.column_stack(
        [chance.normal(size=rows), chance.integers(0, 2, rows), chance.integers(18, 80, rows), np.full(rows, np.nan)]
    )
    matrix[chance.random(rows) < 0.1, 2] = np.nan
    true = chance.choice([0.2, 0.8], rows)
    label = (chance.random(rows) < true).astype(np.int32)
    wrong = (matrix[:, 0] > 0.67) & (matrix[:, 1] == 1) if spoiled else np.zeros(rows, bool)
    return Observed("binary", label, np.where(wrong, 1 - true, true), np.arange(rows) // 2, 0.5), matrix


def test_features_are_cut_into_levels_quarters_and_what_is_missing() -> None:
    _, matrix = world(1, spoiled=False)
    names = [[one.name for one in found] for found in bins_of(matrix, FEATURES)]
    assert [len(found) for found in names] == [4, 2, 5]
    assert names[1] == ["v.kind is a", "v.kind is b"]
    assert names[2][-1] == "v.age is missing"


def test_the_bins_of_a_feature_hold_every_row_once() -> None:
    _, matrix = world(1, spoiled=False)
    for found in bins_of(matrix, FEATURES):
        assert (np.stack([one.holds(matrix) for one in found]).sum(axis=0) == 1).all()


def test_a_spoiled_slice_is_found_and_confirmed() -> None:
    (seen, seen_matrix), (later, later_matrix) = world(1, spoiled=True), world(2, spoiled=True)
    found = suspects(seen, seen_matrix, FEATURES, minimum=100, wanted=3)
    worst = confirm(later, later_matrix, found, minimum=100)[0]
    assert worst.name.startswith("v.amount above 0.6")
    assert worst.name.endswith("and v.kind is b")
    assert worst.p_value < 1e-6
    assert worst.loss > 2 * worst.loss_elsewhere


def test_what_chance_makes_of_an_honest_model_is_not_confirmed() -> None:
    shown, confirmed = 0, 0
    for seed in range(20):
        (seen, seen_matrix), (later, later_matrix) = world(seed, spoiled=False), world(seed + 100, spoiled=False)
        results = confirm(later, later_matrix, suspects(seen, seen_matrix, FEATURES, 100, 3), minimum=100)
        shown += len(results)
        confirmed += any(one.p_value < 0.05 for one in results)
    assert shown > 0
    assert confirmed <= 3  # 1 expected of 20


def test_a_slice_that_shares_its_rows_with_a_worse_one_is_skipped() -> None:
    rows, matrix = world(1, spoiled=True)
    found = suspects(rows, matrix, FEATURES, minimum=100, wanted=10)
    inside = [np.logical_and.reduce([one.holds(matrix) for one in bins]) for bins in found]
    for place, one in enumerate(inside):
        for other in inside[:place]:
            assert (one & other).sum() <= 0.5 * (one | other).sum()


def test_a_suspect_with_too_few_entities_later_is_not_judged() -> None:
    rows, matrix = world(1, spoiled=True)
    found = suspects(rows, matrix, FEATURES, minimum=100, wanted=1)
    few = Observed("binary", rows.label[:60], rows.score[:60], rows.entity[:60], 0.5)
    assert np.isnan(confirm(few, matrix[:60], found, minimum=100)[0].p_value)


def test_holms_correction_by_hand() -> None:
    # 0.01 of three: 0.03; 0.02 of the two left: 0.04; 0.03 of one: 0.03, but not below the one before.
    assert holm([0.02, 0.01, np.nan, 0.03]) == pytest.approx([0.04, 0.03, np.nan, 0.04], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_is_no_milder_than_the_false_discovery_rate() -> None:
    p_values = np.random.default_rng(1).random(30) ** 3
    assert (np.array(holm(p_values.tolist())) >= false_discovery_control(p_values) - 1e-12).all()


def test_losses_of_every_problem() -> None:
    label, entity = np.array([1, 0], np.int32), np.arange(2)
    assert losses(Observed("binary", label, np.array([0.5, 0.5]), entity)) == pytest.approx([np.log(2)] * 2)
    several = np.array([[0.25, 0.75], [1.0, 0.0]])
    assert losses(Observed("multiclass", label, several, entity)) == pytest.approx([-np.log(0.75), 0])
    assert losses(Observed("regression", np.array([1.0, 2.0]), np.array([3.0, 2.0]), entity)).tolist() == [4, 0]
