"""The asymptotic confidence sequence of a mean difference: an interval that holds at all looks together."""

from __future__ import annotations

import math

#: Units of both arms at which the sequence is narrowest; fixed, since a choice by the data would undo its guarantee.
NARROWEST_AT = 10_000


def sequence_margin(standard_error: float, units: int, confidence: float) -> float:
    """Return the half width of the confidence sequence of a difference with `standard_error`, after `units` of both arms.

    With alpha = 1 - confidence, n units and r = n rho^2 the half width is s sqrt((r + 1) / r log((r + 1) / alpha^2)), where
    s is the standard error and rho^2 = (-2 log alpha + log(1 - 2 log alpha)) / NARROWEST_AT. The probability that any
    interval excludes the true difference, at whatever times one looks, is at most alpha as the units at the first look grow.

    References
    ----------
    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H., Ramdas, A. (2024). Time-uniform central limit theory and
    asymptotic confidence sequences. Annals of Statistics, 52(6).

    >>> round(sequence_margin(1.0, 10_000, 0.95), 3)
    3.035
    """
    ratio = units * _rho_squared(confidence)
    return standard_error * math.sqrt((ratio + 1) / ratio * math.log((ratio + 1) / (1 - confidence) ** 2))


def sequence_p_value(z: float, units: int, confidence: float) -> float:
    """Return the p-value of no difference at all looks together: the alpha whose sequence just excludes 0.

    z is the difference divided by its standard error. The sequences differ in alpha alone; their rho is that of `confidence`.
    The probability that it ever falls below a level is at most that level, so it may be read every week.

    >>> round(sequence_p_value(sequence_margin(1.0, 10_000, 0.95), 10_000, 0.95), 9)
    0.05
    """
    ratio = units * _rho_squared(confidence)
    return min(1.0, math.sqrt(ratio + 1) * math.exp(-(z**2) * ratio / (ratio + 1) / 2))


def _rho_squared(confidence: float) -> float:
    alpha = 1 - confidence
    return (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / NARROWEST_AT
