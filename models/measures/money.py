"""The profit of decisions: at every threshold, at the best one, and of contacting all customers or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.measures.intervals import Estimate, Resampling, estimates, interval, replicates
from models.measures.metrics import additive, statistic
from models.measures.thresholds import NOBODY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.measures.metrics import Observed, Statistic

#: Points of a profit curve, at equal steps of the share of rows.
_POINTS = 101


@dataclass(frozen=True)
class ProfitPoint:
    """One point of the profit curve: the profit of contacting the `share` of rows with scores of at least `threshold`."""

    threshold: float
    share: float
    profit: Estimate


@dataclass(frozen=True)
class BestThreshold:
    """The threshold with the highest profit, and the range of thresholds whose profit is not significantly lower."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class MoneyResult:
    """The profit of one model's decisions, per 1,000 decisions.

    Attributes
    ----------
    currency : of all amounts.
    threshold, share : the threshold in use, and the share of test rows at or above it.
    best : the threshold with the highest profit on the validation rows, with its range.
    break_even : the probability above which contacting a customer earns more than it costs. With calibrated probabilities
        and no capacity it is the best threshold. NaN if contacting never pays.
    at_threshold, treat_all, treat_none : profit on the test rows.
    over_treating_all : profit at the threshold minus that of contacting all customers, paired.
    curve : on the test rows, by descending threshold.

    """

    currency: str
    threshold: float
    share: float
    best: BestThreshold
    break_even: float
    at_threshold: Estimate
    treat_all: Estimate
    treat_none: Estimate
    over_treating_all: Estimate
    curve: tuple[ProfitPoint, ...]


def money_result(
    currency: str, break_even: float, best: BestThreshold, test: Observed, resampling: Resampling
) -> MoneyResult:
    """Return the profit on the test rows at the threshold of `test`, at all others, and of contacting all or none."""
    treat_all = statistic("profit", replace(test, threshold=-np.inf))
    at_threshold = statistic("profit", test)

    def over_all(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return at_threshold(weights) - treat_all(weights)

    named = {"at_threshold": at_threshold, "treat_all": treat_all, "over_all": over_all}
    found = estimates(named, test.entities, resampling)
    return MoneyResult(
        currency=currency,
        threshold=test.threshold,
        share=float((test.score >= test.threshold).mean()),
        best=best,
        break_even=break_even,
        at_threshold=found["at_threshold"],
        treat_all=found["treat_all"],
        treat_none=Estimate(0.0, 0.0, 0.0),
        over_treating_all=found["over_all"],
        curve=profit_curve(test, resampling),
    )


def thresholds_of(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return thresholds that select about 0, 1, ... 100 % of the rows, in descending order."""
    return np.append(NOBODY, np.unique(np.quantile(score, np.linspace(0, 1, _POINTS), method="inverted_cdf"))[::-1])


def _profits(rows: Observed, thresholds: NDArray[np.float64]) -> Statistic:
    """Return the statistic of profits at all `thresholds` (descending), of shape (repeats, thresholds)."""
    # `band` is the interval between two thresholds that has the row's score; the profit at a threshold is a sum over bands.
    band = np.searchsorted(-thresholds, -rows.score, side="left")
    row_profit = 1000 * np.where(rows.label == 1, *rows.earned)
    cells = [np.where(band == index, row_profit, 0.0) for index in range(len(thresholds))]

    def finish(count: NDArray[np.float64], *bands: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.cumsum(np.stack(bands), axis=0) / count).T

    return additive(rows, [np.ones(len(band)), *cells], finish)


def profit_curve(rows: Observed, resampling: Resampling) -> tuple[ProfitPoint, ...]:
    """Return the profit of contacting each share of `rows`, highest scores first; the intervals are pointwise."""
    thresholds = thresholds_of(rows.score)
    profits = _profits(rows, thresholds)
    values = profits(np.ones((1, rows.entities)))[0]
    drawn = replicates({"profit": profits}, rows.entities, resampling)["profit"]
    return tuple(
        ProfitPoint(
            threshold=float(threshold),
            share=float((rows.score >= threshold).mean()),
            profit=Estimate(
                float(value), *interval(float(value), drawn[:, index], rows.entities, resampling.confidence)
            ),
        )
        for index, (threshold, value) in enumerate(zip(thresholds, values, strict=True))
    )


def best_threshold(rows: Observed, chosen: float, capacity: float, resampling: Resampling) -> BestThreshold:
    """Return the threshold `chosen` with the range of thresholds whose profit on `rows` is not significantly lower.

    The bootstrap quantiles of an argmax do not cover it (Abrevaya and Huang 2005), so the range inverts a test. Threshold t
    stays in the range unless the highest profit exceeds its own by more than a quantile of max over s of [D(s) - D(t)],
    where D is a draw's profit minus the observed one. The range covers the best threshold with at least the nominal
    confidence. It extends to the next thresholds that were tried on both sides. Its bounds are NaN with fewer than 30
    entities.

    References
    ----------
    Romano, J. P. and Shaikh, A. M. (2010). Inference for the identified set in partially identified econometric models.
    Abrevaya, J. and Huang, J. (2005). On the bootstrap of the maximum score estimator. Econometrica, 73(4).

    """
    thresholds = np.unique(np.append(thresholds_of(rows.score), chosen))[::-1]
    share = np.array([(rows.score >= threshold).mean() for threshold in thresholds])
    thresholds = thresholds[share <= capacity]
    profits = _profits(rows, thresholds)
    observed = profits(np.ones((1, rows.entities)))[0]
    drawn = replicates({"profit": profits}, rows.entities, resampling)["profit"]
    if not np.isfinite(interval(float(observed.max()), drawn.max(axis=1), rows.entities, resampling.confidence)[0]):
        return BestThreshold(chosen, np.nan, np.nan)
    deviation = drawn - observed
    critical = np.quantile(deviation.max(axis=1, keepdims=True) - deviation, resampling.confidence, axis=0)
    kept = np.flatnonzero(observed.max() - observed <= critical)
    first, last = max(kept[0] - 1, 0), min(kept[-1] + 1, len(thresholds) - 1)
    return BestThreshold(chosen, float(thresholds[last]), float(thresholds[first]))
