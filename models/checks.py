"""One thing that the gate looked at, in a form that the ledger keeps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


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
