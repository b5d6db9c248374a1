"""Fit a candidate's preparation steps on training rows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from core.dtypes import NUMERIC
from core.errors import PlanError
from core.plan.steps import LeaveOut, OneHot, Ordinal, TargetEncode
from core.plan.train import BoostedCandidate
from models.candidates.selection import select_columns
from models.candidates.steps import Fitting, scikit_step
from models.data.folds import refuse_few_rows
from models.scoring.columns import Columns, dense, stack_columns
from models.scoring.preparation import ColumnGroup, Kind, Preparation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import ContractFeature
    from core.plan.steps import Step
    from core.plan.train import PreparedCandidate
    from models.data.rows import Rows, Task


def is_plain(candidate: PreparedCandidate) -> bool:
    """Return whether `candidate` has no steps, so that its estimator takes the encoded matrix unchanged."""
    return not any((candidate.numeric, candidate.categorical, candidate.text, candidate.joined, candidate.select))


def prepare(
    candidate: PreparedCandidate, features: Sequence[ContractFeature], rows: Rows, task: Task, seed: int
) -> tuple[Preparation, Columns]:
    """Return the candidate's steps fitted on `rows`, and the output columns of these rows.

    The columns can differ from `transform` of the same rows: target encoding computes a row's value out of fold.

    Raises
    ------
    PlanError
        If a step refuses the columns, or no column is left.

    """
    groups, blocks = [], []
    for kind, indices, steps in _grouped(candidate, features):
        group = ColumnGroup(kind, indices, None)
        columns = group.input_columns(rows.inputs)
        if steps:
            fitting = Fitting(tuple(features[index] for index in indices), task, seed)
            pipeline, columns = _fit_steps(steps, columns, rows, fitting, kind)
            group = ColumnGroup(kind, indices, pipeline)
        groups.append(group)
        blocks.append(columns)
    if not groups:
        raise PlanError(
            "no feature of the service is left after its steps; remove leave_out from numeric or categorical, or add text steps"
        )
    columns = stack_columns(blocks)
    joined = None
    if candidate.joined:
        joined, columns = _fit_steps(candidate.joined, dense(columns), rows, Fitting((), task, seed), "joined")
    kept = select_columns(candidate.select, columns, rows.label, task, seed) if candidate.select else None
    preparation = Preparation(tuple(groups), joined, kept)
    return preparation, columns if kept is None else columns[:, list(kept)]


def _grouped(
    candidate: PreparedCandidate, features: Sequence[ContractFeature]
) -> list[tuple[Kind, tuple[int, ...], Sequence[Step]]]:
    """Return (kind, feature indices, steps) for each group of features; categories that stay codes come first."""
    categorical = _indices(features, {"string"})
    ordered = _ordered(candidate.categorical, features)
    found: list[tuple[Kind, tuple[int, ...], Sequence[Step]]] = [
        ("categorical", tuple(index for index in categorical if index not in ordered), candidate.categorical),
        ("categorical", ordered, candidate.categorical),
        ("timestamp", _indices(features, {"timestamp"}) if isinstance(candidate, BoostedCandidate) else (), ()),
        ("numeric", _indices(features, NUMERIC), candidate.numeric),
        *(("text", (index,), candidate.text) for index in _indices(features, {"text"}) if candidate.text),
    ]
    return [
        (kind, indices, _steps_for(steps, ordered=indices is ordered))
        for kind, indices, steps in found
        if indices and not any(isinstance(step, LeaveOut) for step in steps)
    ]


def _indices(features: Sequence[ContractFeature], dtypes: set[str] | frozenset[str]) -> tuple[int, ...]:
    return tuple(index for index, feature in enumerate(features) if feature.dtype in dtypes)


def _ordered(steps: Sequence[Step], features: Sequence[ContractFeature]) -> tuple[int, ...]:
    named = {name for step in steps if isinstance(step, Ordinal) for name in step.order}
    return tuple(index for index, feature in enumerate(features) if f"{feature.view}.{feature.name}" in named)


def _steps_for(steps: Sequence[Step], *, ordered: bool) -> list[Step]:
    """Return the steps for categories with a stated order, or for those without."""
    skipped = (OneHot, TargetEncode) if ordered else (Ordinal,)
    return [step for step in steps if not isinstance(step, skipped)]


def _fit_steps(steps: Sequence[Step], columns: Any, rows: Rows, fitting: Fitting, kind: str) -> tuple[Any, Columns]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline

    for step in steps:
        if isinstance(step, TargetEncode):
            refuse_few_rows(rows.label, step.folds, fitting.task)
    pipeline = make_pipeline(*(scikit_step(step, fitting) for step in steps))
    try:
        with warnings.catch_warnings():
            # The iterative imputation warns when it ends after the plan's number of rounds.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return pipeline, pipeline.fit_transform(columns, rows.label)
    except ValueError as error:
        named = ", ".join(step.step for step in steps)
        raise PlanError(f"{kind} [{named}]: {str(error).splitlines()[0]}") from None
