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
    alpha = 1 - confidence
    rho_squared = (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))) / NARROWEST_AT
    ratio = units * rho_squared
    return standard_error * math.sqrt((ratio + 1) / ratio * math.log((ratio + 1) / alpha**2))
