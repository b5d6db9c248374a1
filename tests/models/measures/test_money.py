"""Profit at every threshold, against brute force and against worlds whose best threshold is known."""

from __future__ import annotations

import numpy as np
import pytest

from core.plan.evaluate import Money, Threshold
from models.measures.intervals import Resampling
from models.measures.metrics import Observed, metric_value
from models.measures.money import best_threshold, money_result, profit_curve
from models.measures.thresholds import NOBODY, choose_threshold

#: Approaching one who would be lost earns 6, one who would have stayed costs 4: from a probability of 0.4 on it pays.
MONEY = Money(kept_value=20, offer_cost=3, contact_cost=1, acceptance=7 / 17)


def world(seed: int, entities: int = 500, threshold: float = 0.4) -> Observed:
    """Rows whose score is the true probability; an entity's two rows have the same."""
    chance = np.random.default_rng(seed)
    score = np.repeat(chance.random(entities), 2)
    label = (chance.random(len(score)) < score).astype(np.int32)
    earned = (MONEY.earned_of_lost, MONEY.earned_of_staying)
    return Observed("binary", label, score, np.arange(len(score)) // 2, threshold, earned=earned)


def chosen(rows: Observed) -> float:
    return choose_threshold(Threshold(maximise="profit"), MONEY, rows.label.astype(np.int32), rows.score)


def test_the_break_even_is_where_the_offer_pays() -> None:
    assert (MONEY.earned_of_lost, MONEY.earned_of_staying) == pytest.approx((6, -4))
    assert MONEY.break_even == pytest.approx(0.4)


def test_every_point_of_the_curve_is_the_profit_at_its_threshold() -> None:
    rows = world(1)
    curve = profit_curve(rows, Resampling(repeats=100))
    assert (curve[0].threshold, curve[0].share, curve[0].profit.value) == (NOBODY, 0, 0)
    assert curve[-1].share == 1
    for point in curve[::10]:
        at = Observed("binary", rows.label, rows.score, rows.entity, point.threshold, earned=rows.earned)
        assert point.profit.value == pytest.approx(metric_value("profit", at))


def test_treating_all_and_none_stand_beside_the_threshold() -> None:
    rows = world(2)
    found = money_result(
        "EUR", MONEY.break_even, best_threshold(rows, chosen(rows), 1.0, Resampling()), rows, Resampling()
    )
    lost = float(rows.label.mean())
    assert found.treat_all.value == pytest.approx(1000 * (6 * lost - 4 * (1 - lost)))
    assert found.treat_none.value == 0
    assert found.over_treating_all.value == pytest.approx(found.at_threshold.value - found.treat_all.value)
    assert found.over_treating_all.lower > 0


def test_the_true_best_threshold_is_within_the_range_in_at_least_as_many_worlds_as_promised() -> None:
    held = 0
    for seed in range(60):
        rows = world(seed)
        best = best_threshold(rows, chosen(rows), 1.0, Resampling(repeats=200, seed=seed))
        held += best.lower <= 0.4 <= best.upper
    assert held >= 55  # 57 promised


def test_more_rows_narrow_the_range() -> None:
    few, many = world(3, entities=200), world(3, entities=20_000)
    wide, narrow = (best_threshold(rows, chosen(rows), 1.0, Resampling(repeats=100)) for rows in (few, many))
    assert narrow.upper - narrow.lower < (wide.upper - wide.lower) / 2


def test_the_range_stays_within_the_capacity() -> None:
    rows = world(4)
    within = MONEY.model_copy(update={"capacity": 0.1})
    at = choose_threshold(Threshold(maximise="profit"), within, rows.label.astype(np.int32), rows.score)
    best = best_threshold(rows, at, 0.1, Resampling(repeats=100))
    assert 0.88 < best.lower <= best.value <= best.upper


def test_few_entities_have_no_range() -> None:
    rows = world(5, entities=20)
    assert np.isnan(best_threshold(rows, 0.4, 1.0, Resampling(repeats=100)).lower)
