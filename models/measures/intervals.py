"""Bootstrap intervals of metrics by resampling entities (cluster bootstrap).

Rows of one entity are correlated, so a draw resamples entities, each with all of its rows. No row is copied: a metric takes
the number of times that each entity was drawn as its weight. All metrics use the same draws, so differences are paired,
and 500 draws of 600,000 rows take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from models.measures.metrics import Observed, SumOfAbsoluteMeans, statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Problem
    from models.measures.metrics import Statistic

#: With fewer entities the bootstrap is unreliable, and intervals are NaN.
MINIMUM_ENTITIES = 30
#: If the metric is undefined in a larger share of draws, the remaining ones are a biased sample, and the interval is NaN.
_MOST_UNDEFINED = 0.05
#: Weights in memory at once: about 64 MB.
_BLOCK = 8_000_000
#: Iterations of the bias correction of a sum of absolute means; each removes most of the bias that the last one left.
_CORRECTIONS = 3


@dataclass(frozen=True)
class Estimate:
    """A metric with its interval; the bounds are NaN where there is no interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Difference:
    """The difference of one metric between two models on the same rows, with its interval.

    Attributes
    ----------
    first, second : the metric of each model.
    difference : first - second. `models.measures.metrics.LOWER_IS_BETTER` says for which metrics a negative one is better.
    lower, upper : the interval of the difference; NaN where there is none.

    """

    first: float
    second: float
    difference: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Resampling:
    """Settings of the bootstrap: the number of draws, the confidence of intervals and the seed."""

    repeats: int = 500
    confidence: float = 0.95
    seed: int = 0

    def draws(self, entities: int) -> Iterator[NDArray[np.float64]]:
        """Yield the entity counts of all draws in blocks of shape (draws, entities); every call yields the same ones."""
        rng = np.random.default_rng(self.seed)
        block = max(1, min(self.repeats, _BLOCK // max(entities, 1)))
        for start in range(0, self.repeats, block):
            drawn = [
                np.bincount(rng.integers(0, entities, entities), minlength=entities)
                for _ in range(min(block, self.repeats - start))
            ]
            yield np.stack(drawn).astype(np.float64)


def replicates(
    statistics: Mapping[str, Statistic], entities: int, resampling: Resampling
) -> dict[str, NDArray[np.float64]]:
    """Return each statistic's values under the same draws of entities, with the draws on the first axis."""
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in statistics}
    if entities:
        for weights in resampling.draws(entities):
            for name, statistic_ in statistics.items():
                found[name].append(statistic_(weights))
    return {name: np.concatenate(blocks) if blocks else np.empty(0) for name, blocks in found.items()}


def estimates(statistics: Mapping[str, Statistic], entities: int, resampling: Resampling) -> dict[str, Estimate]:
    """Return each statistic with its interval, from the same draws; see `interval`."""
    if not entities:
        return {name: Estimate(np.nan, np.nan, np.nan) for name in statistics}
    resampled = {
        name: each.means if isinstance(each, SumOfAbsoluteMeans) else each for name, each in statistics.items()
    }
    drawn = replicates(resampled, entities, resampling)
    unit_weights, confidence = np.ones((1, entities)), resampling.confidence
    found = {}
    for name, each in statistics.items():
        value = float(each(unit_weights)[0])
        if isinstance(each, SumOfAbsoluteMeans):
            bounds = absolute_sum_interval(each.means(unit_weights)[0], drawn[name], entities, confidence)
        else:
            bounds = interval(value, drawn[name], entities, confidence)
        found[name] = Estimate(value, *bounds)
    return found


def interval(value: float, drawn: NDArray[np.float64], entities: int, confidence: float) -> tuple[float, float]:
    """Return the expanded percentile interval of a metric: quantiles of its replicates, widened by Student's t.

    The quantile p of B replicates is the one of rank p (B + 1), so that a new value falls below it with probability p. The
    rank p (B - 1) + 1 would give a higher probability. Outside the range of the replicates the normal quantile is used.

    Parameters
    ----------
    value, drawn : the metric, and its replicates of shape (repeats,).
    entities : the number of entities that were resampled.
    confidence : the nominal coverage, approximate.

    Returns
    -------
    (lower, upper); NaN with fewer than 30 entities, or if the metric is undefined in more than 5 % of the draws.

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
        half_width = _deviations(entities, confidence) * defined.std()
        low, high = min(low, defined.mean() - half_width), max(high, defined.mean() + half_width)
    return float(low), float(high)


def absolute_sum_interval(
    means: NDArray[np.float64], drawn: NDArray[np.float64], entities: int, confidence: float
) -> tuple[float, float]:
    """Return the interval of a sum of absolute means, whose sampling bias is upwards, and larger still in each draw.

    The interval is symmetric about the sum without that bias (see `debiased_absolute_sum`); its width comes from the
    standard deviation of the debiased replicates. The lower bound is 0 unless the sum exceeds the upper tail quantile of
    its distribution when all means are 0.

    Parameters
    ----------
    means, drawn : the means, of shape (means,), and their replicates of shape (repeats, means).
    entities, confidence : as for `interval`.

    Returns
    -------
    (lower, upper); the observed sum may lie above both. NaN with fewer than 30 entities.

    References
    ----------
    Kumar, A., Liang, P. and Ma, T. (2019). Verified uncertainty calibration (the bias of a calibration error).

    """
    if entities < MINIMUM_ENTITIES or not np.isfinite(drawn).all():
        return np.nan, np.nan
    error = drawn.std(axis=0, ddof=1)
    debiased = float(debiased_absolute_sum(means, error))
    half_width = _deviations(entities, confidence) * float(debiased_absolute_sum(drawn, error).std(ddof=1))
    under_null = debiased_absolute_sum(drawn - means, error)
    significant = debiased > np.quantile(under_null, 1 - _tail(entities, confidence), method="weibull")
    return max(debiased - half_width, 0.0) if significant else 0.0, max(debiased + half_width, 0.0)


def absolute_sum_difference_interval(
    means: tuple[NDArray[np.float64], NDArray[np.float64]],
    drawn: tuple[NDArray[np.float64], NDArray[np.float64]],
    entities: int,
    confidence: float,
) -> tuple[float, float]:
    """Return the interval of the first sum of absolute means minus the second; see `absolute_sum_interval`.

    Both sums must come from the same draws.
    """
    if entities < MINIMUM_ENTITIES or not all(np.isfinite(replicate).all() for replicate in drawn):
        return np.nan, np.nan
    errors = [replicate.std(axis=0, ddof=1) for replicate in drawn]
    one, two = (float(debiased_absolute_sum(each, error)) for each, error in zip(means, errors, strict=True))
    first, second = (debiased_absolute_sum(each, error) for each, error in zip(drawn, errors, strict=True))
    half_width = _deviations(entities, confidence) * float((first - second).std(ddof=1))
    return one - two - half_width, one - two + half_width


def debiased_absolute_sum(means: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of absolute means, corrected for the bias that their standard errors cause.

    A mean m with standard error s is observed as m + s Z with Z normal, and its absolute value has the expectation
    E|m + s Z|. With A^j |m| = E|m + s sqrt(j) Z|, k iterations of bias correction give the sum over j from 0 to k of
    (-1)^j C(k + 1, j + 1) A^j |m|; k is 3 in this module. Almost no bias remains for |m| above s / 2, and less than half of
    it at m = 0.

    Parameters
    ----------
    means : of shape (..., means).
    error : the standard errors, of shape (means,).

    Returns
    -------
    Of shape (...); negative where the means are smaller than their noise.

    References
    ----------
    Hall, P. (1992). The bootstrap and Edgeworth expansion, 1.4 (iterated bias correction).

    """
    absolute = np.abs(means)
    debiased = (_CORRECTIONS + 1) * absolute
    for j in range(1, _CORRECTIONS + 1):
        debiased = debiased + (-1) ** j * comb(_CORRECTIONS + 1, j + 1) * _folded_normal_mean(absolute, j**0.5 * error)
    return np.asarray(debiased.sum(axis=-1))


def _folded_normal_mean(mean: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return E|X| for a normal X with this mean and standard deviation."""
    from scipy.special import ndtr

    z = np.divide(mean, error, out=np.full(mean.shape, np.inf), where=error > 0)
    folded: NDArray[np.float64] = mean * (2 * ndtr(z) - 1) + error * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    return folded


def _deviations(entities: int, confidence: float) -> float:
    """Return the half-width of an interval in standard deviations of the replicates.

    The factor (n / (n - 1))^0.5 corrects the bootstrap's standard deviation, which is too small.
    """
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, entities - 1) * np.sqrt(entities / (entities - 1)))


def _tail(entities: int, confidence: float) -> float:
    """Return the share of replicates outside each bound."""
    from scipy.special import ndtr

    return float(ndtr(-_deviations(entities, confidence)))


def estimate(metric: Metric, rows: Observed, resampling: Resampling) -> Estimate:
    """Return one metric of `rows` with its interval."""
    return estimates({metric: statistic(metric, rows)}, rows.entities, resampling)[metric]


def difference(metric: Metric, first: Observed, second: Observed, resampling: Resampling) -> Difference:
    """Return the difference of one metric between two models, `first` minus `second`, on the same rows.

    Both are measured under the same draws of entities, so the variance that they have in common cancels.

    Raises
    ------
    ValueError
        If the entities or labels of the two differ.

    """
    if not (np.array_equal(first.entity, second.entity) and np.array_equal(first.label, second.label)):
        raise ValueError("the two models were not scored on the same rows")
    one, two = statistic(metric, first), statistic(metric, second)
    entities, confidence, unit_weights = first.entities, resampling.confidence, np.ones((1, first.entities))
    value_1, value_2 = (float(each(unit_weights)[0]) for each in (one, two))
    if isinstance(one, SumOfAbsoluteMeans) and isinstance(two, SumOfAbsoluteMeans):
        drawn = replicates({"first": one.means, "second": two.means}, entities, resampling)
        means = one.means(unit_weights)[0], two.means(unit_weights)[0]
        bounds = absolute_sum_difference_interval(means, (drawn["first"], drawn["second"]), entities, confidence)
    else:
        drawn = replicates({"first": one, "second": two}, entities, resampling)
        bounds = interval(value_1 - value_2, drawn["first"] - drawn["second"], entities, confidence)
    return Difference(value_1, value_2, value_1 - value_2, *bounds)


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
    """Return the difference of `metric` between two models' scores of the same rows, `a` minus `b`; see `difference`.

    `entity` has the number of each row's entity, from 0 on (`models.measures.metrics.entity_numbers`). Only decision
    metrics use the thresholds.
    """
    first = Observed(problem, label, score_a, entity, threshold_a)
    second = Observed(problem, label, score_b, entity, threshold_b)
    return difference(metric, first, second, resampling or Resampling())
