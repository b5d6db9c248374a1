"""How often the intervals of an evaluation hold the truth, in simulated studies whose truth is known.

Every study draws entities of its own, each with one to six rows that resemble one another, a share of which is protected.
Truth is what the same measures say of very many entities.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from core.plan.evaluate import METRICS, Money, Threshold
from models.measures.fairness import RATES, fairness
from models.measures.groups import Grouping
from models.measures.intervals import Estimate, Resampling, difference, estimates
from models.measures.metrics import Observed, measure, statistic
from models.measures.money import best_threshold
from models.measures.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from models.measures.metrics import Statistic

#: Entities whose measures are taken for the truth.
MANY = 300_000
#: What approaching somebody earns who leaves, and who stays; it pays from a probability of 1/3 on.
EARNED = (8.0, -4.0)
_THRESHOLD = 0.4
_PROTECTED = 0.4
_DIFFERENCES = ("roc_auc", "log_loss", "ece", "profit", "rmse")


@dataclass(frozen=True)
class Study:
    """Rows that a model was tried on, what another model says of them, and which are protected."""

    rows: Observed
    other: Observed
    group: Grouping


def study(problem: Problem, seed: int, entities: int) -> Study:
    """Draw a study; the first model is too sure of itself, and the second sees less."""
    chance = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), chance.integers(1, 7, entities))
    protected = (chance.random(entities) < _PROTECTED)[entity]
    risk = chance.normal(size=entities)[entity] + 0.5 * protected
    seen = risk + 0.5 * chance.normal(size=len(entity))
    blurred = risk + 1.2 * chance.normal(size=len(entity))
    make = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[problem]
    label, score, other = make(chance, risk, seen, blurred)
    one, two = (
        Observed(problem, label, said, entity, _THRESHOLD if problem == "binary" else np.nan, earned=EARNED)
        for said in (score, other)
    )
    return Study(one, two, Grouping("protected", ("no", "yes"), protected.astype(np.int64)))


_Made = tuple["NDArray[np.int32] | NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]


def _chance_of(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _binary(
    chance: np.random.Generator, risk: NDArray[np.float64], seen: NDArray[np.float64], blurred: NDArray[np.float64]
) -> _Made:
    label = (chance.random(len(risk)) < _chance_of(1.2 * risk - 1)).astype(np.int32)
    return label, _chance_of(1.8 * seen - 0.8), _chance_of(0.9 * blurred - 0.9)


def _multiclass(
    chance: np.random.Generator, risk: NDArray[np.float64], seen: NDArray[np.float64], blurred: NDArray[np.float64]
) -> _Made:
    label = np.digitize(risk + chance.normal(size=len(risk)), [-0.5, 0.8]).astype(np.int32)
    return label, _three(seen), _three(blurred)


def _three(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    raw = np.exp(np.column_stack([-1.5 * seen, np.full(len(seen), 0.4), 1.2 * seen]))
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


def _regression(
    chance: np.random.Generator, risk: NDArray[np.float64], seen: NDArray[np.float64], blurred: NDArray[np.float64]
) -> _Made:
    return 10 + 3 * risk + chance.normal(size=len(risk)), 10 + 2.5 * seen, 10 + 1.5 * blurred


def measures(problem: Problem, drawn: Study, resampling: Resampling) -> dict[str, Estimate]:
    """Take every measure with its interval: metrics, differences of the two models, and fairness."""
    named: dict[str, Statistic] = {metric: statistic(metric, drawn.rows) for metric in METRICS[problem]}
    taken = estimates(named, drawn.rows.entities, resampling)
    found = {f"{problem} {metric}": one for metric, one in taken.items()}
    for metric in METRICS[problem]:
        if metric in _DIFFERENCES:
            apart = difference(metric, drawn.rows, drawn.other, resampling)
            found[f"{problem} difference of {metric}"] = Estimate(apart.difference, apart.lower, apart.upper)
    if problem == "binary":
        found.update(_fair(drawn, resampling))
    return found


def _fair(drawn: Study, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    fair = fairness(drawn.rows, drawn.group, resampling)
    protected = next(part for part in fair.parts if part.part == "yes")
    for rate in RATES:
        yield f"{rate} of the protected", protected.rates[rate]
        yield f"gap of {rate}", fair.gaps[rate]


def truth(problem: Problem, many: int = MANY, seed: int = 10**6) -> dict[str, float]:
    """Take every measure of `many` entities."""
    drawn = study(problem, seed, many)
    found = {f"{problem} {metric}": measure(metric, drawn.rows) for metric in METRICS[problem]}
    for metric in METRICS[problem]:
        if metric in _DIFFERENCES:
            other = measure(metric, drawn.other)
            found[f"{problem} difference of {metric}"] = found[f"{problem} {metric}"] - other
    if problem == "binary":
        found |= {name: one.value for name, one in _fair(drawn, Resampling(repeats=1))}
    return found


def held(problem: Problem, true: Mapping[str, float], entities: int, draws: int, seed: int) -> dict[str, bool]:
    """Say of each measure of one study whether its interval holds the truth."""
    found = measures(problem, study(problem, seed, entities), Resampling(draws, 0.95, seed))
    return {name: one.lower <= true[name] <= one.upper for name, one in found.items()}


def coverage(
    problem: Problem, repeats: int, entities: int, draws: int = 500, workers: int = 1, many: int = MANY
) -> dict[str, float]:
    """Give, for each measure of a problem, the share of `repeats` studies whose 95 % interval holds the truth."""
    once = partial(held, problem, truth(problem, many), entities, draws)
    if workers == 1:
        results = [once(seed) for seed in range(repeats)]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            results = list(pool.map(once, range(repeats), chunksize=5))
    return {name: sum(result[name] for result in results) / repeats for name in results[0]}


def threshold_coverage(repeats: int, entities: int, draws: int = 500) -> float:
    """Give the share of studies in which the range of best thresholds holds the one that is best in truth.

    The scores are the true probabilities, so the best threshold is where an offer breaks even.
    """
    return sum(_range_holds(seed, entities, draws) for seed in range(repeats)) / repeats


def _range_holds(seed: int, entities: int, draws: int) -> bool:
    chance = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), chance.integers(1, 7, entities))
    true = _chance_of(1.5 * chance.normal(size=entities)[entity] + 0.5 * chance.normal(size=len(entity)) - 1)
    label = (chance.random(len(entity)) < true).astype(np.int32)
    rows = Observed("binary", label, true, entity, earned=EARNED)
    money = Money(kept_value=EARNED[0] - EARNED[1], offer_cost=-EARNED[1], acceptance=1)
    chosen = choose_threshold(Threshold(maximise="profit"), money, label, true)
    found = best_threshold(rows, chosen, 1.0, Resampling(draws, 0.95, seed))
    return found.lower <= money.break_even <= found.upper
