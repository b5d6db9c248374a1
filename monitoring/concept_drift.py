"""Concept drift: the gap between matured outcomes and what the scores promise, followed by a CUSUM over cohorts.

Two gaps are followed. The *level*: more or fewer positives than promised. The *discrimination*: outcomes that follow the
score less or more than promised.

False alarms: a history of 52 cohorts without a change of the relation raises an alarm with a probability of at most 5 %,
also if the mix of cases differs from that of the reference. Two properties make it so. Each gap has mean 0 and standard
deviation 1, apart from the error of the reference, of which three standard errors are allowed for: it is the same in all
cohorts, and an isotonic fit is biased at its ends. And the four sums (two gaps, both directions) with allowance 0.5
and limit 7 have an average run length without change of 7,000 cohorts each (Siegmund 1985, 2.57), so that 52 cohorts exceed
a limit with a probability of about 3 %. The rows of a history must be independent: one entity, one label window.

References
----------
Page, E. S. (1954). Continuous inspection schemes. Biometrika, 41. Siegmund, D. (1985). Sequential Analysis.

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.calibration import ScoreReference

#: Allowance and limit of the CUSUM, in standard deviations of a cohort's gap.
ALLOWANCE, LIMIT = 0.5, 7.0
#: The smallest variance of the number of positives of a cohort whose gap is nearly normal.
MINIMUM_VARIANCE = 5.0
#: Standard errors of the reference that are allowed for.
_REFERENCE_ERRORS = 3.0


@dataclass(frozen=True)
class Gap:
    """A gap in standard deviations of the outcomes, and the part of it that the error of the reference may explain."""

    value: float
    allowed: float


@dataclass(frozen=True)
class CohortGaps:
    """The gaps of a cohort: positive if there are more positives, or a better discrimination, than promised."""

    level: Gap
    discrimination: Gap


@dataclass(frozen=True)
class Sums:
    """The upper and lower sum of a CUSUM after a cohort; the alarm is raised above `LIMIT`."""

    upper: float
    lower: float


#: The sums before the first cohort.
NO_SUMS = Sums(0.0, 0.0)


def cohort_gaps(
    score: NDArray[np.float64], outcome: NDArray[np.float64], reference: ScoreReference
) -> CohortGaps | None:
    """Return the gaps of a cohort with 0/1 outcomes, both of shape (rows,); None if it is too small for a normal gap.

    With p the promised probability and u a function of the score, the gap is the sum of u (outcome - p) over the square
    root of the sum of u^2 p (1 - p). The level has u = 1. Discrimination has the rank of the score among the reference rows,
    from 0 to 1, less its mean weighted by p (1 - p), so that both gaps are uncorrelated.
    """
    blocks = _Blocks.of(reference)
    block, p = reference.block_of(score), reference.probabilities(score)
    variance = np.maximum(p * (1 - p), blocks.variance[block])
    if variance.sum() < MINIMUM_VARIANCE:
        return None
    rank = blocks.rank[block]
    centred = rank - (rank @ variance) / variance.sum()
    level, discrimination = (_gap(u, outcome - p, variance, blocks.error(block, u)) for u in (np.ones(len(p)), centred))
    return CohortGaps(level, discrimination)


@dataclass(frozen=True)
class _Blocks:
    """Of each block of a reference: the middle rank of its rows, the variance of an outcome, and the independent rows."""

    rank: NDArray[np.float64]
    variance: NDArray[np.float64]
    rows: NDArray[np.float64]

    @staticmethod
    def of(reference: ScoreReference) -> _Blocks:
        rows = reference.independent_rows
        # Half a row of each outcome is added: a block without positives has an uncertain share, too.
        share = (np.asarray(reference.positives) / np.asarray(reference.rows) * rows + 0.5) / (rows + 1)
        return _Blocks((np.cumsum(rows) - rows / 2) / rows.sum(), share * (1 - share), rows)

    def error(self, block: NDArray[np.int64], u: NDArray[np.float64]) -> float:
        """Return the standard error of the sum of u p over rows in these blocks."""
        weight = np.bincount(block, u, minlength=len(self.rows))
        return float(np.sqrt(weight**2 @ (self.variance / self.rows)))


def _gap(u: NDArray[np.float64], residual: NDArray[np.float64], variance: NDArray[np.float64], error: float) -> Gap:
    deviation = float(np.sqrt(u**2 @ variance))
    if not deviation > 0:
        return Gap(0.0, 0.0)
    return Gap(float(u @ residual) / deviation, _REFERENCE_ERRORS * error / deviation)


def cusum(gaps: Sequence[Gap | None]) -> list[Sums]:
    """Return the sums after each cohort, from the earliest on; a cohort without a gap (None) leaves them unchanged.

    upper = max(0, upper + gap - allowed - 0.5), lower = max(0, lower - gap - allowed - 0.5).
    """
    upper = lower = 0.0
    sums = []
    for gap in gaps:
        if gap is not None:
            upper = max(0.0, upper + gap.value - gap.allowed - ALLOWANCE)
            lower = max(0.0, lower - gap.value - gap.allowed - ALLOWANCE)
        sums.append(Sums(upper, lower))
    return sums
