"""Forecast the score on the test rows before training, from fast learners on samples of the rows before them.

The forecast reads no test label. The best of the learners, measured on rows that it was not fitted on, gives the expected
score; its learning curve gives that with all training rows, and `planner.decide.deviations` the width of the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from core.plan.train import Ensemble
from core.plan.training_set import TemporalSplit
from models.data.split import TRAIN
from models.measures.intervals import MINIMUM_ENTITIES
from models.measures.metrics import LOWER_IS_BETTER
from planner.decide.deviations import CONFIDENCE, Deviations, deviations_of
from planner.decide.learners import SMALL_TREES, learners
from planner.decide.learning_curve import fit_curve
from planner.decide.samples import SMALLEST, samples
from planner.decide.trials import pool_of, train_learners, without_test_labels
from planner.decide.units import FEW_UNITS, UNIT, with_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from core.plan.plan import Plan
    from planner.decide.learning_curve import LearningCurve
    from planner.decide.trials import Measured, Trained

#: Rows of the rarest class among those fitted or checked below which nothing is said.
_FEW_OF_A_CLASS = 10
#: The metrics with a greatest value of 1, and those without a least value of 0.
_AT_MOST_ONE = frozenset(
    {
        *("roc_auc", "pr_auc", "brier", "ece", "gain", "precision", "recall", "f1", "accuracy", "balanced_accuracy"),
        *("r2", "d2_poisson", "coverage", "quadratic_kappa"),
    }
)
_ANY_SIGN = frozenset({"profit", "r2", "d2_poisson", "quadratic_kappa"})


@dataclass(frozen=True)
class Gate:
    """What the plan's gate would need to see that the best learner is better than the baseline.

    Attributes
    ----------
    metric, win_by : of `register`.
    difference, deviation : by which the learner is better on the checked rows, and its standard deviation by sampling.
    test_rows : test rows with which the interval of the difference is beyond `win_by`, at least those that an interval needs;
        infinite if it is not better.

    """

    metric: Metric
    win_by: float
    difference: float
    deviation: float
    test_rows: float


@dataclass(frozen=True)
class Baseline:
    """The plan's baseline on the checked rows.

    Attributes
    ----------
    rows_to_beat : training rows from which on the best learner is better; infinite if it never is.
    gate : None if the best learner is the baseline.

    """

    name: str
    score: float
    rows_to_beat: float
    gate: Gate | None


@dataclass(frozen=True)
class Interval:
    """The forecast: the score lies between `lower` and `upper` with the probability `confidence`.

    Attributes
    ----------
    learner : the best of the fast learners.
    curve : its score by the number of training rows.
    baseline : None if it could not be fitted.

    """

    expected: float
    lower: float
    upper: float
    confidence: float
    learner: str
    curve: tuple[tuple[int, float], ...]
    deviations: Deviations
    baseline: Baseline | None


@dataclass(frozen=True)
class Forecast:
    """The forecast of a metric on the test rows; `why_not` says why there is none."""

    metric: Metric
    train_rows: int
    validation_rows: int
    test_rows: int
    why_not: str = ""
    interval: Interval | None = None


def forecast(plan: Plan, table: pa.Table) -> Forecast:
    """Return the forecast for the training set in `table`; labels of test rows are not read.

    Raises
    ------
    PlanError
        If the rows cannot be encoded: an infinite feature, a weight or an amount that is not usable.

    """
    known, test = without_test_labels(with_units(plan, table))
    is_training = np.asarray(known.column("split").to_numpy(zero_copy_only=False) == TRAIN)
    metric = plan.evaluate.primary
    found = Forecast(metric, int(is_training.sum()), int((~is_training).sum()), len(test))
    why_not = _too_few(plan, known, is_training) or ("" if len(test) else "the test part has no row")
    if why_not:
        return replace(found, why_not=why_not)
    pool = pool_of(plan, known, tuple(dict.fromkeys((metric, plan.register_.win or metric))))
    checks = samples(plan.training_set.split, is_training, pool.entity, pool.seed)
    trained = train_learners(pool, learners(plan.train), checks)
    if not trained.measured:
        why_not = f"no fast learner could be fitted, or {metric} is undefined for all of them"
        return replace(found, why_not=why_not)
    test_entities = len(test.column(UNIT).unique())
    return replace(found, interval=_interval(plan, trained, found.train_rows, test_entities))


def _too_few(plan: Plan, known: pa.Table, is_training: NDArray[np.bool_]) -> str:
    """Return why the rows before the test part are too few to say anything; empty if they are enough."""
    training = known.filter(pa.array(is_training))
    if len(training) < SMALLEST:
        return f"the train part has {len(training):,} rows, and a forecast needs {SMALLEST}"
    in_time = isinstance(plan.training_set.split, TemporalSplit)
    name, checked = ("validation", known.filter(pa.array(~is_training))) if in_time else ("train and validation", known)
    units = len(checked.column(UNIT).unique())
    if units < FEW_UNITS:
        return f"the {name} part has rows of {units} entities or times, and a forecast needs {FEW_UNITS}"
    if plan.project.problem == "regression":
        return ""
    parts = {"train": training, name: checked}
    return next(filter(None, (_too_rare(part, rows.column("label")) for part, rows in parts.items())), "")


def _too_rare(name: str, label: pa.ChunkedArray) -> str:
    counts = label.value_counts().to_pylist()
    rarest = min(counts, key=lambda one: one["counts"])
    if len(counts) == 1:
        return f"the {name} part has only the label {rarest['values']}"
    if rarest["counts"] >= _FEW_OF_A_CLASS:
        return ""
    found = f"{rarest['counts']} rows of the label {rarest['values']}"
    return f"the {name} part has {found}, and a forecast needs {_FEW_OF_A_CLASS}"


def _interval(plan: Plan, trained: Trained, train_rows: int, test_entities: int) -> Interval:
    metric, points = trained.metric, trained.curve(trained.best)
    law = fit_curve([*points], [*points.values()])
    deviations = deviations_of(plan.training_set.split, trained, law, train_rows, test_entities)
    expected, reach = law.at(train_rows), deviations.reach
    sign = -1 if metric in LOWER_IS_BETTER else 1
    lower, upper = sorted((sign * (expected - reach), sign * (expected + reach)))
    return Interval(
        _bounded(metric, sign * expected),
        _bounded(metric, lower),
        _bounded(metric, upper),
        CONFIDENCE,
        trained.best,
        tuple((rows, sign * score) for rows, score in points.items()),
        deviations,
        _baseline(plan, trained, points, law),
    )


def _bounded(metric: Metric, value: float) -> float:
    low = -math.inf if metric in _ANY_SIGN else 0.0
    high = 1.0 if metric in _AT_MOST_ONE else math.inf
    return min(max(value, low), high)


def _baseline(plan: Plan, trained: Trained, points: Mapping[int, float], law: LearningCurve) -> Baseline | None:
    """Return how the best learner compares with the plan's baseline; None if the baseline could not be fitted."""
    stated, metric = plan.evaluate.baseline, trained.metric
    name = SMALL_TREES if stated not in trained.learners else stated
    base = None if isinstance(plan.train.candidates[stated], Ensemble) else trained.measured.get(name)
    if base is None:
        return None
    score = base.score(metric)
    shown = -score if metric in LOWER_IS_BETTER else score
    if name == trained.best:
        return Baseline(stated, shown, math.inf, None)
    above = (rows for rows, reached in points.items() if reached > score)
    rows_to_beat = next(above, max(law.rows_for(score), *points))
    return Baseline(stated, shown, rows_to_beat, _gate(plan, trained, base))


def _gate(plan: Plan, trained: Trained, base: Measured) -> Gate:
    from scipy.stats import norm

    metric, win_by, best = plan.register_.win or trained.metric, plan.register_.win_by, trained.measured[trained.best]
    difference = best.score(metric) - base.score(metric)
    error = math.sqrt(best.variance_of_difference(metric, base))
    z = float(norm.ppf((1 + plan.evaluate.intervals.confidence) / 2))
    rows = sum(len(sample.checked) for sample in trained.samples)
    needed = rows * (z * error / (difference - win_by)) ** 2 if difference > win_by else math.inf
    needed = max(needed, float(MINIMUM_ENTITIES))
    return Gate(metric, win_by, difference, error, needed)
