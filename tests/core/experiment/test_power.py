"""Power and group-sequential bounds against published tables, and against simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.errors import PantheraError
from core.experiment.power import detectable_effect, drift, units_per_arm
from core.experiment.sequential import crossing_probability, sequential_bounds

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def test_units_of_the_published_falls_of_five_percent_churn() -> None:
    assert [units_per_arm(0.05, effect) for effect in (-0.0025, -0.005, -0.01)] == [116_470, 28_405, 6_742]


@pytest.mark.parametrize("looks", [1, 5])
@pytest.mark.parametrize("base_rate", [0.05, 0.5, 0.9])
def test_the_detectable_effect_is_the_inverse_of_the_units(base_rate: float, looks: int) -> None:
    units = units_per_arm(base_rate, 0.02, looks=looks)
    assert math.isclose(detectable_effect(base_rate, units, looks=looks), 0.02, rel_tol=1e-3)


def test_bounds_of_the_cubic_spending_for_five_looks_are_the_published_ones() -> None:
    # The table cuts its digits: the third bound is 2.60451.
    cut = [math.floor(1000 * bound) / 1000 for bound in sequential_bounds(FIVE)]
    assert cut == [3.540, 2.974, 2.604, 2.306, 2.045]


def test_bounds_of_the_spending_of_lan_and_demets_for_five_looks_are_the_published_ones() -> None:
    found = sequential_bounds(FIVE, spending="obrien_fleming")
    assert np.allclose(found, [4.877, 3.357, 2.680, 2.290, 2.031], atol=6e-4)


def test_the_classic_bounds_of_obrien_and_fleming_are_exceeded_by_chance_once_in_twenty() -> None:
    classic = [2.040 / math.sqrt(fraction) for fraction in FIVE]
    assert math.isclose(2 * crossing_probability(FIVE, classic, 0.0), 0.05, abs_tol=1e-4)


def test_one_look_has_the_bound_of_the_fixed_horizon() -> None:
    assert round(sequential_bounds([1.0])[0], 6) == 1.959964


def test_a_last_look_with_more_than_the_planned_information_spends_the_rest() -> None:
    fractions = [0.4, 0.8, 1.5]
    bounds = sequential_bounds(fractions)
    assert bounds[:2] == sequential_bounds([0.4, 0.8])
    assert math.isclose(2 * crossing_probability(fractions, bounds, 0.0), 0.05, abs_tol=1e-5)
    assert bounds[2] > sequential_bounds([0.4, 0.8, 1.0])[2]


def test_a_bound_does_not_depend_on_later_looks() -> None:
    assert sequential_bounds([0.17, 0.5]) == sequential_bounds([0.17, 0.5, 0.71, 1.0])[:2]


@pytest.mark.parametrize(
    "fractions", [[0.0], [0.5, 0.5], [0.6, 0.4], [0.5, 1.0, 1.1], [math.nan], [math.inf], [0.5, math.nan]]
)
def test_fractions_that_do_not_increase_up_to_one_are_refused(fractions: list[float]) -> None:
    with pytest.raises(PantheraError, match="information fractions"):
        sequential_bounds(fractions)


@pytest.mark.parametrize(
    ("base_rate", "effect"), [(0.0, 0.1), (1.0, -0.1), (0.05, 0.0), (0.05, -0.06), (math.nan, 0.1)]
)
def test_rates_out_of_range_are_refused(base_rate: float, effect: float) -> None:
    with pytest.raises(PantheraError, match="base rate"):
        units_per_arm(base_rate, effect)


@pytest.mark.parametrize(("alpha", "power", "looks"), [(0.0, 0.8, 1), (0.05, 1.0, 1), (0.05, 0.8, 0), (0.9, 0.8, 1)])
def test_error_rates_out_of_range_are_refused(alpha: float, power: float, looks: int) -> None:
    with pytest.raises(PantheraError, match="alpha"):
        units_per_arm(0.05, 0.01, alpha=alpha, power=power, looks=looks)


@pytest.mark.parametrize("fractions", [FIVE, [week / 12 for week in range(1, 13)], [0.05, 0.3, 0.31, 1.0]])
def test_looks_at_experiments_without_an_effect_keep_the_false_positives_within_alpha(fractions: list[float]) -> None:
    share = _share_beyond(fractions, mean=0.0)
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 20_000)


def test_looks_at_experiments_with_the_planned_effect_have_the_promised_power() -> None:
    share = _share_beyond(FIVE, mean=drift(0.05, 0.8, 5))
    assert abs(share - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 20_000)


def _share_beyond(fractions: list[float], mean: float) -> float:
    """Return the share of 20,000 simulated experiments that exceed a bound at a look."""
    rng = np.random.default_rng(11)
    steps = np.diff(fractions, prepend=0.0)
    score = np.cumsum(rng.normal(mean * steps, np.sqrt(steps), (20_000, len(steps))), axis=1)
    return float((np.abs(score / np.sqrt(fractions)) > sequential_bounds(fractions)).any(axis=1).mean())
