"""Intervals by resampling entities: what a measure would have been with other customers of the same kind.

Rows of one entity resemble one another, so entities are drawn, each with all of its rows. An entity that is drawn k times
counts k times: no row is copied, every measure takes the counts as weights, and all of them see the same draws. That
makes differences paired, and 500 draws of 600,000 rows a matter of seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.metrics import Observed, SumOfSizes, statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan import Problem
    from core.plan_evaluation import Metric
    from models.metrics import Statistic

#: Below it a bootstrap of entities knows too little of how they differ: no interval is given.
MINIMUM_ENTITIES = 30
#: An interval from draws of which more than this share leave the measure undefined would be that of the lucky ones.
_MOST_UNDEFINED = 0.05
#: Weights that are held at once: about 64 MB.
_BLOCK = 8_000_000
#: How many times as large as observed the truth of a sum of sizes is tried to be.
_SCALES = np.linspace(0, 3, 301)


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
    difference : first - second. Whether more is better is for the metric to say (`models.metrics.LOWER_IS_BETTER`).
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
    methods and their application, 3.8 (clusters). Hesterberg, T. (2015). What teachers should know about the bootstrap,
    section 5 (expanded percentile).

    """
    defined = drawn[np.isfinite(drawn)]
    if entities < MINIMUM_ENTITIES or not np.isfinite(value) or len(defined) < (1 - _MOST_UNDEFINED) * len(drawn):
        return np.nan, np.nan
    tail = _tail(entities, confidence)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def size_interval(
    parts: NDArray[np.float64], drawn: NDArray[np.float64], entities: int, confidence: float
) -> tuple[float, float]:
    """Give the bounds of a sum of absolute values, which is larger than the truth in every study and more so in every draw.

    Where the truth is 0 no quantile of replicates reaches it. So every truth is tried: `parts`, made larger or smaller
    together, to which a draw adds what it lies apart from them. A truth stays in the interval if the sum that was observed
    lies between the quantiles of the sums that it gives.

    Parameters
    ----------
    parts, drawn : the means whose sizes are added up, and their replicates of shape (repeats, parts).
    entities, confidence : as for `interval`.

    Returns
    -------
    (lower, upper); NaN with fewer than 30 entities.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997), 5.4 (test inversion).

    """
    if entities < MINIMUM_ENTITIES or not np.isfinite(drawn).all():
        return np.nan, np.nan
    observed, apart, tail = float(np.abs(parts).sum()), drawn - parts, _tail(entities, confidence)
    kept = []
    for scale in _SCALES:
        low, high = np.quantile(np.abs(scale * parts + apart).sum(axis=1), [tail, 1 - tail])
        if low <= observed <= high:
            kept.append(scale * observed)
    # Nothing fits where the observed sum is smaller than chance makes it.
    return (float(kept[0]), float(kept[-1])) if kept else (0.0, observed)


def _tail(entities: int, confidence: float) -> float:
    """Give the share of replicates beyond each bound."""
    from scipy.stats import norm, t

    wide = t.ppf((1 - confidence) / 2, entities - 1) * np.sqrt(entities / (entities - 1))
    return float(norm.cdf(wide))


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
    both = {"first": statistic(metric, first), "second": statistic(metric, second)}
    drawn = replicates(both, first.entities, resampling)
    everybody = np.ones((1, first.entities))
    one, two = (float(of(everybody)[0]) for of in both.values())
    bounds = interval(one - two, drawn["first"] - drawn["second"], first.entities, resampling.confidence)
    return Difference(one, two, one - two, *bounds)


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

    `entity` numbers the rows' entities from 0 on (`models.metrics.numbered`). The thresholds matter to measures of
    decisions only.
    """
    first = Observed(problem, label, score_a, entity, threshold_a)
    second = Observed(problem, label, score_b, entity, threshold_b)
    return difference(metric, first, second, resampling or Resampling())
