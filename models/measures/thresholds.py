"""Choose the threshold that turns a score into a decision, on the validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.evaluate import Money, Threshold

#: A threshold above every probability: no row is decided as 1.
NOBODY = math.nextafter(1.0, 2.0)


@dataclass(frozen=True)
class _Cuts:
    """Counts for every distinct threshold, from the highest score down.

    Attributes
    ----------
    score : (thresholds,): the least score that is decided as 1.
    hits, false_alarms : (thresholds,): rows with label 1, and with label 0, that are decided as 1.
    positives, negatives : all rows with label 1, and with label 0.

    """

    score: NDArray[np.float64]
    hits: NDArray[np.float64]
    false_alarms: NDArray[np.float64]
    positives: float
    negatives: float


def _cuts(label: NDArray[np.int32], score: NDArray[np.float64]) -> _Cuts:
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(label[order] == 1)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = hits[last].astype(np.float64)
    return _Cuts(ranked[last], found, last + 1 - found, float(hits[-1]), float(len(label) - hits[-1]))


def choose_threshold(
    goal: Threshold | None, money: Money | None, label: NDArray[np.int32], score: NDArray[np.float64]
) -> float:
    """Return the observed score that maximises the goal as a threshold; the highest of equally good ones.

    F1 = 2 TP / (2 TP + FP + FN); balanced accuracy = (TP / P + TN / N) / 2; profit is the sum over the rows at or above the
    threshold. Profit considers thresholds within the capacity only, and is `NOBODY` where each of them loses money. The
    result is NaN without a goal, or where a score is NaN or infinite.
    """
    if goal is not None and goal.at is not None:
        return goal.at
    if goal is None or not len(score) or not np.isfinite(score).all():
        return math.nan
    cuts = _cuts(label, score)
    if goal.maximise == "profit" and money is not None:
        return _most_profitable(money, cuts)
    if goal.maximise == "f1":
        value = 2 * cuts.hits / (cuts.hits + cuts.false_alarms + cuts.positives)
    else:
        value = (cuts.hits / cuts.positives + 1 - cuts.false_alarms / cuts.negatives) / 2
    return float(cuts.score[int(np.argmax(value))])


def _most_profitable(money: Money, cuts: _Cuts) -> float:
    earned = money.earned_of_lost * cuts.hits + money.earned_of_staying * cuts.false_alarms
    approached = (cuts.hits + cuts.false_alarms) / (cuts.positives + cuts.negatives)
    earned = np.where(approached <= money.capacity, earned, -np.inf)
    best = int(np.argmax(earned))
    return float(cuts.score[best]) if earned[best] > 0 else NOBODY
