"""Measures of scores: each a statistic of weighted entities, so that one definition gives the value and its interval.

A statistic takes weights of shape (repeats, entities), by which all rows of an entity count, and gives one number for
each repeat: NaN where the weighted rows do not define it (an area under a curve of one class). With weights of 1 it is
scikit-learn's number, which the tests hold against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Problem

Weights: TypeAlias = "NDArray[np.float64]"
Statistic: TypeAlias = Callable[["Weights"], "NDArray[np.float64]"]

#: The metrics of which less is better.
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "rmse", "mae", "pinball"})
#: Those that judge probabilities, and those that an ascending curve over the scores leaves as they are.
OF_PROBABILITIES = frozenset({"log_loss", "brier", "ece"})
OF_ORDER = frozenset({"roc_auc", "pr_auc", "lift", "gain"})
#: Those that judge decisions, for which a binary problem needs a threshold.
OF_DECISIONS = frozenset({"precision", "recall", "f1", "balanced_accuracy", "accuracy", "profit"})
_SMALLEST = 1e-15
#: Bins of equal numbers of rows in which the calibration error is taken.
ECE_BINS = 15
#: Of how many times the share of highest scores the rows are looked at first.
_LIKELY_TOP = 2


@dataclass(frozen=True)
class Observed:
    """Rows with their scores.

    Attributes
    ----------
    problem : decides the shapes of the others.
    label : (rows,): 0 or 1; the place of a class; a number for a regression.
    score : (rows,): probability of label 1, or the predicted number; (rows, classes): the probabilities of the classes.
    entity : (rows,): the number of each row's entity, from 0 on.
    threshold : a binary score at or above it is decided as 1; NaN leaves the measures of decisions undefined.
    top : the share of highest scores that lift and gain speak of.
    quantile : the quantile that the pinball loss judges.
    earned : what deciding a row as 1 earns if its label is 1, and if it is 0; NaN where the plan names no money.

    """

    problem: Problem
    label: NDArray[np.int32] | NDArray[np.float64]
    score: NDArray[np.float64]
    entity: NDArray[np.int64]
    threshold: float = np.nan
    top: float = 0.1
    quantile: float = 0.5
    earned: tuple[float, float] = (np.nan, np.nan)
    entities: int = field(init=False)

    def __post_init__(self) -> None:
        if not len(self.label) == len(self.score) == len(self.entity):
            raise ValueError(f"{len(self.label)} labels, {len(self.score)} scores, {len(self.entity)} entities")
        object.__setattr__(self, "entities", int(self.entity.max(initial=-1)) + 1)

    @property
    def classes(self) -> int:
        """The number of classes that the scores speak of."""
        return int(self.score.shape[1])

    @property
    def decided(self) -> NDArray[np.int64]:
        """The class that each row is decided to be: by the threshold, or the likeliest one."""
        if self.score.ndim == 1:
            return (self.score >= self.threshold).astype(np.int64)
        return np.asarray(self.score.argmax(axis=1), dtype=np.int64)


def numbered(keys: Sequence[object] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Give each row the number of its entity, from 0 on in the order of their keys."""
    return np.unique(np.asarray(keys), return_inverse=True)[1].astype(np.int64)


def measure(metric: Metric, rows: Observed) -> float:
    """Compute `metric` of `rows`; NaN where they do not define it, or a score is no number."""
    return float(statistic(metric, rows)(np.ones((1, rows.entities)))[0]) if len(rows.label) else np.nan


def statistic(metric: Metric, rows: Observed) -> Statistic:
    """Prepare `metric` of `rows`: what does not depend on the weights is computed once.

    Raises
    ------
    ValueError
        If the problem has no such metric.

    """
    makers = _MAKERS[rows.problem]
    if metric not in makers:
        raise ValueError(f"{metric!r} is not a metric of a {rows.problem} problem; there are {', '.join(makers)}")
    undecided = metric in OF_DECISIONS and rows.score.ndim == 1 and np.isnan(rows.threshold)
    if undecided or not np.isfinite(rows.score).all():
        return _undefined
    return makers[metric](rows)


def _undefined(weights: Weights) -> NDArray[np.float64]:
    return np.full(len(weights), np.nan)


# Measures that are made of sums over rows


def additive(
    rows: Observed,
    cells: Sequence[NDArray[np.float64] | NDArray[np.bool_]],
    finish: Callable[..., NDArray[np.float64]],
) -> Statistic:
    """Make a statistic of weighted sums: `finish` takes the sum of each of `cells`, each of shape (repeats,)."""
    totals = np.column_stack([np.bincount(rows.entity, cell, minlength=rows.entities) for cell in cells])

    def of(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return finish(*(weights @ totals).T)

    return of


def _mean(rows: Observed, values: NDArray[np.float64]) -> Statistic:
    return additive(rows, [values, np.ones(len(values))], lambda total, count: total / count)


def _log_loss(rows: Observed) -> Statistic:
    if rows.score.ndim == 1:
        likely = np.where(rows.label == 1, rows.score, 1 - rows.score)
    else:
        likely = rows.score[np.arange(len(rows.label)), rows.label.astype(np.int64)]
    return _mean(rows, -np.log(np.clip(likely, _SMALLEST, 1)))


def _brier(rows: Observed) -> Statistic:
    if rows.score.ndim == 1:
        return _mean(rows, (rows.score - rows.label) ** 2)
    happened = rows.label[:, None] == np.arange(rows.classes)
    return _mean(rows, ((rows.score - happened) ** 2).sum(axis=1))


class SumOfSizes:
    """A statistic that adds up the absolute values of some weighted means, which chance makes larger.

    `parts` gives the means themselves, of the shape (repeats, parts), from which alone an interval can be found
    (see `models.measures.intervals.size_interval`).
    """

    def __init__(self, parts: Statistic) -> None:
        self.parts = parts

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """Compute the statistic."""
        return np.asarray(np.abs(self.parts(weights)).sum(axis=1))


def _ece(rows: Observed) -> Statistic:
    """Sum over bins of |sum of (label - score)| / rows; of several classes, the likeliest one's score is judged.

    The bins hold equal numbers of rows (ties stay together). Even scores that are true probabilities get an error of about
    sqrt(2 bins mean(p (1 - p)) / (pi rows)), since a sum of chances is hardly ever 0; its interval is of the error without
    that, and may lie below it.

    References
    ----------
    Naeini, M. P., Cooper, G. and Hauskrecht, M. (2015). Obtaining well calibrated probabilities using Bayesian binning.

    """
    said = rows.score if rows.score.ndim == 1 else rows.score.max(axis=1)
    happened = rows.label if rows.score.ndim == 1 else rows.decided == rows.label
    place = equal_bins(said, ECE_BINS)
    cells = [np.where(place == number, happened - said, 0.0) for number in range(int(place.max()) + 1)]
    return SumOfSizes(
        additive(rows, [np.ones(len(said)), *cells], lambda count, *residuals: (np.stack(residuals) / count).T)
    )


def equal_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Give the bin of each value, from 0 on: about as many values in each, equal values together, no bin empty."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.int64)


def confusion(rows: Observed) -> NDArray[np.int64]:
    """Count rows by (label, decision), of shape (classes, classes)."""
    classes = 2 if rows.score.ndim == 1 else rows.classes
    cell = rows.label.astype(np.int64) * classes + rows.decided
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def _by_confusion(finish: Callable[..., NDArray[np.float64]]) -> Callable[[Observed], Statistic]:
    def make(rows: Observed) -> Statistic:
        positive, chosen = rows.label == 1, rows.decided == 1
        cells = [positive & chosen, ~positive & chosen, positive & ~chosen, ~positive & ~chosen]
        return additive(rows, cells, finish)

    return make


def _by_class(finish: Callable[..., NDArray[np.float64]]) -> Callable[[Observed], Statistic]:
    """Make a statistic of (hits, decided, labelled), each of shape (classes, repeats)."""

    def make(rows: Observed) -> Statistic:
        numbers = range(rows.classes)
        hits = [(rows.label == number) & (rows.decided == number) for number in numbers]
        decided, labelled = ([of == number for number in numbers] for of in (rows.decided, rows.label))

        def split(*sums: NDArray[np.float64]) -> NDArray[np.float64]:
            return finish(*np.stack(sums).reshape(3, rows.classes, -1))

        return additive(rows, [*hits, *decided, *labelled], split)

    return make


def _macro_f1(
    hits: NDArray[np.float64], decided: NDArray[np.float64], labelled: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A class that is neither there nor decided does not count.
    found: NDArray[np.float64] = np.nanmean(
        np.where(decided + labelled > 0, 2 * hits / (decided + labelled), np.nan), axis=0
    )
    return found


def _profit(rows: Observed) -> Statistic:
    """Mean earnings of 1,000 rows, of which those decided as 1 are approached."""
    return _mean(rows, 1000 * np.where(rows.decided == 1, np.where(rows.label == 1, *rows.earned), 0.0))


def _r2(rows: Observed) -> Statistic:
    label = rows.label - rows.label.mean()  # R2 does not change, and its sums of squares keep their digits
    error = rows.label - rows.score
    return additive(
        rows,
        [error**2, label**2, label, np.ones(len(label))],
        lambda residual, squares, total, count: 1 - residual / (squares - total**2 / count),
    )


def _rmse(rows: Observed) -> Statistic:
    squares = (rows.label - rows.score) ** 2
    return additive(rows, [squares, np.ones(len(squares))], lambda total, count: np.sqrt(total / count))


def _pinball(rows: Observed) -> Statistic:
    error = rows.label - rows.score
    return _mean(rows, np.maximum(rows.quantile * error, (rows.quantile - 1) * error))


# Measures of an order


@dataclass(frozen=True)
class _Ranks:
    """Positives and negatives by ascending score.

    Attributes
    ----------
    positive, negative : the entities of the rows.
    below, not_above : for each positive, how many negatives score less, and not more.
    tied : for each positive, how many positives score less.

    """

    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    below: NDArray[np.int64]
    not_above: NDArray[np.int64]
    tied: NDArray[np.int64]


def _ranks(happened: NDArray[np.bool_], score: NDArray[np.float64], entity: NDArray[np.int64]) -> _Ranks:
    order = np.argsort(score, kind="stable")
    happened, score, entity = happened[order], score[order], entity[order]
    positive, negative = score[happened], score[~happened]
    return _Ranks(
        positive=entity[happened],
        negative=entity[~happened],
        below=np.searchsorted(negative, positive, side="left"),
        not_above=np.searchsorted(negative, positive, side="right"),
        tied=np.searchsorted(positive, positive, side="left"),
    )


def _sum_to(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _area(ranks: _Ranks, weights: NDArray[np.float64]) -> float:
    """Area under the ROC curve: the weighted share of pairs (positive, negative) in order, a tie being half."""
    positive, negatives = weights[ranks.positive], _sum_to(weights[ranks.negative])
    pairs = positive.sum() * negatives[-1]
    if not pairs > 0:
        return np.nan
    in_order = positive * (negatives[ranks.below] + negatives[ranks.not_above])
    return float(in_order.sum() / (2 * pairs))


def _average_precision(ranks: _Ranks, weights: NDArray[np.float64]) -> float:
    """Weighted mean, over the positives, of the precision among all rows that score no less."""
    positive, negatives = weights[ranks.positive], _sum_to(weights[ranks.negative])
    positives = _sum_to(positive)
    if not positives[-1] > 0:
        return np.nan
    hits = positives[-1] - positives[ranks.tied]
    chosen = hits + negatives[-1] - negatives[ranks.below]
    precision = np.divide(hits, chosen, out=np.zeros_like(hits), where=chosen > 0)
    return float((positive * precision).sum() / positives[-1])


def _ranked(of: Callable[[_Ranks, NDArray[np.float64]], float]) -> Callable[[Observed], Statistic]:
    def make(rows: Observed) -> Statistic:
        ranks = _ranks(rows.label == 1, rows.score, rows.entity)
        return lambda weights: np.array([of(ranks, repeat) for repeat in weights])

    return make


def _macro_area(rows: Observed) -> Statistic:
    """Mean over the classes of the area of one against the rest."""
    classes = [_ranks(rows.label == number, rows.score[:, number], rows.entity) for number in range(rows.classes)]
    return lambda weights: np.array([np.mean([_area(ranks, repeat) for ranks in classes]) for repeat in weights])


def _gain(rows: Observed) -> Statistic:
    """Share of the positives among the `top` share of rows by score; rows of one score count in part, as drawn by lot."""
    order = np.argsort(-rows.score, kind="stable")
    entity, happened = rows.entity[order], (rows.label[order] == 1).astype(np.float64)
    # The rows of one score lie from `begins` to before `ends`.
    edges = np.flatnonzero(np.diff(rows.score[order])) + 1
    block = np.searchsorted(edges, np.arange(len(order)), side="right")
    begins, ends = np.append(0, edges)[block], np.append(edges, len(order))[block]
    totals = np.column_stack([np.bincount(entity, cell, minlength=rows.entities) for cell in (None, happened)])
    # A draw hardly ever has its top below here; where it has, all rows are looked at.
    likely = int(_LIKELY_TOP * rows.top * len(order)) + 1

    def of_repeat(weights: NDArray[np.float64], total: float, positives: float) -> float:
        if not positives > 0:
            return np.nan
        wanted = rows.top * total
        for looked_at in (likely, len(order)):
            row = weights[entity[:looked_at]]
            chosen = _sum_to(row)
            last = int(np.searchsorted(chosen, wanted, side="left")) - 1
            if last < len(row) and ends[last] <= len(row):
                break
        first, end = begins[last], ends[last]
        part = (wanted - chosen[first]) / (chosen[end] - chosen[first])
        hits = row[:first] @ happened[:first] + part * (row[first:end] @ happened[first:end])
        return float(hits / positives)

    def of(weights: Weights) -> NDArray[np.float64]:
        return np.array([of_repeat(repeat, *sums) for repeat, sums in zip(weights, weights @ totals, strict=True)])

    return of


def _lift(rows: Observed) -> Statistic:
    """Rate of positives among the `top` share of rows, over the rate among all."""
    gain = _gain(rows)
    return lambda weights: gain(weights) / rows.top


_MAKERS: dict[Problem, dict[str, Callable[[Observed], Statistic]]] = {
    "binary": {
        "roc_auc": _ranked(_area),
        "pr_auc": _ranked(_average_precision),
        "log_loss": _log_loss,
        "brier": _brier,
        "ece": _ece,
        "lift": _lift,
        "gain": _gain,
        "precision": _by_confusion(lambda tp, fp, fn, tn: tp / (tp + fp)),  # noqa: ARG005
        "recall": _by_confusion(lambda tp, fp, fn, tn: tp / (tp + fn)),  # noqa: ARG005
        "f1": _by_confusion(lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn)),  # noqa: ARG005
        "accuracy": _by_confusion(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)),
        "balanced_accuracy": _by_confusion(lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2),
        "profit": _profit,
    },
    "multiclass": {
        "roc_auc": _macro_area,
        "log_loss": _log_loss,
        "brier": _brier,
        "ece": _ece,
        "accuracy": _by_class(lambda hits, decided, labelled: hits.sum(axis=0) / labelled.sum(axis=0)),  # noqa: ARG005
        "balanced_accuracy": _by_class(lambda hits, decided, labelled: (hits / labelled).mean(axis=0)),  # noqa: ARG005
        "f1": _by_class(_macro_f1),
    },
    "regression": {
        "rmse": _rmse,
        "mae": lambda rows: _mean(rows, np.abs(rows.label - rows.score)),
        "r2": _r2,
        "pinball": _pinball,
    },
}
