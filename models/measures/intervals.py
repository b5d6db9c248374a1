"""Intervals by resampling entities: what a measure would have been with other customers of the same kind.

Rows of one entity resemble one another, so entities are drawn, each with all of its rows. An entity that is drawn k times
counts k times: no row is copied, every measure takes the counts as weights, and all of them see the same draws. That
makes differences paired, and 500 draws of 600,000 rows a matter of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from models.measures.metrics import Observed, SumOfSizes, statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Problem
    from models.measures.metrics import Statistic

#: Below it a bootstrap of entities knows too little of how they differ: no interval is given.
MINIMUM_ENTITIES = 30
#: An interval from draws of which more than this share leave the measure undefined would be that of the lucky ones.
_MOST_UNDEFINED = 0.05
#: Weights that are held at once: about 64 MB.
_BLOCK = 8_000_000
#: How often the bias of a sum of sizes is corrected: each step takes away the bias that the last one left.
_CORRECTIONS = 3


@dataclass(frozen=True)
class Estimate:
    """A measure with its interval; the bounds are NaN where the data give none."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Difference:
    """Two models on the same rows: first minus second, with the interval of the difference.

    Attributes
    ----------
    first, second : the measures of both.
    difference : first - second. Whether more is better is for the metric to say (`models.measures.metrics.LOWER_IS_BETTER`).
    lower, upper : its interval, NaN where the data give none.

    """

    first: float
    second: float
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Resampling:
    """How often entities are drawn, with which seed, and how sure an interval is."""

    repeats: int = 500
    confidence: float = 0.95
    seed: int = 0

    def draws(self, entities: int) -> Iterator[NDArray[np.float64]]:
        """Yield the counts of all draws in blocks of shape (draws, entities); the same ones at every call."""
        chance = np.random.default_rng(self.seed)
        block = max(1, min(self.repeats, _BLOCK // max(entities, 1)))
        for start in range(0, self.repeats, block):
            drawn = [
                np.bincount(chance.integers(0, entities, entities), minlength=entities)
                for _ in range(min(block, self.repeats - start))
            ]
            yield np.stack(drawn).astype(np.float64)


def replicates(
    statistics: Mapping[str, Statistic], entities: int, resampling: Resampling
) -> dict[str, NDArray[np.float64]]:
    """Compute each statistic under the same draws of entities; arrays of shape (repeats,)."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
    if entities:
        for weights in resampling.draws(entities):
            for name, of in statistics.items():
                found[name].append(of(weights))
    return {name: np.concatenate(blocks) if blocks else np.empty(0) for name, blocks in found.items()}


def estimates(statistics: Mapping[str, Statistic], entities: int, resampling: Resampling) -> dict[str, Estimate]:
    """Compute each statistic with its interval, from the same draws; see `interval`."""
    if not entities:
        return {name: Estimate(np.nan, np.nan, np.nan) for name in statistics}
    drawn = replicates(
        {name: of.parts if isinstance(of, SumOfSizes) else of for name, of in statistics.items()}, entities, resampling
    )
    everybody, confidence = np.ones((1, entities)), resampling.confidence
    found = {}
    for name, of in statistics.items():
        value = float(of(everybody)[0])
        if isinstance(of, SumOfSizes):
            bounds = size_interval(of.parts(everybody)[0], drawn[name], entities, confidence)
        else:
            bounds = interval(value, drawn[name], entities, confidence)
        found[name] = Estimate(value, *bounds)
    return found


def interval(value: float, drawn: NDArray[np.float64], entities: int, confidence: float) -> tuple[float, float]:
    """Give the bounds of a measure from its replicates: their quantiles, widened as Student's t is wider than the normal.

    A quantile p of B replicates is the one of rank p (B + 1): a new value falls below it with the chance p, not with more as
    below one of rank p (B - 1) + 1. Beyond the outermost replicates the normal goes on.

    Parameters
    ----------
    value, drawn : the measure, and its replicates of shape (repeats,).
    entities : how many were drawn from.
    confidence : the share of repeated studies whose interval holds the truth, nearly.

    Returns
    -------
    (lower, upper); NaN with fewer than 30 entities, or where more than one in twenty draws leaves the measure undefined.

    References
    ----------
    Efron, B. (1979). Bootstrap methods: another look at the jackknife. Davison, A. C. and Hinkley, D. V. (1997). Bootstrap
    methods and their application, 3.8 (clusters), 5.2 (ranks). Hesterberg, T. (2015). What teachers should know about the
    bootstrap, section 5 (expanded percentile).

    """
    defined = drawn[np.isfinite(drawn)]
    if entities < MINIMUM_ENTITIES or not np.isfinite(value) or len(defined) < (1 - _MOST_UNDEFINED) * len(drawn):
        return np.nan, np.nan
    tail = _tail(entities, confidence)
    low, high = np.quantile(defined, [tail, 1 - tail], method="weibull")
    if tail * (len(defined) + 1) < 1:
        beyond = _deviations(entities, confidence) * defined.std()
        low, high = min(low, defined.mean() - beyond), max(high, defined.mean() + beyond)
    return float(low), float(high)


def size_interval(
    parts: NDArray[np.float64], drawn: NDArray[np.float64], entities: int, confidence: float
) -> tuple[float, float]:
    """Give the bounds of a sum of absolute values, which is larger than the truth in every study and more so in every draw.

    They lie symmetrically about the sum without what chance adds (see `size_without_chance`), as far as that varies between
    draws. The truth may be 0 wherever parts that are all 0 would give so large a sum with the chance of the upper tail.

    Parameters
    ----------
    parts, drawn : the means whose sizes are added up, and their replicates of shape (repeats, parts).
    entities, confidence : as for `interval`.

    Returns
    -------
    (lower, upper), of which the sum as it was observed may lie above both; NaN with fewer than 30 entities.

    References
    ----------
    Kumar, A., Liang, P. and Ma, T. (2019). Verified uncertainty calibration (the bias of a calibration error, and without it).

    """
    if entities < MINIMUM_ENTITIES or not np.isfinite(drawn).all():
        return np.nan, np.nan
    error = drawn.std(axis=0, ddof=1)
    found = float(size_without_chance(parts, error))
    apart = _deviations(entities, confidence) * float(size_without_chance(drawn, error).std(ddof=1))
    of_nothing = size_without_chance(drawn - parts, error)
    surely = found > np.quantile(of_nothing, 1 - _tail(entities, confidence), method="weibull")
    return max(found - apart, 0.0) if surely else 0.0, max(found + apart, 0.0)


def size_difference_interval(
    parts: tuple[NDArray[np.float64], NDArray[np.float64]],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    entities: int,
    confidence: float,
) -> tuple[float, float]:
    """Give the bounds of one sum of absolute values less another, both from the same draws; see `size_interval`."""
    if entities < MINIMUM_ENTITIES or not all(np.isfinite(of).all() for of in drawn):
        return np.nan, np.nan
    errors = [of.std(axis=0, ddof=1) for of in drawn]
    one, two = (float(size_without_chance(of, error)) for of, error in zip(parts, errors, strict=True))
    first, second = (size_without_chance(of, error) for of, error in zip(drawn, errors, strict=True))
    apart = _deviations(entities, confidence) * float((first - second).std(ddof=1))
    return one - two - apart, one - two + apart


def size_without_chance(parts: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum up the absolute values of means, less what their standard errors add to that.

    A mean m is observed as m + s Z with Z normal, whose size is E|m + s Z| on average. With A^j |m| = E|m + s sqrt(j) Z|,
    correcting the bias k times gives sum over j from 0 to k of (-1)^j C(k + 1, j + 1) A^j |m|; here k is 3. From half a
    standard error on nearly no bias is left, and of that at 0 less than half.

    Parameters
    ----------
    parts : of shape (..., parts).
    error : of shape (parts,).

    Returns
    -------
    Of shape (...); below 0 where the parts are smaller than chance makes them.

    References
    ----------
    Hall, P. (1992). The bootstrap and Edgeworth expansion, 1.4 (iterated bias correction).

    """
    size = np.abs(parts)
    found = (_CORRECTIONS + 1) * size
    for times in range(1, _CORRECTIONS + 1):
        found = found + (-1) ** times * comb(_CORRECTIONS + 1, times + 1) * _mean_size(size, times**0.5 * error)
    return np.asarray(found.sum(axis=-1))


def _mean_size(size: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the mean size of a normal about `size` (the mean of a folded normal)."""
    from scipy.special import ndtr

    errors = np.divide(size, error, out=np.full(size.shape, np.inf), where=error > 0)
    mean: NDArray[np.float64] = size * (2 * ndtr(errors) - 1) + error * np.sqrt(2 / np.pi) * np.exp(-(errors**2) / 2)
    return mean


def _deviations(entities: int, confidence: float) -> float:
    """Give how many standard deviations of the replicates lie on each side: a bootstrap's are small by (1 - 1/n)^0.5."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, entities - 1) * np.sqrt(entities / (entities - 1)))


def _tail(entities: int, confidence: float) -> float:
    """Give the share of replicates beyond each bound."""
    from scipy.special import ndtr

    return float(ndtr(-_deviations(entities, confidence)))


def estimate(metric: Metric, rows: Observed, resampling: Resampling) -> Estimate:
    """Compute one metric of `rows` with its interval."""
    return estimates({metric: statistic(metric, rows)}, rows.entities, resampling)[metric]


def difference(metric: Metric, first: Observed, second: Observed, resampling: Resampling) -> Difference:
    """Compare two models by one metric on the same rows: `first` and `second` differ in scores and thresholds only.

    Both are measured under the same draws of entities, so what an entity does to both cancels.

    Raises
    ------
    ValueError
        If they are not the same rows.

    """
    if not (np.array_equal(first.entity, second.entity) and np.array_equal(first.label, second.label)):
        raise ValueError("the two models were not scored on the same rows")
    one, two = statistic(metric, first), statistic(metric, second)
    entities, confidence, everybody = first.entities, resampling.confidence, np.ones((1, first.entities))
    here, there = (float(of(everybody)[0]) for of in (one, two))
    if isinstance(one, SumOfSizes) and isinstance(two, SumOfSizes):
        drawn = replicates({"first": one.parts, "second": two.parts}, entities, resampling)
        parts = one.parts(everybody)[0], two.parts(everybody)[0]
        bounds = size_difference_interval(parts, (drawn["first"], drawn["second"]), entities, confidence)
    else:
        drawn = replicates({"first": one, "second": two}, entities, resampling)
        bounds = interval(here - there, drawn["first"] - drawn["second"], entities, confidence)
    return Difference(here, there, here - there, *bounds)


def paired_difference(
    metric: Metric,
    label: NDArray[np.int32] | NDArray[np.float64],
    score_a: NDArray[np.float64],
    score_b: NDArray[np.float64],
    entity: NDArray[np.int64],
    *,
    problem: Problem = "binary",
    threshold_a: float = np.nan,
    threshold_b: float = np.nan,
    resampling: Resampling | None = None,
) -> Difference:
    """Compare the scores of two models on the same rows, `a` minus `b`, by `metric`; see `difference`.

    `entity` numbers the rows' entities from 0 on (`models.measures.metrics.numbered`). The thresholds matter to measures of
    decisions only.
    """
    first = Observed(problem, label, score_a, entity, threshold_a)
    second = Observed(problem, label, score_b, entity, threshold_b)
    return difference(metric, first, second, resampling or Resampling())
