"""The threshold that turns a score into a decision: chosen on the validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.evaluate import Money, Threshold

#: Above every probability: nobody is decided as 1.
NOBODY = math.nextafter(1.0, 2.0)


@dataclass(frozen=True)
class _Cuts:
    """Every place where a threshold can part the rows, from the highest score down.

    Attributes
    ----------
    score : the least score that is decided as 1.
    hits, false_alarms : rows decided as 1, by label.
    positives, negatives : rows in all, by label.

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
    """Give the score that, as the least one to be decided as 1, maximises the goal; among equals the highest.

    F1 = 2 TP / (2 TP + FP + FN); balanced accuracy = (TP / P + TN / N) / 2; profit is what approaching those rows earns,
    tried within the capacity, and `NOBODY` where approaching anybody loses. Every observed score is tried. NaN without a
    goal, or where a score is no number.
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
