"""Choose the threshold that turns a score into a decision, on the validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.evaluate import Money, Threshold
    from models.measures.metrics import Earned

#: A threshold above every probability: no row is decided as 1.
NOBODY = math.nextafter(1.0, 2.0)


@dataclass(frozen=True)
class _Cuts:
    """Counts for every distinct threshold, from the highest score down.

    Attributes
    ----------
    score : (thresholds,): the least score that is decided as 1.
    hits, false_alarms : (thresholds,): weight of the rows with label 1, and with label 0, that are decided as 1.
    positives, negatives : weight of all rows with label 1, and with label 0.
    earned : (thresholds,): their profit, if amounts differ by row; else None.

    """

    score: NDArray[np.float64]
    hits: NDArray[np.float64]
    false_alarms: NDArray[np.float64]
    positives: float
    negatives: float
    earned: NDArray[np.float64] | None = None


def _cuts(
    label: NDArray[np.int32],
    score: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    earned: Earned | None,
) -> _Cuts:
    order = np.argsort(-score, kind="stable")
    weights = np.ones(len(label)) if weight is None else weight[order]
    ranked, hits, all_rows = score[order], np.cumsum(weights * (label[order] == 1)), np.cumsum(weights)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    profit = None if earned is None else np.cumsum(weights * np.where(label == 1, *earned)[order])[last]
    positives, negatives = float(hits[-1]), float(all_rows[-1] - hits[-1])
    return _Cuts(ranked[last], hits[last], all_rows[last] - hits[last], positives, negatives, profit)


def choose_threshold(
    goal: Threshold | None,
    money: Money | None,
    label: NDArray[np.int32],
    score: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
    earned: Earned | None = None,
) -> float:
    """Return the observed score that maximises the goal as a threshold; the highest of equally good ones.

    F1 = 2 TP / (2 TP + FP + FN); balanced accuracy = (TP / P + TN / N) / 2; profit is the sum over the rows at or above the
    threshold. Profit considers thresholds within the capacity only, and is `NOBODY` where each of them loses money. The
    result is NaN without a goal, or where a score is NaN or infinite. All sums count rows by their `weight`. `earned` has the
    profit of each row, if the amounts of `money` differ by row.
    """
    if goal is not None and goal.at is not None:
        return goal.at
    if goal is None or not len(score) or not np.isfinite(score).all():
        return math.nan
    cuts = _cuts(label, score, weight, earned if money is not None and money.references else None)
    if goal.maximise == "profit" and money is not None:
        return _most_profitable(money, cuts)
    if goal.maximise == "f1":
        value = 2 * cuts.hits / (cuts.hits + cuts.false_alarms + cuts.positives)
    else:
        value = (cuts.hits / cuts.positives + 1 - cuts.false_alarms / cuts.negatives) / 2
    return float(cuts.score[int(np.argmax(value))])


def _most_profitable(money: Money, cuts: _Cuts) -> float:
    earned = cuts.earned
    if earned is None:
        earned = money.earned_of_lost * cuts.hits + money.earned_of_staying * cuts.false_alarms
    approached = (cuts.hits + cuts.false_alarms) / (cuts.positives + cuts.negatives)
    earned = np.where(approached <= money.capacity, earned, -np.inf)
    best = int(np.argmax(earned))
    return float(cuts.score[best]) if earned[best] > 0 else NOBODY
