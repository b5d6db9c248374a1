"""The fitted steps between encoded rows and an estimator, by kind of column, then over all columns together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from core.errors import BundleError, PlanError
from core.plan import NUMERIC
from core.plan_candidates import BoostedCandidate
from core.plan_steps import LeaveOut, OneHot, Ordinal, TargetEncode
from models.columns import Columns, beside, dense
from models.folds import refuse_few_rows
from models.selection import select
from models.steps import Fitting, scikit_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.contracts import ContractFeature
    from core.plan_candidates import PreparedCandidate
    from core.plan_steps import Step
    from models.encoding import Inputs
    from models.rows import Rows, Task

Kind: TypeAlias = Literal["categorical", "timestamp", "numeric", "text"]


@dataclass(frozen=True)
class Group:
    """Columns of one kind at their places in the contract, and the fitted steps for them; None passes them on."""

    kind: Kind
    places: tuple[int, ...]
    steps: Any | None

    def transform(self, inputs: Inputs) -> Columns:
        """Give the group's output columns."""
        columns = self.taken(inputs)
        return columns if self.steps is None else self.steps.transform(columns)

    def taken(self, inputs: Inputs) -> Any:
        """Give the group's input: the columns of a matrix, or one column of texts."""
        return inputs.texts[self.places[0]] if self.kind == "text" else inputs.matrix[:, list(self.places)]


@dataclass(frozen=True)
class Preparation:
    """All groups, the steps over their joined columns, and the places of those that a selection kept."""

    groups: tuple[Group, ...]
    joined: Any | None = None
    kept: tuple[int, ...] | None = None

    @property
    def categories(self) -> tuple[int, ...]:
        """The places, among the output columns, of categories that are still codes of levels."""
        first = self.groups[0]
        if self.joined is not None or first.kind != "categorical" or first.steps is not None:
            return ()
        native = range(len(first.places))
        return (
            tuple(native) if self.kept is None else tuple(at for at, place in enumerate(self.kept) if place in native)
        )

    def transform(self, inputs: Inputs) -> Columns:
        """Give the columns that the estimator takes, one row for each row of `inputs`."""
        columns = beside([group.transform(inputs) for group in self.groups])
        if self.joined is not None:
            columns = self.joined.transform(dense(columns))
        return columns if self.kept is None else columns[:, list(self.kept)]

    def outline(self) -> dict[str, Any]:
        """Say in JSON's words what stands beside the fitted steps."""
        groups = [{"kind": group.kind, "places": list(group.places)} for group in self.groups]
        return {"groups": groups, "kept": None if self.kept is None else list(self.kept)}

    def fitted(self) -> list[Any]:
        """List the fitted steps: those of each group, and the joined ones."""
        return [*(group.steps for group in self.groups), self.joined]


def preparation_from(outline: Mapping[str, Any], fitted: Sequence[Any]) -> Preparation:
    """Bring back what `outline` and `fitted` wrote.

    Raises
    ------
    BundleError
        If one does not fit the other.

    """
    *steps, joined = fitted
    if len(steps) != len(outline["groups"]):
        raise BundleError(f"the preparation has {len(steps)} fitted groups, its outline {len(outline['groups'])}")
    groups = [
        Group(group["kind"], tuple(int(place) for place in group["places"]), fitted_steps)
        for group, fitted_steps in zip(outline["groups"], steps, strict=True)
    ]
    kept = outline["kept"]
    return Preparation(tuple(groups), joined, None if kept is None else tuple(int(place) for place in kept))


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
