"""Measure how often the intervals of an evaluation contain the truth, in simulated studies whose truth is known.

Every study draws its own entities, each with one to six correlated rows; a share of the entities is protected. The truth is
the value of the same measures over very many entities.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from core.plan.evaluate import METRICS, Money, Threshold
from core.prediction_interval import PredictionInterval
from models.measures.fairness import RATES, fairness
from models.measures.groups import Grouping
from models.measures.intervals import Estimate, Resampling, difference, estimates
from models.measures.metrics import Observed, metric_value, statistic
from models.measures.money import best_threshold
from models.measures.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from models.measures.metrics import Statistic

#: The number of entities whose measures count as the truth.
MANY = 300_000
#: The profit of contacting an entity that leaves, and one that stays; it is positive from a probability of 1/3 on.
EARNED = (8.0, -4.0)
_THRESHOLD = 0.4
#: The interval around each prediction of a regression.
_INTERVAL = PredictionInterval(0.9, -2.0, 2.0)
_PROTECTED = 0.4
_DIFFERENCES = ("roc_auc", "log_loss", "ece", "profit", "rmse")


@dataclass(frozen=True)
class Study:
    """Rows with the scores of one model, the same rows with those of another, and which of them are protected."""

    rows: Observed
    other: Observed
    group: Grouping


def study(problem: Problem, seed: int, entities: int) -> Study:
    """Draw a study: the first model is overconfident, and the second has noisier inputs."""
    rng = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), rng.integers(1, 7, entities))
    protected = (rng.random(entities) < _PROTECTED)[entity]
    risk = rng.normal(size=entities)[entity] + 0.5 * protected
    signal = risk + 0.5 * rng.normal(size=len(entity))
    noisy_signal = risk + 1.2 * rng.normal(size=len(entity))
    draw = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[problem]
    label, *scores = draw(rng, risk, signal, noisy_signal)
    threshold = _THRESHOLD if problem == "binary" else np.nan
    interval = _INTERVAL if problem == "regression" else None
    first, second = (
        Observed(problem, label, score, entity, threshold, earned=EARNED, interval=interval) for score in scores
    )
    return Study(first, second, Grouping("protected", ("no", "yes"), protected.astype(np.int64)))


#: Labels, and the scores of both models.
_Scored = tuple["NDArray[np.int32] | NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]


def _probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _binary(
    rng: np.random.Generator, risk: NDArray[np.float64], signal: NDArray[np.float64], noisy: NDArray[np.float64]
) -> _Scored:
    label = (rng.random(len(risk)) < _probability(1.2 * risk - 1)).astype(np.int32)
    return label, _probability(1.8 * signal - 0.8), _probability(0.9 * noisy - 0.9)


def _multiclass(
    rng: np.random.Generator, risk: NDArray[np.float64], signal: NDArray[np.float64], noisy: NDArray[np.float64]
) -> _Scored:
    label = np.digitize(risk + rng.normal(size=len(risk)), [-0.5, 0.8]).astype(np.int32)
    return label, _class_probabilities(signal), _class_probabilities(noisy)


def _class_probabilities(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    raw = np.exp(np.column_stack([-1.5 * signal, np.full(len(signal), 0.4), 1.2 * signal]))
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def _regression(
    rng: np.random.Generator, risk: NDArray[np.float64], signal: NDArray[np.float64], noisy: NDArray[np.float64]
) -> _Scored:
    # Seldom below zero; measures of counts are not defined there.
    label = np.maximum(10 + 3 * risk + rng.normal(size=len(risk)), 0)
    return label, np.maximum(10 + 2.5 * signal, 0.1), np.maximum(10 + 1.5 * noisy, 0.1)


def measures(problem: Problem, drawn: Study, resampling: Resampling) -> dict[str, Estimate]:
    """Return every measure with its interval: metrics, differences of the two models, and fairness."""
    statistics: dict[str, Statistic] = {metric: statistic(metric, drawn.rows) for metric in METRICS[problem]}
    metrics = estimates(statistics, drawn.rows.entities, resampling)
    found = {f"{problem} {metric}": estimate for metric, estimate in metrics.items()}
    for metric in METRICS[problem]:
        if metric in _DIFFERENCES:
            compared = difference(metric, drawn.rows, drawn.other, resampling)
            found[f"{problem} difference of {metric}"] = Estimate(compared.difference, compared.lower, compared.upper)
    if problem == "binary":
        found.update(_fairness_measures(drawn, resampling))
    return found


def _fairness_measures(drawn: Study, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    result = fairness(drawn.rows, drawn.group, resampling)
    protected = next(part for part in result.parts if part.part == "yes")
    for rate in RATES:
        yield f"{rate} of the protected", protected.rates[rate]
        yield f"gap of {rate}", result.gaps[rate]


def truth(problem: Problem, many: int = MANY, seed: int = 10**6) -> dict[str, float]:
    """Return the value of every measure over `many` entities."""
    drawn = study(problem, seed, many)
    found = {f"{problem} {metric}": metric_value(metric, drawn.rows) for metric in METRICS[problem]}
    for metric in METRICS[problem]:
        if metric in _DIFFERENCES:
            other = metric_value(metric, drawn.other)
            found[f"{problem} difference of {metric}"] = found[f"{problem} {metric}"] - other
    if problem == "binary":
        found |= {name: estimate.value for name, estimate in _fairness_measures(drawn, Resampling(repeats=1))}
    return found


def contains_truth(
    problem: Problem, true: Mapping[str, float], entities: int, draws: int, seed: int
) -> dict[str, bool]:
    """Return, for each measure of one study, whether its interval contains the truth."""
    found = measures(problem, study(problem, seed, entities), Resampling(draws, 0.95, seed))
    return {name: estimate.lower <= true[name] <= estimate.upper for name, estimate in found.items()}


def coverage(
    problem: Problem, repeats: int, entities: int, draws: int = 500, workers: int = 1, many: int = MANY
) -> dict[str, float]:
    """Return, for each measure of a problem, the share of `repeats` studies whose 95 % interval contains the truth."""
    check = partial(contains_truth, problem, truth(problem, many), entities, draws)
    if workers == 1:
        results = [check(seed) for seed in range(repeats)]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            results = list(pool.map(check, range(repeats), chunksize=5))
    return {name: sum(result[name] for result in results) / repeats for name in results[0]}


def threshold_coverage(repeats: int, entities: int, draws: int = 500) -> float:
    """Return the share of studies in which the range of best thresholds contains the truly best threshold.

    The scores are the true probabilities, so the best threshold is the break-even point of an offer.
    """
    return sum(_range_contains_best(seed, entities, draws) for seed in range(repeats)) / repeats


def _range_contains_best(seed: int, entities: int, draws: int) -> bool:
    rng = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), rng.integers(1, 7, entities))
    true = _probability(1.5 * rng.normal(size=entities)[entity] + 0.5 * rng.normal(size=len(entity)) - 1)
    label = (rng.random(len(entity)) < true).astype(np.int32)
    rows = Observed("binary", label, true, entity, earned=EARNED)
    money = Money(kept_value=EARNED[0] - EARNED[1], offer_cost=-EARNED[1], acceptance=1)
    chosen = choose_threshold(Threshold(maximise="profit"), money, label, true)
    best = best_threshold(rows, chosen, 1.0, Resampling(draws, 0.95, seed))
    return best.lower <= money.break_even <= best.upper
