"""The interval of a regression: the distances from a prediction to its bounds; found in `models`, stored in the contract."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictionInterval:
    """The interval [score + lower, score + upper], which holds the share `coverage` of the labels of new rows.

    Attributes
    ----------
    coverage : nominal share of the labels.
    lower, upper : distances from the score to the bounds, in the label's unit; `lower` is negative for most models.

    """

    coverage: float
    lower: float
    upper: float

    def around(self, score: float) -> tuple[float, float]:
        """Return the bounds of the interval of one prediction."""
        return score + self.lower, score + self.upper
