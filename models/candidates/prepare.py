"""The plan's steps fitted on training rows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from core.dtypes import NUMERIC
from core.errors import PlanError
from core.plan.steps import LeaveOut, OneHot, Ordinal, TargetEncode
from core.plan.train import BoostedCandidate
from models.candidates.selection import select
from models.candidates.steps import Fitting, scikit_step
from models.data.folds import refuse_few_rows
from models.scoring.columns import Columns, beside, dense
from models.scoring.preparation import Group, Kind, Preparation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import ContractFeature
    from core.plan.steps import Step
    from core.plan.train import PreparedCandidate
    from models.data.rows import Rows, Task


def is_plain(candidate: PreparedCandidate) -> bool:
    """Whether `candidate` has no step at all, so that its estimator takes the encoded matrix as it is."""
    return not any((candidate.numeric, candidate.categorical, candidate.text, candidate.joined, candidate.select))


def prepare(
    candidate: PreparedCandidate, features: Sequence[ContractFeature], rows: Rows, task: Task, seed: int
) -> tuple[Preparation, Columns]:
    """Fit the candidate's steps on `rows`; return them with the rows' output columns.

    Those columns are not always what `transform` gives for the same rows: target encoding takes a row's from folds that it
    is not in.

    Raises
    ------
    PlanError
        If a step refuses the columns, or none is left.

    """
    groups, blocks = [], []
    for kind, places, steps in _grouped(candidate, features):
        group = Group(kind, places, None)
        columns = group.taken(rows.inputs)
        if steps:
            fitting = Fitting(tuple(features[place] for place in places), task, seed)
            pipeline, columns = _fit_steps(steps, columns, rows, fitting, kind)
            group = Group(kind, places, pipeline)
        groups.append(group)
        blocks.append(columns)
    if not groups:
        raise PlanError("none of its steps takes a feature of the service; see numeric, categorical and text")
    columns = beside(blocks)
    joined = None
    if candidate.joined:
        joined, columns = _fit_steps(candidate.joined, dense(columns), rows, Fitting((), task, seed), "joined")
    kept = select(candidate.select, columns, rows.label, task, seed) if candidate.select else None
    preparation = Preparation(tuple(groups), joined, kept)
    return preparation, columns if kept is None else columns[:, list(kept)]


def _grouped(
    candidate: PreparedCandidate, features: Sequence[ContractFeature]
) -> list[tuple[Kind, tuple[int, ...], Sequence[Step]]]:
    """Say which steps which features go through; categories that stay codes come first."""
    categorical = _places(features, {"string"})
    ordered = _ordered(candidate.categorical, features)
    found: list[tuple[Kind, tuple[int, ...], Sequence[Step]]] = [
        ("categorical", tuple(place for place in categorical if place not in ordered), candidate.categorical),
        ("categorical", ordered, candidate.categorical),
        ("timestamp", _places(features, {"timestamp"}) if isinstance(candidate, BoostedCandidate) else (), ()),
        ("numeric", _places(features, NUMERIC), candidate.numeric),
        *(("text", (place,), candidate.text) for place in _places(features, {"text"}) if candidate.text),
    ]
    return [
        (kind, places, _steps_for(steps, ordered=places is ordered))
        for kind, places, steps in found
        if places and not any(isinstance(step, LeaveOut) for step in steps)
    ]


def _places(features: Sequence[ContractFeature], dtypes: set[str] | frozenset[str]) -> tuple[int, ...]:
    return tuple(place for place, feature in enumerate(features) if feature.dtype in dtypes)


def _ordered(steps: Sequence[Step], features: Sequence[ContractFeature]) -> tuple[int, ...]:
    named = {name for step in steps if isinstance(step, Ordinal) for name in step.order}
    return tuple(place for place, feature in enumerate(features) if f"{feature.view}.{feature.name}" in named)


def _steps_for(steps: Sequence[Step], *, ordered: bool) -> list[Step]:
    """Choose the steps of categories with a stated order, or of the others."""
    others = (OneHot, TargetEncode) if ordered else (Ordinal,)
    return [step for step in steps if not isinstance(step, others)]


def _fit_steps(steps: Sequence[Step], columns: Any, rows: Rows, fitting: Fitting, kind: str) -> tuple[Any, Columns]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline

    for step in steps:
        if isinstance(step, TargetEncode):
            refuse_few_rows(rows.label, step.folds, fitting.task)
    pipeline = make_pipeline(*(scikit_step(step, fitting) for step in steps))
    try:
        with warnings.catch_warnings():
            # Of the iterative imputation, which ends after the rounds that the plan gives it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return pipeline, pipeline.fit_transform(columns, rows.label)
    except ValueError as error:
        named = ", ".join(step.step for step in steps)
        raise PlanError(f"{kind} [{named}]: {str(error).splitlines()[0]}") from None
