"""Means of an arm, and their difference between two arms over phases.

A mean may be a ratio of two means; its variance is then that of its linear approximation (delta method).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Units for each arm below which the t interval is unreliable, above all for rates near 0 or 1.
MINIMUM_UNITS = 30


def sample_variance(units: int, total: float, squares: float) -> float:
    """Return the sample variance (divisor n - 1) from the sum and the sum of squares; NaN for fewer than two units."""
    return max(squares - total**2 / units, 0.0) / (units - 1) if units > 1 else math.nan


@dataclass(frozen=True)
class ArmMean:
    """A mean over the units of an arm, and the sample variance of one unit; both are NaN where they are undefined."""

    units: int
    mean: float
    variance: float


#: Champion and challenger.
Pair: TypeAlias = tuple[ArmMean, ArmMean]


@dataclass(frozen=True)
class MeanDifference:
    """The difference of the arms' means over phases: its variance, and Welch's degrees of freedom by `terms`."""

    champion_rate: float
    challenger_rate: float
    variance: float
    terms: tuple[tuple[float, int], ...]
    units: int

    @property
    def difference(self) -> float:
        """Mean of the challenger - mean of the champion."""
        return self.challenger_rate - self.champion_rate

    @property
    def df(self) -> float:
        """Degrees of freedom of Welch and Satterthwaite."""
        return self.variance**2 / sum(term**2 / arm_df for term, arm_df in self.terms)


def has_enough_units(pair: Pair) -> bool:
    """Return whether each arm has the units that an interval needs."""
    return min(arm.units for arm in pair) >= MINIMUM_UNITS


def mean_difference(phases: Sequence[Pair]) -> MeanDifference:
    """Return the mean of the phases' differences, each weighted by its units."""
    units = [champion.units + challenger.units for champion, challenger in phases]
    shares = [count / sum(units) for count in units]
    control = sum(share * champion.mean for share, (champion, _) in zip(shares, phases, strict=True))
    treatment = sum(share * challenger.mean for share, (_, challenger) in zip(shares, phases, strict=True))
    terms = tuple(
        (share**2 * arm.variance / arm.units, arm.units - 1)
        for share, pair in zip(shares, phases, strict=True)
        for arm in pair
    )
    return MeanDifference(control, treatment, sum(term for term, _ in terms), terms, sum(units))


@dataclass(frozen=True)
class RatioSums:
    """Sums over units of a numerator y and a denominator d; with d = 1 for each unit, the ratio is the mean of y."""

    units: int = 0
    y: float = 0.0
    d: float = 0.0
    yy: float = 0.0
    dd: float = 0.0
    yd: float = 0.0

    @property
    def ratio(self) -> ArmMean:
        """R = mean(y) / mean(d), and the variance of (y - R d) / mean(d), its linear approximation.

        References
        ----------
        Deng, A., Knoblich, U., Lu, J. (2018). Applying the delta method in metric analytics. KDD.

        >>> RatioSums(units=3, y=6, d=3, yy=14, dd=3, yd=6).ratio  # the mean of 1, 2 and 3
        ArmMean(units=3, mean=2.0, variance=1.0)
        """
        if self.d == 0:
            return ArmMean(self.units, math.nan, math.nan)
        ratio = self.y / self.d
        squares = self.yy - 2 * ratio * self.yd + ratio**2 * self.dd
        variance = max(squares, 0.0) / (self.units - 1) if self.units > 1 else math.nan
        return ArmMean(self.units, ratio, variance / (self.d / self.units) ** 2)
