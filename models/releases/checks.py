"""What the gate found: how much better one release is than another, and a check in the form that the ledger keeps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from models.measures.intervals import difference
from models.measures.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from core.plan.evaluate import Metric
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed


class Gain(NamedTuple):
    """What both measured, and how much better the challenger is, with the bounds of that; NaN where there are none."""

    challenger: float
    champion: float
    gain: float
    lower: float
    upper: float


def compared(metric: Metric, challenger: Observed, champion: Observed, resampling: Resampling) -> Gain:
    """Say how much better the challenger is, positive where it is better, whichever way the metric counts."""
    found = difference(metric, challenger, champion, resampling)
    if metric in LOWER_IS_BETTER:
        return Gain(found.first, found.second, -found.difference, -found.upper, -found.lower)
    return Gain(found.first, found.second, found.difference, found.lower, found.upper)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    check : what, such as `wins roc_auc` or `bundle size`.
    passed : whether it is as the plan wants it.
    failed : whether it is surely otherwise; a check may be neither.
    found : the numbers in words.
    challenger, champion : what was measured of both, in the metric's own direction.
    gain, lower, upper : how much better the challenger is, and the interval of that; None where there is none.
    limit : what the plan asks for.

    """

    check: str
    passed: bool
    failed: bool
    found: str
    challenger: float | None
    champion: float | None = None
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    limit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)


def number(value: float) -> float | None:
    """Give what JSON can hold: undefined is null there."""
    return float(value) if math.isfinite(value) else None
