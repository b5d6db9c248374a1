"""A power law through the scores of growing samples: score(n) = limit - gain x n^-exponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_EXPONENTS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class LearningCurve:
    """A score that grows with the number of rows; higher is better.

    Attributes
    ----------
    limit, gain, exponent : score(n) = limit - gain n^-exponent; the gain is at least 0.

    """

    limit: float
    gain: float
    exponent: float

    def at(self, rows: float) -> float:
        """Return the score with so many rows."""
        return float(self.limit - self.gain * rows**-self.exponent)

    def rows_for(self, score: float) -> float:
        """Return the rows from which on the score is above `score`; infinite if it never is."""
        if score >= self.limit:
            return np.inf
        return float((self.gain / (self.limit - score)) ** (1 / self.exponent))


def fit_curve(rows: Sequence[int], scores: Sequence[float]) -> LearningCurve:
    """Return the curve with the least squared error, weighted by the rows; it ends at the last score.

    The exponent is the best of a few. With one size, or scores that fall, the curve is flat.
    """
    n, y = np.asarray(rows, dtype=float), np.asarray(scores, dtype=float)
    found = min((_with_exponent(n, y, exponent) for exponent in _EXPONENTS), key=lambda one: one[0])[1]
    return LearningCurve(y[-1] + found.gain * n[-1] ** -found.exponent, found.gain, found.exponent)


def _with_exponent(n: NDArray[np.float64], y: NDArray[np.float64], exponent: float) -> tuple[float, LearningCurve]:
    x, weight = n**-exponent, n / n.sum()
    x_mean, y_mean = (weight * x).sum(), (weight * y).sum()
    spread = (weight * (x - x_mean) ** 2).sum()
    slope = (weight * (x - x_mean) * (y - y_mean)).sum() / spread if spread > 0 else 0.0
    curve = LearningCurve(0.0, max(-slope, 0.0), exponent)
    error = (weight * (y - y_mean + curve.gain * (x - x_mean)) ** 2).sum()
    return float(error), curve
