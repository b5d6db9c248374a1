"""Simulated experiments with a known effect, read every week; `make bench-experiments` has a thousand of each kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.monitoring.experiments import TERMS, correlation, guardrail_passes, simulate


@pytest.mark.parametrize("covariate", [None, "score"])
def test_weekly_readings_keep_the_error_the_coverage_and_the_power(covariate: str | None) -> None:
    rng, number = np.random.default_rng(21), 15
    same = [simulate(rng, 0.0, covariate) for _ in range(number)]
    better = [simulate(rng, TERMS.minimum_effect, covariate) for _ in range(number)]
    assert sum(each.decided for each in same) <= binom.ppf(0.999, number, TERMS.alpha)
    assert sum(each.shipped for each in better) >= binom.ppf(0.001, number, TERMS.power)
    assert sum(each.covered for each in same + better) >= binom.ppf(0.001, 2 * number, 0.95)
    assert sum(each.sequence_held for each in same + better) >= binom.ppf(0.001, 2 * number, 0.95)
    narrowed = math.sqrt(1 - correlation() ** 2) if covariate else 1.0
    assert np.mean([each.narrowed_by for each in same]) == pytest.approx(narrowed, abs=0.01)


def test_a_guardrail_that_is_lost_by_its_margin_is_rarely_called_not_worse() -> None:
    rng = np.random.default_rng(2)
    assert sum(guardrail_passes(rng, 0.1) for _ in range(20)) <= binom.ppf(0.999, 20, 0.05)
    assert sum(guardrail_passes(rng, 0.0) for _ in range(5)) == 5
