"""Measure every candidate on the validation rows, which choose, and on the test rows, which only tell.

A candidate's scores are calibrated first, so that what is measured is what will be served. The curve is fitted on the
validation rows, so there it flatters: their probabilities are measured by curves that did not see the row's entity, and
their order before any curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from models.data.split import part, rows_of
from models.evaluation.evaluation import CandidateResult
from models.measures.calibration import cross_fitted, fit_calibration
from models.measures.intervals import Resampling, estimates
from models.measures.metrics import LOWER_IS_BETTER, OF_ORDER, OF_PROBABILITIES, Observed, measure, numbered, statistic
from models.measures.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate, Metric
    from core.plan.plan import Problem
    from models.data.rows import Rows, Task
    from models.measures.intervals import Estimate
    from models.scoring.model_file import Model


@dataclass(frozen=True)
class Part:
    """One part of the split: encoded rows with labels, and the number of each row's entity, of the shape (rows,)."""

    rows: Rows
    entity: NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """One candidate, with its calibrated scores on both parts."""

    result: CandidateResult
    validation: Observed
    test: Observed


def part_of(table: pa.Table, name: str, features: Sequence[ContractFeature], task: Task, key: str) -> Part:
    """Read one part of the split from the training set."""
    chosen = part(table, name)
    return Part(rows_of(chosen, features, task), numbered(chosen.column(key).to_numpy(zero_copy_only=False)))


def observed(section: Evaluate, problem: Problem, part: Part, score: NDArray[np.float64], threshold: float) -> Observed:
    """Put scores beside the rows that they are of, with what the plan says about measuring them."""
    money = section.money
    earned = (money.earned_of_lost, money.earned_of_staying) if money else (np.nan, np.nan)
    return Observed(problem, part.rows.label, score, part.entity, threshold, section.top, section.quantile, earned)


def scores_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the only output of each row, or the outputs of all classes."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs


def judge(
    section: Evaluate, problem: Problem, name: str, model: Model, validation: Part, test: Part, seed: int
) -> Judged:
    """Calibrate one candidate, choose its threshold, and measure it.

    Raises
    ------
    PlanError
        If it gives scores that are no numbers, or its calibration cannot be fitted.

    """
    raw, on_test = (scores_of(model.outputs(part.rows.inputs)) for part in (validation, test))
    for place, scores in (("validation", raw), ("test", on_test)):
        if not np.isfinite(scores).all():
            strange = int(np.count_nonzero(~np.isfinite(scores)))
            raise PlanError(
                f"evaluate: the candidate {name!r} gives {strange:,} {place} scores that are no numbers; "
                f"look at train.candidates.{name}"
            )
    label = validation.rows.label
    calibration = fit_calibration(section.calibration, label, raw)
    threshold = choose_threshold(section.threshold, section.money, label, calibration.apply(raw))
    known = observed(section, problem, validation, calibration.apply(raw), threshold)
    later = observed(section, problem, test, calibration.apply(on_test), threshold)
    honest = replace(known, score=cross_fitted(section.calibration, label, raw, validation.entity, seed))
    ranked = replace(known, score=raw)
    seen = {**dict.fromkeys(OF_PROBABILITIES, honest), **dict.fromkeys(OF_ORDER, ranked)}
    measured = {metric: measure(metric, seen.get(metric, known)) for metric in section.metrics}
    return Judged(CandidateResult(name, _defined(measured), {}, threshold, calibration=calibration), known, later)


def _defined(measured: Mapping[Metric, float]) -> dict[str, float]:
    return {name: value for name, value in measured.items() if np.isfinite(value)}


def resampling_of(section: Evaluate, seed: int) -> Resampling:
    """Say how intervals are computed."""
    return Resampling(section.intervals.repeats, section.intervals.confidence, seed)


def on_test_rows(section: Evaluate, judged: Sequence[Judged], resampling: Resampling) -> list[Judged]:
    """Measure all candidates on the test rows, with intervals from the same draws of entities."""
    statistics = {
        f"{one.result.candidate} {metric}": statistic(metric, one.test) for one in judged for metric in section.metrics
    }
    found = estimates(statistics, judged[0].test.entities, resampling)
    return [
        replace(
            one,
            result=_with_test(
                one.result, {metric: found[f"{one.result.candidate} {metric}"] for metric in section.metrics}
            ),
        )
        for one in judged
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
    validation: Part,
    test: Part,
    seed: int,
) -> list[Judged]:
    """Measure `models`, the best by the primary metric on the validation rows first; equals keep the plan's order.

    Raises
    ------
    PlanError
        If the primary metric is not defined for a candidate.

    """
    judged = [judge(section, problem, name, model, validation, test, seed) for name, model in models.items()]
    for one in judged:
        if section.primary not in one.result.validation:
            raise PlanError(
                f"evaluate.primary: the validation rows do not define {section.primary} of {one.result.candidate!r}; "
                "choose another metric, or more rows"
            )
    sign = 1 if section.primary in LOWER_IS_BETTER else -1
    judged.sort(key=lambda one: sign * one.result.validation[section.primary])
    return on_test_rows(section, judged, resampling_of(section, seed))
