"""Metrics of scores as statistics of weighted entities: one definition serves the value and its interval.

A statistic takes weights of shape (repeats, entities) and returns an array of shape (repeats,). A weight applies to all
rows of its entity. The value is NaN where the weighted rows do not define it, such as the ROC AUC of one class. With
weights of 1 it equals scikit-learn's value, which the tests check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from core.plan.evaluate import INTERVAL_METRICS
from models.measures.ordered import area, average_precision, gain, lift, macro_area, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Problem
    from core.prediction_interval import PredictionInterval

Weights: TypeAlias = "NDArray[np.float64]"
#: The profit of deciding a row as 1, with label 1 and with label 0: of all rows, or of each, of the shape (rows,).
Earned: TypeAlias = "tuple[float | NDArray[np.float64], float | NDArray[np.float64]]"
Statistic: TypeAlias = Callable[["Weights"], "NDArray[np.float64]"]

#: The metrics for which lower is better.
LOWER_IS_BETTER = frozenset(
    {"log_loss", "brier", "ece", "rmse", "mae", "pinball", "poisson_deviance", "interval_score", "ordinal_mae"}
)
#: Metrics of probabilities, and metrics of order, which an ascending calibration does not change.
PROBABILITY_METRICS = frozenset({"log_loss", "brier", "ece"})
ORDER_METRICS = frozenset({"roc_auc", "pr_auc", "lift", "gain"})
#: Metrics of decisions; in a binary problem they need a threshold.
DECISION_METRICS = frozenset({"precision", "recall", "f1", "balanced_accuracy", "accuracy", "profit"})
_SMALLEST = 1e-15
#: Bins of the calibration error, with equal numbers of rows.
ECE_BINS = 15


@dataclass(frozen=True)
class Observed:
    """Labels and scores of rows, with what the metrics need to know about them.

    Attributes
    ----------
    problem : it determines the shapes of the others.
    label : (rows,): 0 or 1; the index of a class; a number for a regression.
    score : (rows,): probability of label 1, or the predicted number; (rows, classes): the probabilities of the classes.
    entity : (rows,): the number of each row's entity, from 0 on.
    threshold : a binary score at or above it is decided as 1; with NaN the metrics of decisions are undefined.
    top : the share of rows, by highest score, for lift and gain.
    quantile : the quantile of the pinball loss.
    earned : the profit of deciding a row as 1, with label 1 and with label 0, or that of each row; NaN without `money`.
    weight : (rows,): the weight of each row; None if all count alike.
    interval : the interval around each predicted number; without one its metrics are undefined.

    """

    problem: Problem
    label: NDArray[np.int32] | NDArray[np.float64]
    score: NDArray[np.float64]
    entity: NDArray[np.int64]
    threshold: float = np.nan
    top: float = 0.1
    quantile: float = 0.5
    earned: Earned = (np.nan, np.nan)
    weight: NDArray[np.float64] | None = None
    interval: PredictionInterval | None = None
    entities: int = field(init=False)

    def __post_init__(self) -> None:
        if not len(self.label) == len(self.score) == len(self.entity):
            raise ValueError(f"{len(self.label)} labels, {len(self.score)} scores, {len(self.entity)} entities")
        object.__setattr__(self, "entities", int(self.entity.max(initial=-1)) + 1)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.score.shape[1])

    @property
    def row_weight(self) -> NDArray[np.float64]:
        """The weight of each row; 1 if all count alike."""
        return np.ones(len(self.label)) if self.weight is None else self.weight

    @property
    def decided(self) -> NDArray[np.int64]:
        """Each row's decision: score >= threshold, or the class with the largest probability."""
        if self.score.ndim == 1:
            return (self.score >= self.threshold).astype(np.int64)
        return np.asarray(self.score.argmax(axis=1), dtype=np.int64)


def entity_numbers(keys: Sequence[object] | NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the number of each row's entity, from 0 on in the order of the keys."""
    return np.unique(np.asarray(keys), return_inverse=True)[1].astype(np.int64)


def metric_value(metric: Metric, rows: Observed) -> float:
    """Return `metric` of `rows`; NaN where it is undefined, or a score is NaN or infinite."""
    return float(statistic(metric, rows)(np.ones((1, rows.entities)))[0]) if len(rows.label) else np.nan


def statistic(metric: Metric, rows: Observed) -> Statistic:
    """Return `metric` of `rows` as a function of entity weights; what does not depend on them is computed once.

    Raises
    ------
    ValueError
        If the problem has no such metric.

    """
    factories = _FACTORIES[rows.problem]
    if metric not in factories:
        raise ValueError(f"{metric!r} is not a metric of a {rows.problem} problem; expected {', '.join(factories)}")
    if metric in INTERVAL_METRICS and rows.interval is None:
        return _undefined
    undecided = metric in DECISION_METRICS and rows.score.ndim == 1 and np.isnan(rows.threshold)
    if undecided or not np.isfinite(rows.score).all():
        return _undefined
    return factories[metric](rows)


def _undefined(weights: Weights) -> NDArray[np.float64]:
    return np.full(len(weights), np.nan)


# Metrics that are functions of sums over rows


def additive(
    rows: Observed,
    cells: Sequence[NDArray[np.float64] | NDArray[np.bool_]],
    finish: Callable[..., NDArray[np.float64]],
) -> Statistic:
    """Return a statistic of weighted sums: `finish` takes the sum of each of `cells`, each of shape (repeats,)."""
    weight = rows.row_weight
    totals = np.column_stack([np.bincount(rows.entity, weight * cell, minlength=rows.entities) for cell in cells])

    def weighted(weights: Weights) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return finish(*(weights @ totals).T)

    return weighted


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
    one_hot = rows.label[:, None] == np.arange(rows.classes)
    return _mean(rows, ((rows.score - one_hot) ** 2).sum(axis=1))


class SumOfAbsoluteMeans:
    """A sum of absolute weighted means; sampling noise biases it upwards.

    `means` returns the means, of shape (repeats, means). The interval needs them, because it corrects the bias
    (see `models.measures.intervals.absolute_sum_interval`).
    """

    def __init__(self, means: Statistic) -> None:
        self.means = means

    def __call__(self, weights: Weights) -> NDArray[np.float64]:
        """Return the sum under `weights`, of shape (repeats,)."""
        return np.asarray(np.abs(self.means(weights)).sum(axis=1))


def _ece(rows: Observed) -> Statistic:
    """Return the expected calibration error: the sum over bins of |sum of (label - score)| / rows.

    With several classes, the score is the largest probability and the label whether that class is right. The bins have
    equal numbers of rows (ties stay together). Perfectly calibrated scores have an expected error of about
    sqrt(2 bins mean(p (1 - p)) / (pi rows)). The interval corrects this bias, so it may lie below the value.

    References
    ----------
    Naeini, M. P., Cooper, G. and Hauskrecht, M. (2015). Obtaining well calibrated probabilities using Bayesian binning.

    """
    score = rows.score if rows.score.ndim == 1 else rows.score.max(axis=1)
    label = rows.label if rows.score.ndim == 1 else rows.decided == rows.label
    bin_ = equal_bins(score, ECE_BINS)
    cells = [np.where(bin_ == number, label - score, 0.0) for number in range(int(bin_.max()) + 1)]
    return SumOfAbsoluteMeans(
        additive(rows, [np.ones(len(score)), *cells], lambda count, *residuals: (np.stack(residuals) / count).T)
    )


def equal_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Return the bin of each value, from 0 on: quantile bins with equal values together and no empty bin."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.int64)


def confusion(rows: Observed) -> NDArray[np.int64]:
    """Return the numbers of rows by (label, decision), of shape (classes, classes)."""
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
    """Return a metric of (hits, decided, labelled), each of shape (classes, repeats)."""

    def make(rows: Observed) -> Statistic:
        numbers = range(rows.classes)
        hits = [(rows.label == number) & (rows.decided == number) for number in numbers]
        decided, labelled = ([codes == number for number in numbers] for codes in (rows.decided, rows.label))

        def split(*sums: NDArray[np.float64]) -> NDArray[np.float64]:
            return finish(*np.stack(sums).reshape(3, rows.classes, -1))

        return additive(rows, [*hits, *decided, *labelled], split)

    return make


def _macro_f1(
    hits: NDArray[np.float64], decided: NDArray[np.float64], labelled: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A class without labels and without decisions does not count.
    mean: NDArray[np.float64] = np.nanmean(
        np.where(decided + labelled > 0, 2 * hits / (decided + labelled), np.nan), axis=0
    )
    return mean


def _profit(rows: Observed) -> Statistic:
    """Return the mean profit per 1,000 rows when those decided as 1 are contacted."""
    return _mean(rows, 1000 * np.where(rows.decided == 1, np.where(rows.label == 1, *rows.earned), 0.0))


def _r2(rows: Observed) -> Statistic:
    label = rows.label - rows.label.mean()  # centring leaves R2 unchanged and avoids cancellation in the sum of squares
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


def _coverage(rows: Observed) -> Statistic:
    """Return the share of the labels inside their intervals."""
    lower, upper, _ = _bounds(rows)
    return _mean(rows, ((rows.label >= lower) & (rows.label <= upper)).astype(np.float64))


def _interval_score(rows: Observed) -> Statistic:
    """Return the mean width of the intervals, plus 2 / (1 - coverage) times the distance to a label outside.

    References
    ----------
    Gneiting, T. and Raftery, A. E. (2007). Strictly proper scoring rules, prediction, and estimation. JASA 102(477).

    """
    lower, upper, missed = _bounds(rows)
    outside = np.maximum(lower - rows.label, 0) + np.maximum(rows.label - upper, 0)
    return _mean(rows, upper - lower + 2 / missed * outside)


def _bounds(rows: Observed) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the bounds of each row's interval, and the share of labels that may be outside."""
    if rows.interval is None:
        raise ValueError("the rows have no intervals")
    return rows.score + rows.interval.lower, rows.score + rows.interval.upper, 1 - rows.interval.coverage


def _quadratic_kappa(rows: Observed) -> Statistic:
    """Return Cohen's kappa with the squared distance of classes in their order as the weight of a disagreement.

    It is 1 - sum of (label - decision)^2 over its expected value for independent labels and decisions; NaN if that is 0.

    References
    ----------
    Cohen, J. (1968). Weighted kappa. Psychological Bulletin, 70(4).

    """
    label, decided = rows.label.astype(np.float64), rows.decided.astype(np.float64)

    def kappa(*sums: NDArray[np.float64]) -> NDArray[np.float64]:
        distance, labels_squared, decisions_squared, labels, decisions, count = sums
        expected: NDArray[np.float64] = labels_squared + decisions_squared - 2 * labels * decisions / count
        return 1 - distance / np.where(expected > 0, expected, np.nan)

    ones = np.ones(len(label))
    return additive(rows, [(label - decided) ** 2, label**2, decided**2, label, decided, ones], kappa)


def _poisson_parts(rows: Observed) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's deviance, and label * log(label); NaN where a label is negative or a score not positive."""
    label = rows.label.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = np.where(label > 0, label * np.log(label), np.where(label == 0, 0.0, np.nan))
        predicted = np.where(rows.score > 0, label * np.log(rows.score) - rows.score, np.nan)
    return 2 * (entropy - predicted - label), entropy


def _d2_poisson(rows: Observed) -> Statistic:
    """Return the share of the Poisson deviance of the mean label that the scores explain."""
    deviance, entropy = _poisson_parts(rows)
    label = rows.label.astype(np.float64)

    def explained(
        found: NDArray[np.float64],
        entropies: NDArray[np.float64],
        total: NDArray[np.float64],
        count: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        return 1 - found / (2 * (entropies - total * np.log(total / count)))

    return additive(rows, [deviance, entropy, label, np.ones(len(label))], explained)


_FACTORIES: dict[Problem, dict[str, Callable[[Observed], Statistic]]] = {
    "binary": {
        "roc_auc": ranked(area),
        "pr_auc": ranked(average_precision),
        "log_loss": _log_loss,
        "brier": _brier,
        "ece": _ece,
        "lift": lift,
        "gain": gain,
        "precision": _by_confusion(lambda tp, fp, fn, tn: tp / (tp + fp)),  # noqa: ARG005
        "recall": _by_confusion(lambda tp, fp, fn, tn: tp / (tp + fn)),  # noqa: ARG005
        "f1": _by_confusion(lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn)),  # noqa: ARG005
        "accuracy": _by_confusion(lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn)),
        "balanced_accuracy": _by_confusion(lambda tp, fp, fn, tn: (tp / (tp + fn) + tn / (tn + fp)) / 2),
        "profit": _profit,
    },
    "multiclass": {
        "roc_auc": macro_area,
        "log_loss": _log_loss,
        "brier": _brier,
        "ece": _ece,
        "accuracy": _by_class(lambda hits, decided, labelled: hits.sum(axis=0) / labelled.sum(axis=0)),  # noqa: ARG005
        "balanced_accuracy": _by_class(lambda hits, decided, labelled: (hits / labelled).mean(axis=0)),  # noqa: ARG005
        "f1": _by_class(_macro_f1),
        "quadratic_kappa": _quadratic_kappa,
        "ordinal_mae": lambda rows: _mean(rows, np.abs(rows.label - rows.decided).astype(np.float64)),
    },
    "regression": {
        "rmse": _rmse,
        "mae": lambda rows: _mean(rows, np.abs(rows.label - rows.score)),
        "r2": _r2,
        "pinball": _pinball,
        "poisson_deviance": lambda rows: _mean(rows, _poisson_parts(rows)[0]),
        "d2_poisson": _d2_poisson,
        "coverage": _coverage,
        "interval_score": _interval_score,
    },
}
