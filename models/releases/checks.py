"""The results of the gate: the gain of one release over another, and checks as the ledger stores them."""

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
    """A metric of both releases, and the challenger's gain (positive is better) with its interval; NaN if undefined."""

    challenger: float
    champion: float
    gain: float
    lower: float
    upper: float


def gain_of(metric: Metric, challenger: Observed, champion: Observed, resampling: Resampling) -> Gain:
    """Return the challenger's gain over the champion; it is positive where the challenger is better, for every metric."""
    found = difference(metric, challenger, champion, resampling)
    if metric in LOWER_IS_BETTER:
        return Gain(found.first, found.second, -found.difference, -found.upper, -found.lower)
    return Gain(found.first, found.second, found.difference, found.lower, found.upper)


@dataclass(frozen=True)
class Check:
    """One check of the gate.

    Attributes
    ----------
    check : its name, such as `wins roc_auc` or `bundle size`.
    passed : whether the requirement of the plan is met.
    failed : whether it is violated with statistical certainty; a check may be neither.
    found : the numbers, as a sentence.
    challenger, champion : the value of each, in the metric's own direction.
    gain, lower, upper : the challenger's gain and its interval; None where there is none.
    limit : the requirement of the plan.

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
        """Return the check as JSON values."""
        return asdict(self)


def finite_or_none(value: float) -> float | None:
    """Return a number for JSON: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None
