"""The confidence sequence on simulated experiments that are looked at every week."""

from __future__ import annotations

import math

import numpy as np

from core.experiment.confidence_sequence import sequence_margin

EXPERIMENTS, WEEKS, UNITS_PER_WEEK = 1_000, 12, 400


def _rates(first: float, second: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rates of two arms in each experiment by week, over all units so far."""
    rng = np.random.default_rng(7)
    units = UNITS_PER_WEEK * np.arange(1, WEEKS + 1)
    ones = [np.cumsum(rng.binomial(UNITS_PER_WEEK, rate, (EXPERIMENTS, WEEKS)), axis=1) for rate in (first, second)]
    return ones[0] / units, ones[1] / units


def _ever_excluded(rates: tuple[np.ndarray, np.ndarray], difference: float, *, sequence: bool) -> float:
    """Return the share of the experiments in which the interval of a week excludes `difference`."""
    units = UNITS_PER_WEEK * np.arange(1, WEEKS + 1)
    errors = np.sqrt(sum(rate * (1 - rate) / units for rate in rates))
    factors = [sequence_margin(1.0, 2 * int(count), 0.95) if sequence else 1.96 for count in units]
    return float((np.abs(rates[1] - rates[0] - difference) > np.array(factors) * errors).any(axis=1).mean())


def test_twelve_looks_without_an_effect_exclude_no_difference_within_alpha_where_the_fixed_interval_does_not() -> None:
    rates = _rates(0.2, 0.2)
    assert _ever_excluded(rates, 0.0, sequence=True) <= 0.05
    assert _ever_excluded(rates, 0.0, sequence=False) > 0.15


def test_twelve_looks_keep_the_true_difference_and_exclude_none() -> None:
    rates = _rates(0.20, 0.25)
    assert _ever_excluded(rates, 0.05, sequence=True) <= 0.05
    assert _ever_excluded(rates, 0.0, sequence=True) > 0.9


def test_the_margin_is_the_formula_of_waudby_smith() -> None:
    rho_squared = (-2 * math.log(0.1) + math.log(1 - 2 * math.log(0.1))) / 10_000
    ratio = 500 * rho_squared
    expected = 0.01 * math.sqrt((ratio + 1) / ratio * math.log((ratio + 1) / 0.01))
    assert math.isclose(sequence_margin(0.01, 500, 0.9), expected)
