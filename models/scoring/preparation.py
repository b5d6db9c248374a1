"""The fitted steps between encoded rows and an estimator: by kind of column, then over all joined columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from core.errors import BundleError
from models.scoring.columns import Columns, dense, stack_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.scoring.encoding import Inputs

Kind: TypeAlias = Literal["categorical", "timestamp", "numeric", "text"]


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of one kind, as indices into the contract, and the fitted steps for them; None leaves them unchanged."""

    kind: Kind
    places: tuple[int, ...]
    steps: Any | None

    def transform(self, inputs: Inputs) -> Columns:
        """Return the group's output columns."""
        columns = self.input_columns(inputs)
        return columns if self.steps is None else self.steps.transform(columns)

    def input_columns(self, inputs: Inputs) -> Any:
        """Return the group's input: columns of the matrix, or one column of texts."""
        return inputs.texts[self.places[0]] if self.kind == "text" else inputs.matrix[:, list(self.places)]


@dataclass(frozen=True)
class Preparation:
    """All groups, the steps over their joined columns, and the indices of the columns that a selection kept."""

    groups: tuple[ColumnGroup, ...]
    joined: Any | None = None
    kept: tuple[int, ...] | None = None

    @property
    def categories(self) -> tuple[int, ...]:
        """The indices of the output columns that are still codes of levels."""
        first = self.groups[0]
        if self.joined is not None or first.kind != "categorical" or first.steps is not None:
            return ()
        native = range(len(first.places))
        return (
            tuple(native)
            if self.kept is None
            else tuple(index for index, column in enumerate(self.kept) if column in native)
        )

    def transform(self, inputs: Inputs) -> Columns:
        """Return the estimator's columns, one row per row of `inputs`."""
        columns = stack_columns([group.transform(inputs) for group in self.groups])
        if self.joined is not None:
            columns = self.joined.transform(dense(columns))
        return columns if self.kept is None else columns[:, list(self.kept)]

    def outline(self) -> dict[str, Any]:
        """Return everything except the fitted steps, as JSON values."""
        groups = [{"kind": group.kind, "places": list(group.places)} for group in self.groups]
        return {"groups": groups, "kept": None if self.kept is None else list(self.kept)}

    def fitted(self) -> list[Any]:
        """Return the fitted steps: those of each group, then the joined ones."""
        return [*(group.steps for group in self.groups), self.joined]


def preparation_from(outline: Mapping[str, Any], fitted: Sequence[Any]) -> Preparation:
    """Return the preparation with this outline and these fitted steps; see `Preparation.outline` and `fitted`.

    Raises
    ------
    BundleError
        If their numbers of groups differ.

    """
    *steps, joined = fitted
    if len(steps) != len(outline["groups"]):
        expected = len(outline["groups"])
        raise BundleError(f"the preparation has {len(steps)} fitted groups, its outline {expected}; train again")
    groups = [
        ColumnGroup(group["kind"], tuple(int(place) for place in group["places"]), fitted_steps)
        for group, fitted_steps in zip(outline["groups"], steps, strict=True)
    ]
    kept = outline["kept"]
    return Preparation(tuple(groups), joined, None if kept is None else tuple(int(place) for place in kept))
