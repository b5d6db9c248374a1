"""The technical limits of the arms of a running experiment, judged from what the service measured.

The limits are looked at every second, so each uses a bound that a release within the limit exceeds with a probability of at
most one in a million at a look.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.experiment.running.terms import Limits

#: Upper bounds of the bins of a call's duration; the last bin is open.
CALL_SECONDS = tuple(round(1e-4 * 1.5**step, 7) for step in range(30))
#: Calls are compared with at least this duration, since shorter ones are mostly noise of the machine.
_SHORTEST_SECONDS = 0.005
_QUANTILE = 0.95
#: The accepted share of slow calls is twice that of the control arm's calls, for the noise of the machine.
_SLOW_SHARE = 2 * (1 - _QUANTILE)
_LOG_ERROR = math.log(1e6)


@dataclass(frozen=True)
class Measured:
    """Counts of a release: calls of the model that succeeded and failed, and calls by duration, see `CALL_SECONDS`."""

    scored: int = 0
    failed: int = 0
    calls: tuple[int, ...] = (0,) * (len(CALL_SECONDS) + 1)

    @property
    def total(self) -> int:
        """The calls that succeeded or failed."""
        return self.scored + self.failed

    @property
    def failed_share(self) -> float:
        """The share that failed; 0 without calls."""
        return self.failed / self.total if self.total else 0.0

    def quantile_seconds(self, quantile: float) -> float:
        """Return the upper bound of the bin with a quantile of the calls; NaN without calls.

        >>> round(Measured(2, 0, (0, 2, *[0] * 29)).quantile_seconds(0.95), 6)
        0.00015
        """
        total, cumulative = sum(self.calls), 0
        for bound, count in zip(CALL_SECONDS, self.calls, strict=False):
            cumulative += count
            if total and cumulative >= quantile * total:
                return bound
        return math.inf if total else math.nan

    def slower_than(self, seconds: float) -> int:
        """Return the number of calls in the bins above the one with `seconds`."""
        return sum(self.calls[bisect_right(CALL_SECONDS, seconds) + 1 :])


def exceeds(share: float, count: int, total: int) -> bool:
    """Return whether `count` of `total` events contradict a probability of at most `share`.

    By Chernoff's bound, P(K >= k) <= exp(-n KL(k/n, p)) for n independent events of probability p and k/n > p, with the
    Kullback-Leibler divergence of two Bernoulli distributions. The result is True if that is below one in a million.

    >>> exceeds(0.01, 2, 2), exceeds(0.01, 1, 50)
    (False, False)
    >>> exceeds(0.01, 4, 4), exceeds(0.01, 10, 100)
    (True, True)
    """
    if not total or not count > share * total:
        return False
    found = count / total
    divergence = found * math.log(found / share)
    if found < 1:
        divergence += (1 - found) * math.log((1 - found) / (1 - share))
    return total * divergence > _LOG_ERROR


def score_distance(control: Sequence[float], treatment: Sequence[float]) -> float:
    """Return the largest distance of two empirical distributions (Kolmogorov-Smirnov); 0 if one is empty.

    >>> score_distance([0.1, 0.2], [0.2, 0.3])
    0.5
    """
    if not (control and treatment):
        return 0.0
    one, other = sorted(control), sorted(treatment)
    return max(
        abs(bisect_right(one, value) / len(one) - bisect_right(other, value) / len(other)) for value in {*one, *other}
    )


def distance_margin(control: int, treatment: int) -> float:
    """Return what the distance of two samples exceeds the true one by with a probability of one in a million, at most.

    By the inequality of Dvoretzky, Kiefer and Wolfowitz in Massart's form, for each sample with half of the error.
    """
    half = math.sqrt(math.log(4e6) / 2)
    return half * (1 / math.sqrt(control) + 1 / math.sqrt(treatment))


def broken_limit(
    limits: Limits,
    control: Measured,
    treatment: Measured,
    scores: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> str | None:
    """Return which limit the treatment breaks, in words; None if it breaks none.

    Parameters
    ----------
    scores : of the control arm and of the treatment.

    """
    total, accepted = treatment.total, min(1.0, limits.failed + control.failed_share)
    if exceeds(accepted, treatment.failed, total):
        return f"errors: {treatment.failed} of {total} calls of the model failed, at most {accepted:.2%} are accepted"
    usual = control.quantile_seconds(_QUANTILE)
    slow = max(_SHORTEST_SECONDS, limits.slowdown * usual)
    calls, slower = sum(treatment.calls), treatment.slower_than(slow)
    if usual <= slow and exceeds(_SLOW_SHARE, slower, calls):
        return (
            f"latency: {slower} of {calls} calls of the model took longer than {1000 * slow:.3g} ms, "
            f"at most {_SLOW_SHARE:.0%} are accepted (the control's 95 % point is {1000 * usual:.3g} ms)"
        )
    if limits.shift is not None and all(scores):
        distance = score_distance(*scores)
        margin = distance_margin(*map(len, scores))
        if distance - margin > limits.shift:
            return (
                f"scores: their distribution is {distance:.3f} (at least {distance - margin:.3f}) away from the control's, "
                f"at most {limits.shift:g} is accepted"
            )
    return None
