"""Intervals by resampling entities: exact where the draws can be listed, and covering the truth as often as they say."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from models.measures.intervals import (
    MINIMUM_ENTITIES,
    Estimate,
    Resampling,
    absolute_sum_interval,
    debiased_absolute_sum,
    estimate,
    interval,
    paired_difference,
    replicates,
)
from models.measures.metrics import Observed, metric_value, statistic


def rows_of_entities(seed: int, entities: int = 200, rows: int = 5, lift: float = 1.0) -> Observed:
    """Rows whose labels and scores depend on their entity: they are far from independent."""
    chance = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), rows)
    risk = chance.normal(size=entities)[entity]
    label = (risk + chance.normal(size=len(entity)) > 0.5).astype(np.int32)
    score = 1 / (1 + np.exp(-(lift * risk + 0.3 * chance.normal(size=len(entity)))))
    return Observed("binary", label, score, entity, 0.5)


def test_every_draw_is_of_as_many_entities_as_there_are() -> None:
    blocks = list(Resampling(repeats=120).draws(7))
    drawn = np.concatenate(blocks)
    assert drawn.shape == (120, 7)
    assert (drawn.sum(axis=1) == 7).all()


def test_draws_come_in_blocks_and_are_the_same_at_every_call() -> None:
    resampling = Resampling(repeats=100, seed=3)
    many = list(resampling.draws(500_000))
    assert len(many) > 1
    assert np.array_equal(next(resampling.draws(500_000)), many[0])


def test_the_replicates_of_a_mean_spread_as_the_formula_says() -> None:
    # The variance of the mean over resampled entities of equal size is the entities' variance over their number.
    rows = rows_of_entities(1)
    drawn = replicates({"brier": statistic("brier", rows)}, rows.entities, Resampling(repeats=4000))["brier"]
    by_entity = ((rows.score - rows.label) ** 2).reshape(200, 5).mean(axis=1)
    assert drawn.std() == pytest.approx(by_entity.std() / 200**0.5, rel=0.05)


def test_the_bounds_are_quantiles_widened_for_few_entities() -> None:
    drawn = np.arange(10_001.0)
    assert interval(5000.0, drawn, 1_000_000, 0.95) == pytest.approx((250, 9750), abs=1)
    lower, upper = interval(5000.0, drawn, 30, 0.95)
    # Student's 2.045 at 29 degrees of freedom, by (30/29)^0.5: 2.080, beyond which the normal has 1.88 %.
    assert (lower, upper) == pytest.approx((188, 9812), abs=2)


def test_the_ranks_of_the_bounds_leave_the_tails_outside() -> None:
    # Of 99 replicates and a new value, the new one is below the 5th with the chance 5/100.
    lower, upper = interval(50.0, np.arange(1.0, 100.0), 1_000_000, 0.9)
    assert (lower, upper) == pytest.approx((5, 95), abs=1e-3)


def test_beyond_the_outermost_draws_the_normal_goes_on() -> None:
    drawn = NormalDist().inv_cdf
    few = np.array([drawn((place + 0.5) / 100) for place in range(100)])
    lower, upper = interval(0.0, few, 1_000_000, 0.999)
    assert (lower, upper) == pytest.approx((-3.29 * few.std(), 3.29 * few.std()), rel=1e-3)
    assert upper > few.max()


def test_what_chance_adds_to_nothing_is_taken_away_by_hand() -> None:
    # 4 * 0 - 6 E|Z| + 4 E|sqrt(2) Z| - E|sqrt(3) Z|, where E|Z| is sqrt(2 / pi).
    expected = -(6 - 4 * 2**0.5 + 3**0.5) * (2 / np.pi) ** 0.5
    assert debiased_absolute_sum(np.zeros(1), np.ones(1)) == pytest.approx(expected)
    assert debiased_absolute_sum(np.array([-2.0, 3.0]), np.zeros(2)) == 5


@pytest.mark.parametrize(("mean", "most"), [(0, 0.36), (0.5, 0.05), (1, 0.1), (2, 0.05), (5, 0.01)])
def test_a_debiased_sum_is_right_on_average(mean: float, most: float) -> None:
    steps = np.linspace(-8, 8, 4001)
    density = np.exp(-(steps**2) / 2) / (2 * np.pi) ** 0.5 * (steps[1] - steps[0])
    average = float(debiased_absolute_sum((mean + steps)[:, None], np.ones(1)) @ density)
    assert average == pytest.approx(mean, abs=most)


def test_a_sum_of_sizes_far_from_nothing_has_the_interval_of_a_mean() -> None:
    apart = np.random.default_rng(3).normal(size=(4000, 2))
    parts = np.array([30.0, -40.0])
    lower, upper = absolute_sum_interval(parts, parts + apart, 1_000_000, 0.95)
    wide = 1.96 * 2**0.5
    assert (lower, upper) == pytest.approx((70 - wide, 70 + wide), abs=0.1)


def test_a_sum_of_sizes_that_is_chance_alone_may_be_nothing() -> None:
    apart = np.random.default_rng(3).normal(size=(400, 10))
    usual = np.full(10, (2 / np.pi) ** 0.5)  # the mean size of a normal
    lower, upper = absolute_sum_interval(usual, usual + apart, 1_000_000, 0.95)
    assert lower == 0
    assert upper > usual.sum() / 2


def test_a_sum_that_is_smaller_than_chance_makes_it_may_be_nothing_too() -> None:
    apart = np.random.default_rng(3).normal(size=(400, 10))
    small = np.full(10, 0.001)
    assert absolute_sum_interval(small, small + apart, 1_000_000, 0.95)[0] == 0


def test_the_calibration_error_of_true_probabilities_may_be_nothing() -> None:
    chance = np.random.default_rng(8)
    true = chance.uniform(0.05, 0.95, 2000)
    rows = Observed("binary", (chance.random(2000) < true).astype(np.int32), true, np.arange(2000))
    found = estimate("ece", rows, Resampling())
    assert found.lower < 0.002
    assert found.lower < found.value < 0.06


@pytest.mark.parametrize("entities", [1, MINIMUM_ENTITIES - 1])
def test_too_few_entities_have_a_value_and_no_interval(entities: int) -> None:
    found = estimate("brier", rows_of_entities(1, entities), Resampling())
    assert np.isfinite(found.value)
    assert np.isnan([found.lower, found.upper]).all()


def test_no_rows_have_nothing() -> None:
    empty = Observed("binary", np.empty(0, np.int32), np.empty(0), np.empty(0, np.int64))
    assert np.isnan(estimate("roc_auc", empty, Resampling()).value)


def test_a_measure_that_many_draws_leave_undefined_has_no_interval() -> None:
    # One positive entity of 40 is missing from about (1 - 1/40)^40, more than a third, of the draws.
    label = np.zeros(40, np.int32)
    label[0] = 1
    rows = Observed("binary", label, np.linspace(0, 1, 40), np.arange(40))
    found = estimate("roc_auc", rows, Resampling())
    assert found.value == 0
    assert np.isnan(found.lower)


def test_copies_of_rows_say_nothing_new() -> None:
    one = rows_of_entities(2, entities=300, rows=1)
    copies = np.repeat(np.arange(300), 5)
    five = Observed("binary", one.label[copies], one.score[copies], one.entity[copies])
    apart = Observed("binary", five.label, five.score, np.arange(1500))
    assert estimate("roc_auc", five, Resampling()) == estimate("roc_auc", one, Resampling())
    together, alone = (estimate("roc_auc", some, Resampling()) for some in (five, apart))
    assert (together.upper - together.lower) / (alone.upper - alone.lower) == pytest.approx(5**0.5, rel=0.1)


def test_a_difference_is_paired() -> None:
    rows = rows_of_entities(3)
    better = 0.9 * rows.score + 0.1 * rows.label
    found = paired_difference("roc_auc", rows.label, better, rows.score, rows.entity)
    assert found.first == metric_value("roc_auc", Observed("binary", rows.label, better, rows.entity))
    assert found.difference == found.first - found.second
    assert 0 < found.lower < found.difference < found.upper
    unpaired = estimate("roc_auc", rows, Resampling())
    assert found.upper - found.lower < (unpaired.upper - unpaired.lower) / 2


def test_a_model_does_not_differ_from_itself() -> None:
    rows = rows_of_entities(4)
    found = paired_difference("log_loss", rows.label, rows.score, rows.score, rows.entity)
    assert (found.difference, found.lower, found.upper) == (0, 0, 0)


def test_decisions_differ_by_their_thresholds() -> None:
    rows = rows_of_entities(5)
    found = paired_difference(
        "recall", rows.label, rows.score, rows.score, rows.entity, threshold_a=0.2, threshold_b=0.8
    )
    assert found.lower > 0


def test_other_rows_cannot_be_compared() -> None:
    from models.measures.intervals import difference

    with pytest.raises(ValueError, match="not scored on the same rows"):
        difference("roc_auc", rows_of_entities(1), rows_of_entities(2), Resampling())


def test_calibration_errors_that_are_chance_alone_do_not_differ_though_one_has_more_of_it() -> None:
    """One score for all is a single bin, true probabilities are fifteen: their error is larger by chance."""
    held, differences, centres = 0, [], []
    for seed in range(30):
        chance = np.random.default_rng(seed)
        true = chance.uniform(0.05, 0.95, 1500)
        label = (chance.random(1500) < true).astype(np.int32)
        found = paired_difference("ece", label, true, np.full(1500, 0.5), np.arange(1500))
        held += found.lower < 0 < found.upper
        differences.append(found.difference)
        centres.append((found.lower + found.upper) / 2)
    assert held >= 25
    assert np.mean(differences) > 0.015
    assert np.mean(centres) < 0.7 * np.mean(differences)


def test_equal_seeds_give_equal_intervals() -> None:
    rows = rows_of_entities(6)
    one, two, other = (estimate("pr_auc", rows, Resampling(seed=seed)) for seed in (1, 1, 2))
    assert one == two != other
    assert isinstance(one, Estimate)
