"""The technical limits of the arms."""

from __future__ import annotations

import numpy as np

from core.experiment.running.limits import CALL_SECONDS, Measured, broken_limit, exceeds
from core.experiment.running.terms import Limits

_LIMITS = Limits(failed=0.01, slowdown=4.0, shift=0.2)


def _calls(seconds: float, count: int) -> Measured:
    calls = [0] * (len(CALL_SECONDS) + 1)
    calls[int(np.searchsorted(CALL_SECONDS, seconds))] = count
    return Measured(count, 0, tuple(calls))


def test_a_release_that_always_fails_breaks_its_limit_at_the_fourth_call() -> None:
    control = _calls(0.001, 100)
    assert broken_limit(_LIMITS, control, Measured(0, 2)) is None
    assert "errors: 4 of 4 calls of the model failed" in str(broken_limit(_LIMITS, control, Measured(0, 4)))


def test_a_slow_release_breaks_its_limit_and_one_as_fast_as_the_control_does_not() -> None:
    control = _calls(0.010, 500)
    assert broken_limit(_LIMITS, control, _calls(0.012, 500)) is None
    assert "latency: 10 of 10 calls" in str(broken_limit(_LIMITS, control, _calls(0.100, 10)))


def test_without_calls_of_the_control_no_duration_is_judged() -> None:
    assert broken_limit(_LIMITS, Measured(), _calls(1.0, 100)) is None


def test_other_scores_break_a_limit_and_the_same_distribution_does_not() -> None:
    rng, fast = np.random.default_rng(1), _calls(0.001, 400)
    control, same = rng.uniform(size=400).tolist(), rng.uniform(size=400).tolist()
    assert broken_limit(_LIMITS, fast, fast, (control, same)) is None
    assert "scores" in str(broken_limit(_LIMITS, fast, fast, (control, [score / 4 for score in same])))


def test_a_release_within_its_limit_is_kept_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(1)
    failures = (rng.uniform(size=(200, 1_000)) < 0.01).cumsum(axis=1)
    alarms = [exceeds(0.01, int(row[look]), look + 1) for row in failures for look in range(0, 1_000, 10)]
    assert not any(alarms)
