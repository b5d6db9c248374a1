"""Metrics of the order of scores: the area under the ROC curve, average precision, gain and lift, of weighted entities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.measures.metrics import Observed, Statistic, Weights

#: `gain` first searches this multiple of the `top` share of rows, and all rows only if these do not suffice.
_LIKELY_TOP = 2


@dataclass(frozen=True)
class Ranks:
    """Positives and negatives by ascending score.

    Attributes
    ----------
    positive, negative : the entities of the rows.
    positive_weight, negative_weight : the weights of the rows.
    negatives_below, negatives_not_above : for each positive, the numbers of negatives with score <, and <=, its own.
    positives_below : for each positive, the number of positives with a lower score.

    """

    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    positive_weight: NDArray[np.float64]
    negative_weight: NDArray[np.float64]
    negatives_below: NDArray[np.int64]
    negatives_not_above: NDArray[np.int64]
    positives_below: NDArray[np.int64]

    def weights(self, entities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weights of the positives, and the cumulative weights of the negatives, from those of the entities."""
        positive = entities[self.positive] * self.positive_weight
        return positive, _cumulative(entities[self.negative] * self.negative_weight)


def _ranks(label_1: NDArray[np.bool_], score: NDArray[np.float64], rows: Observed) -> Ranks:
    order = np.argsort(score, kind="stable")
    label_1, score, entity, weight = label_1[order], score[order], rows.entity[order], rows.row_weight[order]
    positive, negative = score[label_1], score[~label_1]
    return Ranks(
        positive=entity[label_1],
        negative=entity[~label_1],
        positive_weight=weight[label_1],
        negative_weight=weight[~label_1],
        negatives_below=np.searchsorted(negative, positive, side="left"),
        negatives_not_above=np.searchsorted(negative, positive, side="right"),
        positives_below=np.searchsorted(positive, positive, side="left"),
    )


def _cumulative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.empty(len(values) + 1)
    sums[0] = 0
    np.cumsum(values, out=sums[1:])
    return sums


def area(ranks: Ranks, weights: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve: the weighted share of (positive, negative) pairs in order; a tie counts half."""
    positive, negatives = ranks.weights(weights)
    pairs = positive.sum() * negatives[-1]
    if not pairs > 0:
        return np.nan
    in_order = positive * (negatives[ranks.negatives_below] + negatives[ranks.negatives_not_above])
    return float(in_order.sum() / (2 * pairs))


def average_precision(ranks: Ranks, weights: NDArray[np.float64]) -> float:
    """Return the weighted mean, over the positives, of the precision among all rows with at least their score."""
    positive, negatives = ranks.weights(weights)
    positives = _cumulative(positive)
    if not positives[-1] > 0:
        return np.nan
    hits = positives[-1] - positives[ranks.positives_below]
    selected = hits + negatives[-1] - negatives[ranks.negatives_below]
    precision = np.divide(hits, selected, out=np.zeros_like(hits), where=selected > 0)
    return float((positive * precision).sum() / positives[-1])


def ranked(metric: Callable[[Ranks, NDArray[np.float64]], float]) -> Callable[[Observed], Statistic]:
    """Return the metric of ranks as one of observed rows of a binary problem."""

    def make(rows: Observed) -> Statistic:
        ranks = _ranks(rows.label == 1, rows.score, rows)
        return lambda weights: np.array([metric(ranks, repeat) for repeat in weights])

    return make


def macro_area(rows: Observed) -> Statistic:
    """Return the mean over the classes of the one-against-rest area under the ROC curve."""
    classes = [_ranks(rows.label == number, rows.score[:, number], rows) for number in range(rows.classes)]
    return lambda weights: np.array([np.mean([area(ranks, repeat) for ranks in classes]) for repeat in weights])


def gain(rows: Observed) -> Statistic:
    """Return the share of positives among the `top` share of rows by score.

    Rows with the score at the cut count in part: their expected number of positives under random selection.
    """
    order = np.argsort(-rows.score, kind="stable")
    entity, positive, weight = rows.entity[order], (rows.label[order] == 1).astype(np.float64), rows.row_weight[order]
    # Rows with equal scores are the slice begins:ends.
    edges = np.flatnonzero(np.diff(rows.score[order])) + 1
    block = np.searchsorted(edges, np.arange(len(order)), side="right")
    begins, ends = np.append(0, edges)[block], np.append(edges, len(order))[block]
    cells = (weight, weight * positive)
    totals = np.column_stack([np.bincount(entity, cell, minlength=rows.entities) for cell in cells])
    # In almost every draw these rows contain the top share; otherwise all rows are searched.
    likely = int(_LIKELY_TOP * rows.top * len(order)) + 1

    def of_repeat(weights: NDArray[np.float64], total: float, positives: float) -> float:
        if not positives > 0:
            return np.nan
        target = rows.top * total
        for searched in (likely, len(order)):
            row_weights = weights[entity[:searched]] * weight[:searched]
            cumulative = _cumulative(row_weights)
            last = int(np.searchsorted(cumulative, target, side="left")) - 1
            if last < len(row_weights) and ends[last] <= len(row_weights):
                break
        first, end = begins[last], ends[last]
        part = (target - cumulative[first]) / (cumulative[end] - cumulative[first])
        hits = row_weights[:first] @ positive[:first] + part * (row_weights[first:end] @ positive[first:end])
        return float(hits / positives)

    def weighted(weights: Weights) -> NDArray[np.float64]:
        return np.array([of_repeat(repeat, *sums) for repeat, sums in zip(weights, weights @ totals, strict=True)])

    return weighted


def lift(rows: Observed) -> Statistic:
    """Return the rate of positives among the `top` share of rows by score, divided by the rate among all rows."""
    share = gain(rows)
    return lambda weights: share(weights) / rows.top
