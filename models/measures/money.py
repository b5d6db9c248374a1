"""What decisions earn at every threshold, which threshold earns most, and what approaching everybody or nobody would earn."""

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

#: Thresholds at which a curve is drawn: as many shares of rows.
_POINTS = 101


@dataclass(frozen=True)
class ProfitPoint:
    """One point of the profit curve: approaching the rows that score no less than `threshold`, a `share` of all."""

    threshold: float
    share: float
    profit: Estimate


@dataclass(frozen=True)
class BestThreshold:
    """The threshold that earns most, and the range of those that the rows do not show to earn less."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class MoneyResult:
    """What the decisions of one model earn, for each 1,000 decisions.

    Attributes
    ----------
    currency : of all amounts.
    threshold : the one that is in force, and the share of test rows that it approaches.
    best : the threshold that earned most on the validation rows, with its range.
    break_even : the probability from which an offer earns more than it costs; where the score is a true probability, the
        best threshold without a capacity. NaN where no offer earns anything.
    at_threshold, treat_all, treat_none : profit on the test rows.
    over_treating_all : profit at the threshold less that of approaching everybody, paired.
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
    """Say what the threshold of `test` earns on its rows, beside every other."""
    everybody = statistic("profit", replace(test, threshold=-np.inf))
    in_force = statistic("profit", test)

    def over_all(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return in_force(weights) - everybody(weights)

    named = {"in_force": in_force, "everybody": everybody, "over_all": over_all}
    found = estimates(named, test.entities, resampling)
    return MoneyResult(
        currency=currency,
        threshold=test.threshold,
        share=float((test.score >= test.threshold).mean()),
        best=best,
        break_even=break_even,
        at_threshold=found["in_force"],
        treat_all=found["everybody"],
        treat_none=Estimate(0.0, 0.0, 0.0),
        over_treating_all=found["over_all"],
        curve=profit_curve(test, resampling),
    )


def thresholds_of(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choose thresholds that approach about 0, 1, ... 100 % of the rows, in descending order."""
    return np.append(NOBODY, np.unique(np.quantile(score, np.linspace(0, 1, _POINTS), method="inverted_cdf"))[::-1])


def _profits(rows: Observed, thresholds: NDArray[np.float64]) -> Statistic:
    """Make the statistic of profits at all `thresholds` (descending), of shape (repeats, thresholds)."""
    # The band between two thresholds that each row falls in; profits of bands add up to those of thresholds.
    band = np.searchsorted(-thresholds, -rows.score, side="left")
    worth = 1000 * np.where(rows.label == 1, *rows.earned)
    cells = [np.where(band == place, worth, 0.0) for place in range(len(thresholds))]

    def finish(count: NDArray[np.float64], *bands: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.cumsum(np.stack(bands), axis=0) / count).T

    return additive(rows, [np.ones(len(band)), *cells], finish)


def profit_curve(rows: Observed, resampling: Resampling) -> tuple[ProfitPoint, ...]:
    """Compute the profit of approaching every share of `rows`, highest scores first; each interval is of its own point."""
    thresholds = thresholds_of(rows.score)
    of = _profits(rows, thresholds)
    values = of(np.ones((1, rows.entities)))[0]
    drawn = replicates({"profit": of}, rows.entities, resampling)["profit"]
    return tuple(
        ProfitPoint(
            threshold=float(threshold),
            share=float((rows.score >= threshold).mean()),
            profit=Estimate(
                float(value), *interval(float(value), drawn[:, place], rows.entities, resampling.confidence)
            ),
        )
        for place, (threshold, value) in enumerate(zip(thresholds, values, strict=True))
    )


def best_threshold(rows: Observed, chosen: float, capacity: float, resampling: Resampling) -> BestThreshold:
    """Give the range of thresholds that `rows` do not show to earn less than the best one, `chosen`.

    The highest point of a curve jumps about under resampling, and its own quantiles do not cover (Abrevaya and Huang 2005).
    Instead every threshold t is tested to be the best one: it stays in the range unless the best found earns more than it
    by more than chance explains, which is the quantile of max over s of [D(s) - D(t)], where D is how far a draw's profit
    lies from the observed one. The range covers the best threshold at least as often as the confidence says, and ends at
    the next thresholds that were tried. NaN with fewer than 30 entities.

    References
    ----------
    Romano, J. P. and Shaikh, A. M. (2010). Inference for the identified set in partially identified econometric models.
    Abrevaya, J. and Huang, J. (2005). On the bootstrap of the maximum score estimator. Econometrica, 73(4).

    """
    thresholds = np.unique(np.append(thresholds_of(rows.score), chosen))[::-1]
    share = np.array([(rows.score >= threshold).mean() for threshold in thresholds])
    thresholds = thresholds[share <= capacity]
    of = _profits(rows, thresholds)
    observed = of(np.ones((1, rows.entities)))[0]
    drawn = replicates({"profit": of}, rows.entities, resampling)["profit"]
    if not np.isfinite(interval(float(observed.max()), drawn.max(axis=1), rows.entities, resampling.confidence)[0]):
        return BestThreshold(chosen, np.nan, np.nan)
    apart = drawn - observed
    explained = np.quantile(apart.max(axis=1, keepdims=True) - apart, resampling.confidence, axis=0)
    kept = np.flatnonzero(observed.max() - observed <= explained)
    first, last = max(kept[0] - 1, 0), min(kept[-1] + 1, len(thresholds) - 1)
    return BestThreshold(chosen, float(thresholds[last]), float(thresholds[first]))
