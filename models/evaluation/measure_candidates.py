"""Measure every candidate: the validation rows select among candidates, the test rows only report.

A candidate's scores are calibrated first, so that the metrics are those of the scores that will be served. The calibration
is fitted on the validation rows and is too optimistic about them. Therefore their probability metrics use cross-fitted
scores, and their order metrics use the scores before calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from core.plan.evaluate import AMOUNTS
from core.plan.section import column_of
from models.data.rows import numbers_of
from models.data.split import part, rows_of
from models.evaluation.evaluation import CandidateResult
from models.measures.calibration import cross_fitted, fit_calibration
from models.measures.intervals import Resampling, estimates
from models.measures.metrics import (
    LOWER_IS_BETTER,
    ORDER_METRICS,
    PROBABILITY_METRICS,
    Observed,
    entity_numbers,
    metric_value,
    statistic,
)
from models.measures.prediction_intervals import conformal_interval
from models.measures.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.calibration import Calibration
    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate, Metric, Money
    from core.plan.plan import Plan, Problem
    from core.prediction_interval import PredictionInterval
    from models.data.rows import Rows, Task
    from models.measures.intervals import Estimate
    from models.measures.metrics import Earned
    from models.scoring.model_file import Model


@dataclass(frozen=True)
class SplitPart:
    """One part of the split: encoded rows with labels, and the number of each row's entity, of the shape (rows,).

    `earned` is the profit of each row, if the plan's amounts differ by row.
    """

    rows: Rows
    entity: NDArray[np.int64]
    earned: Earned | None = None


@dataclass(frozen=True)
class MeasuredCandidate:
    """The result of one candidate, with its calibrated scores on both parts."""

    result: CandidateResult
    validation: Observed
    test: Observed


def split_part(
    table: pa.Table,
    name: str,
    features: Sequence[ContractFeature],
    task: Task,
    key: str,
    weight: str | None = None,
    money: Money | None = None,
) -> SplitPart:
    """Return one part of the training set, with its rows encoded.

    Parameters
    ----------
    key, weight : the columns with the entities, and with the weights of rows if they have any.
    money : the plan's amounts, which may be columns.

    Raises
    ------
    PlanError
        If a weight or an amount is null, negative or infinite.

    """
    chosen = part(table, name)
    return SplitPart(
        rows_of(chosen, features, task, weight),
        entity_numbers(chosen.column(key).to_numpy(zero_copy_only=False)),
        earned_by_row(money, chosen) if money is not None and money.references else None,
    )


def part_of_plan(plan: Plan, table: pa.Table, name: str, features: Sequence[ContractFeature], task: Task) -> SplitPart:
    """Return one part of the training set of `plan`, with its rows, weights and profits; errors are those of `split_part`."""
    return split_part(
        table, name, features, task, plan.cluster_column, plan.training_set.weight_column, plan.evaluate.money
    )


def earned_by_row(money: Money, rows: pa.Table) -> Earned:
    """Return the profit of deciding each row as 1, with label 1 and with label 0."""
    amounts = [getattr(money, name) for name in AMOUNTS]
    by_row = [
        numbers_of(rows, column_of(amount), f"evaluate.money.{name}") if isinstance(amount, str) else amount
        for name, amount in zip(AMOUNTS, amounts, strict=True)
    ]
    lost, staying = money.earned(*by_row)
    shape = len(rows)
    return np.broadcast_to(lost, shape), np.broadcast_to(staying, shape)


def observed(
    section: Evaluate,
    problem: Problem,
    part: SplitPart,
    score: NDArray[np.float64],
    threshold: float,
    interval: PredictionInterval | None = None,
) -> Observed:
    """Return the rows of `part` with their scores, the interval around them if any, and the plan's settings of metrics."""
    money, rows = section.money, part.rows
    earned = part.earned or ((money.earned_of_lost, money.earned_of_staying) if money else (np.nan, np.nan))
    return Observed(
        *(problem, rows.label, score, part.entity, threshold),
        *(section.top, section.quantile, earned, rows.weight, interval),
    )


def scores_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return outputs of shape (rows, 1) as (rows,), and those of several classes unchanged."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


@dataclass(frozen=True)
class Served:
    """What a candidate would answer: its calibration, threshold and interval from the validation rows, and both parts scored.

    `raw` has the scores of the validation rows before calibration.
    """

    calibration: Calibration
    threshold: float
    interval: PredictionInterval | None
    raw: NDArray[np.float64]
    validation: Observed
    test: Observed


def served(
    section: Evaluate, problem: Problem, name: str, model: Model, validation: SplitPart, test: SplitPart
) -> Served:
    """Return both parts with the scores and decisions that would be served; errors are those of `measure_candidate`."""
    raw, on_test = (scores_of(model.outputs(part.rows.inputs)) for part in (validation, test))
    for part_name, scores in (("validation", raw), ("test", on_test)):
        undefined = int(np.count_nonzero(~np.isfinite(scores)))
        if undefined:
            raise PlanError(
                f"evaluate: {undefined:,} {part_name} scores of the candidate {name!r} are NaN or infinite; "
                f"check the steps and parameters of train.candidates.{name}"
            )
    label, weight = validation.rows.label, validation.rows.weight
    calibration = fit_calibration(section.calibration, label, raw, weight)
    calibrated = calibration.apply(raw)
    threshold = choose_threshold(section.threshold, section.money, label, calibrated, weight, validation.earned)
    interval = conformal_interval(section.interval.coverage, label, raw, weight) if section.interval else None
    on_validation = observed(section, problem, validation, calibrated, threshold, interval)
    on_test_part = observed(section, problem, test, calibration.apply(on_test), threshold, interval)
    return Served(calibration, threshold, interval, raw, on_validation, on_test_part)


def measure_candidate(
    section: Evaluate, problem: Problem, name: str, model: Model, validation: SplitPart, test: SplitPart, seed: int
) -> MeasuredCandidate:
    """Return one candidate with its calibration, threshold and validation metrics.

    Raises
    ------
    PlanError
        If a score is NaN or infinite, or the calibration cannot be fitted.

    """
    one, label, weight = (
        served(section, problem, name, model, validation, test),
        validation.rows.label,
        validation.rows.weight,
    )
    held_out = cross_fitted(section.calibration, label, one.raw, validation.entity, seed, weight)
    out_of_fold, uncalibrated = replace(one.validation, score=held_out), replace(one.validation, score=one.raw)
    rows = {**dict.fromkeys(PROBABILITY_METRICS, out_of_fold), **dict.fromkeys(ORDER_METRICS, uncalibrated)}
    measured = {metric: metric_value(metric, rows.get(metric, one.validation)) for metric in section.metrics}
    result = CandidateResult(
        name, _defined(measured), {}, one.threshold, calibration=one.calibration, interval=one.interval
    )
    return MeasuredCandidate(result, one.validation, one.test)


def _defined(measured: Mapping[Metric, float]) -> dict[str, float]:
    return {name: value for name, value in measured.items() if np.isfinite(value)}


def resampling_of(section: Evaluate, seed: int) -> Resampling:
    """Return the bootstrap settings of the plan."""
    return Resampling(section.intervals.repeats, section.intervals.confidence, seed)


def on_test_rows(
    section: Evaluate, measured: Sequence[MeasuredCandidate], resampling: Resampling
) -> list[MeasuredCandidate]:
    """Return the candidates with their test metrics, whose intervals use the same draws of entities."""
    statistics = {
        f"{one.result.candidate} {metric}": statistic(metric, one.test)
        for one in measured
        for metric in section.metrics
    }
    found = estimates(statistics, measured[0].test.entities, resampling)
    return [
        replace(
            one,
            result=_with_test(
                one.result, {metric: found[f"{one.result.candidate} {metric}"] for metric in section.metrics}
            ),
        )
        for one in measured
    ]


def _with_test(result: CandidateResult, found: Mapping[Metric, Estimate]) -> CandidateResult:
    return replace(
        result,
        test=_defined({metric: estimate.value for metric, estimate in found.items()}),
        test_lower=_defined({metric: estimate.lower for metric, estimate in found.items()}),
        test_upper=_defined({metric: estimate.upper for metric, estimate in found.items()}),
    )


def evaluate(
    section: Evaluate,
    problem: Problem,
    models: Mapping[str, Model],
    validation: SplitPart,
    test: SplitPart,
    seed: int,
) -> list[MeasuredCandidate]:
    """Return all `models` measured, the best by the primary metric on the validation rows first; ties keep the plan's order.

    Raises
    ------
    PlanError
        If the primary metric is undefined for a candidate.

    """
    measured = [
        measure_candidate(section, problem, name, model, validation, test, seed) for name, model in models.items()
    ]
    for one in measured:
        if section.primary not in one.result.validation:
            raise PlanError(
                f"evaluate.primary: {section.primary} of {one.result.candidate!r} is undefined on the validation rows; "
                "set another primary metric, or widen the validation part (training_set.split)"
            )
    sign = 1 if section.primary in LOWER_IS_BETTER else -1
    measured.sort(key=lambda one: sign * one.result.validation[section.primary])
    return on_test_rows(section, measured, resampling_of(section, seed))
