"""Group-sequential tests: bounds of |z| for looks at an experiment in progress, by error spending.

A look happens at an information fraction t: the information so far, 1 / variance of the estimated difference, divided by
the planned information. Fractions need not be equally spaced, and their number need not be planned. The last one may exceed 1.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Spending = Literal["cubic", "obrien_fleming"]

#: Points of the Gauss-Legendre rule for each look; the bounds are exact to about 1e-6.
_POINTS = 100
_BISECTIONS = 50
_LARGEST_BOUND = 12.0
_NORMAL = NormalDist()


def spent(fraction: float, alpha: float, spending: Spending = "cubic") -> float:
    """Return the two-sided error that may be spent up to the information `fraction`.

    "cubic" is alpha t^3, the power family with rho = 3; "obrien_fleming" is 4 (1 - Phi(z_{1 - alpha/4} / sqrt(t))), which
    spends alpha/2 on each side. Beyond t = 1 all of alpha is spent.

    References
    ----------
    Kim, K., DeMets, D. L. (1987). Design and analysis of group sequential tests based on the type I error spending rate
    function. Biometrika, 74(1). Lan, K. K. G., DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials.
    Biometrika, 70(3).

    """
    t = min(fraction, 1.0)
    if spending == "cubic":
        return alpha * t**3
    return 4 * _NORMAL.cdf(-_NORMAL.inv_cdf(1 - alpha / 4) / math.sqrt(t))


def sequential_bounds(
    fractions: Sequence[float], alpha: float = 0.05, spending: Spending = "cubic"
) -> tuple[float, ...]:
    """Return the bound of |z| for each look, so that all looks together exceed one by chance with probability `alpha`.

    The bound of a look depends on the fractions of this look and earlier ones alone.

    Raises
    ------
    PantheraError
        If the fractions do not increase from above 0, another than the last is 1 or more, or alpha is not between 0 and 1.

    >>> [round(bound, 3) for bound in sequential_bounds([0.2, 0.4, 0.6, 0.8, 1.0])]
    [3.54, 2.974, 2.605, 2.306, 2.045]
    """
    _check(fractions, alpha)
    found: list[float] = []
    before = 0.0
    for index, fraction in enumerate(fractions):
        total = spent(fraction, alpha, spending)
        found.append(_bound(tuple(fractions[: index + 1]), tuple(found), total - before))
        before = total
    return tuple(found)


def crossing_probability(fractions: Sequence[float], bounds: Sequence[float], drift: float) -> float:
    """Return the probability that z exceeds its upper bound at one of the looks before it falls below a lower one.

    z at a look with the fraction t is normal with the mean `drift` * sqrt(t) and variance 1.
    """
    walk = _Walk(drift)
    total = 0.0
    for fraction, bound in zip(fractions, bounds, strict=True):
        total += walk.above(fraction, bound)
        walk.go_on(fraction, bound)
    return total


class _Walk:
    """The density of the score process s = z sqrt(t) of the experiments that no look has ended yet.

    The recursion of Armitage, P., McPherson, C. K., Rowe, B. C. (1969). Repeated significance tests on accumulating data.
    JRSS A, 132(2).
    """

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._fraction = 0.0
        self._values, self._masses = np.zeros(1), np.ones(1)

    def above(self, fraction: float, bound: float) -> float:
        """Return the probability that z is above `bound` at a look with `fraction`."""
        from scipy.special import ndtr

        step = fraction - self._fraction
        distance = bound * math.sqrt(fraction) - self._values - self._drift * step
        return float(self._masses @ ndtr(-distance / math.sqrt(step)))

    def go_on(self, fraction: float, bound: float) -> None:
        """Continue with the experiments whose |z| is below `bound` at the look."""
        nodes, weights = _rule()
        limit, step = bound * math.sqrt(fraction), fraction - self._fraction
        values = limit * nodes
        distance = values[:, None] - self._values - self._drift * step
        density = np.exp(-(distance**2) / (2 * step)) @ self._masses / math.sqrt(2 * math.pi * step)
        self._values, self._masses, self._fraction = values, limit * weights * density, fraction


@cache
def _rule() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    return nodes, weights


@lru_cache(maxsize=1_024)
def _bound(fractions: tuple[float, ...], earlier: tuple[float, ...], error: float) -> float:
    """Return the bound of the last look that spends `error`, half of it on each side."""
    walk = _Walk(0.0)
    for fraction, bound in zip(fractions[:-1], earlier, strict=True):
        walk.go_on(fraction, bound)
    return falling_root(lambda bound: walk.above(fractions[-1], bound) - error / 2, 0.0, _LARGEST_BOUND)


def falling_root(function: Callable[[float], float], lower: float, upper: float) -> float:
    """Return the root of a falling function between `lower` and `upper`, by bisection."""
    for _ in range(_BISECTIONS):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if function(middle) > 0 else (lower, middle)
    return (lower + upper) / 2


def _check(fractions: Sequence[float], alpha: float) -> None:
    if not 0 < alpha < 1:
        raise PantheraError(f"alpha is {alpha}; expected a number between 0 and 1")
    earlier = (0.0, *fractions[:-1])
    if not all(before < min(after, 1) and after < math.inf for before, after in zip(earlier, fractions, strict=False)):
        raise PantheraError(
            f"the information fractions are {list(fractions)}; expected them to increase, and only the last to be 1 or more"
        )
