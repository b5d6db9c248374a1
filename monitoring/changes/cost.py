"""What a change of the inputs costs before outcomes are known: training rows are weighted to stand for the served rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_Z = 1.96


@dataclass(frozen=True)
class ChangeCost:
    """The expected change of profit per 1,000 decisions; negative is a loss.

    Attributes
    ----------
    lower, upper : its interval at 95 %, for given weights.
    segment : the part of the values that carries most of the change, such as `v__price: 20 to 35`.
    segment_profit : the part of the change that it carries.

    """

    profit: float
    lower: float
    upper: float
    segment: str
    segment_profit: float

    @property
    def sentence(self) -> str:
        """One sentence with the change, its interval, its segment and its assumption."""
        return (
            f"expected change of profit per 1,000 decisions: {self.profit:+,.2f} ({self.lower:+,.2f} to {self.upper:+,.2f}), "
            f"{self.segment_profit:+,.2f} of it in {self.segment}; assumes that outcomes depend on the features as before"
        )


def cost_of_change(
    profit: NDArray[np.float64], odds: NDArray[np.float64], segments: Mapping[str, NDArray[np.bool_]]
) -> ChangeCost:
    r"""Return the cost of a change of the inputs.

    With the profit v and the odds w (mean 1) of n training rows, the change is the mean of (w - 1) v. A segment carries the sum
    of (w - 1) (v - mean of v) over its rows, divided by n: its growth counts by how much its profit differs from the mean.

    Parameters
    ----------
    profit : the expected profit of each training row by its score and decision, per decision, of shape (rows,).
    odds : the odds of each training row of being a served one, with mean 1; see `models.evaluation.domain_classifier`.
    segments : the rows of each segment, at least one segment.

    """
    parts = 1000 * (odds - 1) * (profit - profit.mean())
    change, error = float(parts.mean()), float(parts.std(ddof=1)) / np.sqrt(len(parts))
    carried = {name: float((parts * rows).mean()) for name, rows in segments.items()}
    segment = max(carried, key=lambda name: carried[name] * np.sign(change))
    return ChangeCost(change, change - _Z * float(error), change + _Z * float(error), segment, carried[segment])
