"""Power of a comparison of two rates: units for each arm before the start, and the effect that given units can show."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

from core.errors import PantheraError
from core.experiment.sequential import crossing_probability, falling_root, sequential_bounds

_LARGEST_DRIFT = 20.0


def units_per_arm(base_rate: float, effect: float, *, alpha: float = 0.05, power: float = 0.8, looks: int = 1) -> int:
    """Return the units for each of two equal arms that show a change of `base_rate` by `effect` with probability `power`.

    n = c (p1 (1 - p1) + p2 (1 - p2)) / effect^2, to the nearest unit, with p1 = base_rate, p2 = p1 + effect and
    c = (z_{1 - alpha/2} + z_power)^2. Equally spaced group-sequential `looks` inflate c, see `drift`.

    Parameters
    ----------
    effect : absolute difference of the rates; negative for a fall, which takes fewer units than a rise of a rate below 1/2.

    Raises
    ------
    PantheraError
        If a parameter is out of range.

    >>> units_per_arm(0.05, -0.01)
    6742
    """
    changed = base_rate + effect
    if not (0 < base_rate < 1 and 0 <= changed <= 1 and effect != 0):
        raise PantheraError(
            f"the base rate is {base_rate} and the effect {effect}; expected a base rate between 0 and 1, and an effect "
            "other than 0 that leaves the changed rate between 0 and 1"
        )
    variances = _variance(base_rate) + _variance(changed)
    return max(2, round(drift(alpha, power, looks) ** 2 * variances / effect**2))


def detectable_effect(
    base_rate: float, units_per_arm: float, *, alpha: float = 0.05, power: float = 0.8, looks: int = 1
) -> float:
    """Return the smallest rise of `base_rate` that `units_per_arm` show with probability `power`, absolute.

    The inverse of the function `units_per_arm`: the positive root of (n + c) e^2 - c (1 - 2 p) e - 2 c p (1 - p) = 0. It may
    exceed 1 - base_rate: then so few units show no rise at all. Of a rate below 1/2 a smaller fall can be shown.

    Raises
    ------
    PantheraError
        If a parameter is out of range.

    >>> round(detectable_effect(0.05, units_per_arm(0.05, 0.01)), 5)
    0.01
    """
    if not (0 < base_rate < 1 and units_per_arm > 0):
        raise PantheraError(
            f"the base rate is {base_rate} and the units for each arm {units_per_arm}; expected a base rate between 0 and 1, "
            "and more than 0 units"
        )
    c = drift(alpha, power, looks) ** 2
    square, linear = units_per_arm + c, c * (1 - 2 * base_rate)
    return (linear + math.sqrt(linear**2 + 8 * square * c * _variance(base_rate))) / (2 * square)


@cache
def drift(alpha: float, power: float, looks: int) -> float:
    """Return the expected z of the last look at which the bounds of equally spaced looks have the power `power`.

    For one look it is z_{1 - alpha/2} + z_power. (drift / drift of one look)^2 is the inflation of the sample size.

    Raises
    ------
    PantheraError
        If not 0 < alpha < power < 1, or looks < 1.

    """
    if not (0 < alpha < power < 1 and looks >= 1):
        raise PantheraError(
            f"alpha is {alpha}, power {power} and looks {looks}; expected 0 < alpha < power < 1, and at least one look"
        )
    if looks == 1:
        normal = NormalDist()
        return normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    fractions = [look / looks for look in range(1, looks + 1)]
    bounds = sequential_bounds(fractions, alpha)
    return falling_root(lambda mean: power - crossing_probability(fractions, bounds, mean), 0.0, _LARGEST_DRIFT)


def _variance(rate: float) -> float:
    return rate * (1 - rate)
