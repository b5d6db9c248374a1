"""Fit learners on samples of the rows before the test part, and measure them as the stage `evaluate` would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from core.errors import PlanError
from feature_repo.join.time_line import microseconds
from models.candidates.candidates import fit
from models.data.rows import task_of
from models.data.split import TEST, TRAIN, contract_features, part, refuse_infinite, rows_of
from models.evaluation.measure_candidates import SplitPart, earned_by_row, served
from models.measures.intervals import Resampling, replicates
from models.measures.metrics import LOWER_IS_BETTER, entity_numbers, metric_value, statistic
from models.scoring.model_file import load_model
from planner.decide.samples import largest_size, sizes
from planner.decide.units import UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate, Metric
    from core.plan.plan import Plan
    from core.plan.train import Candidate
    from models.data.rows import Rows, Task
    from models.measures.metrics import Earned, Observed, Statistic
    from planner.decide.samples import Sample

    Indices = NDArray[np.int64]

#: Draws of entities behind a standard error.
_DRAWS = 200


@dataclass(frozen=True)
class Pool:
    """The encoded rows of the training and validation parts, with what measuring them needs.

    Attributes
    ----------
    entity : (rows,): the number of each row's unit; see `planner.decide.units`.
    as_of : (rows,): each row's instant in microseconds since 1970.
    earned : the profit of each row, if amounts differ by row.
    section : the plan's evaluation with only the metrics that are asked for.

    """

    features: tuple[ContractFeature, ...]
    task: Task
    rows: Rows
    entity: Indices
    as_of: Indices
    earned: Earned | None
    section: Evaluate
    seed: int

    def part(self, index: Indices) -> SplitPart:
        """Return the rows with these indices."""
        earned = None if self.earned is None else tuple(np.asarray(each)[index] for each in self.earned)
        return SplitPart(self.rows.take(index), entity_numbers(self.entity[index]), earned)  # type: ignore[arg-type]


def pool_of(plan: Plan, table: pa.Table, metrics: Sequence[Metric]) -> Pool:
    """Return the rows of `table`, which has no test rows, for the `metrics`.

    Raises
    ------
    PlanError
        If a feature is infinite, or a class, a weight or an amount is not usable.

    """
    fitting = part(table, TRAIN)
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    refuse_infinite(table, features)
    task, money = task_of(plan.project.problem, fitting, plan.label.ordered), plan.evaluate.money
    return Pool(
        features,
        task,
        rows_of(table, features, task, plan.training_set.weight_column),
        np.asarray(table.column(UNIT).to_numpy()),
        microseconds(table.column("as_of"), "as_of"),
        earned_by_row(money, table) if money is not None and money.references else None,
        plan.evaluate.model_copy(update={"metrics": tuple(metrics)}),
        plan.train.seed,
    )


@dataclass(frozen=True)
class Measured:
    """A learner's scores on rows that it was not fitted on; each element is a share of them."""

    shares: tuple[Observed, ...]

    def score(self, metric: Metric) -> float:
        """Return the mean of the metric over the shares; higher is better."""
        return float(np.mean([metric_value(metric, one) for one in self.shares])) * _sign(metric)

    def variance(self, metric: Metric) -> float:
        """Return the sampling variance of the score, by resampling entities."""
        return _variance([_draws(metric, one) for one in self.shares])

    def variance_of_difference(self, metric: Metric, other: Measured) -> float:
        """Return the sampling variance of the difference to another learner's score on the same rows."""
        pairs = zip(self.shares, other.shares, strict=True)
        return _variance([_draws(metric, one) - _draws(metric, two) for one, two in pairs])


def _sign(metric: Metric) -> int:
    return -1 if metric in LOWER_IS_BETTER else 1


def _draws(metric: Metric, rows: Observed) -> NDArray[np.float64]:
    named: dict[str, Statistic] = {metric: statistic(metric, rows)}
    return replicates(named, rows.entities, Resampling(_DRAWS))[metric]


def _variance(draws: Sequence[NDArray[np.float64]]) -> float:
    return float(sum(np.nanvar(one) for one in draws)) / len(draws) ** 2


def measure(pool: Pool, name: str, learner: Candidate, fitted: Indices, checked: Indices) -> Measured | None:
    """Return the learner fitted on some rows and measured on others; None if a class or a score is missing.

    Half of the checked entities serve as the validation part (early stopping, calibration, threshold) and half as the test
    part; then the halves change places.
    """
    first, second = _halves(pool, checked)
    if not (
        _has_labels(pool, fitted, len(pool.task.names)) and all(_has_labels(pool, one, 2) for one in (first, second))
    ):
        return None
    try:
        shares = [_on_test(pool, name, learner, fitted, *halves) for halves in ((first, second), (second, first))]
    except PlanError:
        return None
    found = Measured(tuple(shares))
    return found if all(np.isfinite(found.score(metric)) for metric in pool.section.metrics) else None


def _has_labels(pool: Pool, rows: Indices, labels: int) -> bool:
    """Return whether rows have so many different labels; those of a regression need two different numbers."""
    return len(np.unique(pool.rows.label[rows])) >= max(labels, 2)


def _halves(pool: Pool, rows: Indices) -> tuple[Indices, Indices]:
    entities = np.unique(pool.entity[rows])
    chosen = np.random.default_rng(pool.seed).permutation(entities)[: len(entities) // 2]
    inside = np.isin(pool.entity[rows], chosen)
    return rows[inside], rows[~inside]


def _on_test(
    pool: Pool, name: str, learner: Candidate, fitted: Indices, validation: Indices, test: Indices
) -> Observed:
    model = fit(learner, pool.features, pool.rows.take(fitted), pool.rows.take(validation), pool.seed, pool.task)
    loaded = load_model(model.model_format, model.content)
    parts = pool.part(validation), pool.part(test)
    return served(pool.section, pool.task.problem, name, loaded, *parts).test


def without_test_labels(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the rows before the test part, and the test rows without their labels."""
    is_test = pc.equal(table.column("split"), TEST)
    return table.filter(pc.invert(is_test)), table.filter(is_test).drop_columns(["label"])


def measured_on(pool: Pool, name: str, learner: Candidate, checks: Sequence[Sample], size: int) -> Measured | None:
    """Return the learner fitted on the first `size` rows of each sample, measured on the checked rows of all; or None."""
    parts = [measure(pool, name, learner, check.fitted[:size], check.checked) for check in checks]
    shares = [share for part in parts if part is not None for share in part.shares]
    return Measured(tuple(shares)) if all(parts) else None


@dataclass(frozen=True)
class Trained:
    """The learners by name, as they are measured on the largest sample, and the samples."""

    pool: Pool
    samples: Sequence[Sample]
    learners: Mapping[str, Candidate]
    measured: Mapping[str, Measured]

    @property
    def metric(self) -> Metric:
        """The metric that is forecast."""
        return self.pool.section.primary

    @property
    def best(self) -> str:
        """The learner with the best score."""
        return max(self.measured, key=lambda name: self.measured[name].score(self.metric))

    def curve(self, name: str) -> dict[int, float]:
        """Return the score of a learner, higher is better, by the size of its sample."""
        *smaller, largest = sizes(largest_size(self.samples))
        learner = self.learners[name]
        found = {size: measured_on(self.pool, name, learner, self.samples, size) for size in smaller}
        measured = {**found, largest: self.measured[name]}
        return {size: one.score(self.metric) for size, one in measured.items() if one is not None}


def train_learners(pool: Pool, learners: Mapping[str, Candidate], checks: Sequence[Sample]) -> Trained:
    """Return the learners that can be fitted, measured on the largest sample."""
    size = largest_size(checks)
    found = {name: measured_on(pool, name, learner, checks, size) for name, learner in learners.items()}
    return Trained(pool, checks, learners, {name: one for name, one in found.items() if one is not None})
