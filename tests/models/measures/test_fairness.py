"""Rates by group on rows that can be counted, against fairlearn, and a disparity that is known."""

from __future__ import annotations

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

from models.measures.fairness import FALSE_POSITIVE, SELECTION, TRUE_POSITIVE, fairness
from models.measures.groups import Grouping
from models.measures.intervals import Resampling
from models.measures.metrics import Observed


def world(seed: int = 1, entities: int = 400) -> tuple[Observed, Grouping]:
    """Entities of two kinds with three rows each: half as many of `b`, and half as many of them selected."""
    chance = np.random.default_rng(seed)
    kind = (np.arange(entities) % 3 == 0).astype(np.int64)
    entity = np.repeat(np.arange(entities), 3)
    selected = (chance.random(entities) < np.where(kind == 1, 0.3, 0.6))[entity]
    label = chance.integers(0, 2, len(entity)).astype(np.int32)
    return Observed("binary", label, selected.astype(np.float64), entity, 0.5), Grouping(
        "kind", ("a", "b"), kind[entity]
    )


def test_rates_by_hand() -> None:
    label = np.array([1, 1, 0, 0, 1, 0], np.int32)
    rows = Observed("binary", label, np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.1]), np.arange(6), 0.5)
    found = fairness(rows, Grouping("kind", ("a", "b"), np.array([0, 0, 0, 0, 1, 1])), Resampling(repeats=100))
    a, b = found.parts
    assert [a.rates[rate].value for rate in (SELECTION, TRUE_POSITIVE, FALSE_POSITIVE)] == [0.5, 0.5, 0.5]
    assert [b.rates[rate].value for rate in (SELECTION, TRUE_POSITIVE, FALSE_POSITIVE)] == [0.5, 1, 0]
    assert (found.reference, found.gaps[TRUE_POSITIVE].value) == ("a", 0.5)
    assert np.isnan(found.gaps[TRUE_POSITIVE].lower)


def test_gaps_are_fairlearns() -> None:
    rows, group = world()
    found = fairness(rows, group, Resampling(repeats=100))
    given = {"y_true": rows.label, "y_pred": rows.decided, "sensitive_features": group.part_index}
    assert found.gaps[SELECTION].value == pytest.approx(demographic_parity_difference(**given))
    errors = max(found.gaps[TRUE_POSITIVE].value, found.gaps[FALSE_POSITIVE].value)
    assert errors == pytest.approx(equalized_odds_difference(**given))


def test_a_known_disparity_is_within_its_interval_in_most_worlds() -> None:
    held = 0
    for seed in range(40):
        found = fairness(*world(seed), Resampling(repeats=200, seed=seed))
        compared = found.parts[1].from_reference
        assert compared is not None
        held += compared[SELECTION].lower <= -0.3 <= compared[SELECTION].upper
    assert held >= 35  # 38 expected


def test_a_gap_is_within_its_interval_in_most_worlds_and_one_that_is_chance_alone_may_be_nothing() -> None:
    held = 0
    for seed in range(40):
        gap = fairness(*world(seed), Resampling(repeats=200, seed=seed)).gaps
        held += gap[SELECTION].lower <= 0.3 <= gap[SELECTION].upper
        assert gap[TRUE_POSITIVE].lower <= gap[TRUE_POSITIVE].value <= gap[TRUE_POSITIVE].upper
    assert held >= 35
    rows, _ = world()
    alike = Grouping("kind", ("a", "b"), rows.entity % 2)
    assert fairness(rows, alike, Resampling(repeats=200)).gaps[SELECTION].lower == 0


def test_the_interval_knows_that_rows_of_an_entity_are_decided_alike() -> None:
    rows, group = world()
    apart = Observed("binary", rows.label, rows.score, np.arange(len(rows.label)), 0.5)
    together, alone = (fairness(some, group, Resampling()).parts[0].rates[SELECTION] for some in (rows, apart))
    assert (together.upper - together.lower) / (alone.upper - alone.lower) == pytest.approx(3**0.5, rel=0.15)


def test_a_part_of_one_entity_is_shown_without_intervals_and_without_the_rates_it_lacks() -> None:
    rows, group = world()
    place = group.part_index.copy()
    place[rows.entity == 0] = 2
    label = rows.label.copy()
    label[rows.entity == 0] = 1
    lone = Observed("binary", label, rows.score, rows.entity, 0.5)
    found = fairness(lone, Grouping("kind", ("a", "b", "c"), place), Resampling(repeats=100)).parts[2]
    assert found.entities == 1
    assert np.isfinite(found.rates[SELECTION].value)
    assert np.isnan([found.rates[SELECTION].lower, found.rates[FALSE_POSITIVE].value]).all()
