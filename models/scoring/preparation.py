"""The fitted steps between encoded rows and an estimator, by kind of column, then over all columns together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from core.errors import BundleError
from models.scoring.columns import Columns, beside, dense

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.scoring.encoding import Inputs

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
