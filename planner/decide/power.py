"""How many units an arm needs to find a relative change of a rate: the test of two proportions, by its normal approximation."""

from __future__ import annotations

import math

#: Bisections of the smallest effect; each halves its error.
_STEPS = 40


def units_per_arm(base_rate: float, effect: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return the units of each of two equal arms that find a rate lower by the share `effect`.

    n = (z(1 - alpha / 2) + z(power))^2 (p (1 - p) + q (1 - q)) / (p - q)^2 with q = p (1 - effect).

    >>> units_per_arm(0.05, 0.1)
    28406

    References
    ----------
    Fleiss, J. L., Levin, B. and Paik, M. C. (2003). Statistical methods for rates and proportions, 4.2.

    """
    from scipy.stats import norm

    changed = base_rate * (1 - effect)
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    variance = base_rate * (1 - base_rate) + changed * (1 - changed)
    return math.ceil(z**2 * variance / (base_rate - changed) ** 2)


def detectable_effect(base_rate: float, units: int) -> float:
    """Return the smallest relative change that so many units per arm find; NaN if they do not even find the largest, 1."""
    if units_per_arm(base_rate, 1.0) > units:
        return math.nan
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if units_per_arm(base_rate, middle) <= units else (middle, high)
    return high
