"""The input of fitting: the task, and encoded rows with their labels and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PlanError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from core.plan.train import ClassWeight
    from models.scoring.encoding import Inputs

    Labels = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """The prediction task: label 1 of two, one of several classes (in the order of their codes), or a number."""

    problem: Problem
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The class names by code; empty for a regression."""
        return ("0", "1") if self.problem == "binary" else self.classes


BINARY = Task("binary")


@dataclass(frozen=True)
class Rows:
    """Encoded rows, and their labels of shape (rows,): codes of classes, or numbers; and the weight of each row, if any."""

    inputs: Inputs
    label: Labels
    weight: NDArray[np.float64] | None = None

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return the rows with these indices."""
        return Rows(self.inputs.take(rows), self.label[rows], None if self.weight is None else self.weight[rows])


def task_of(problem: Problem, train: pa.Table, order: tuple[str, ...] = ()) -> Task:
    """Return the task; the classes of a multiclass problem are those of `order`, or of the training rows in ascending order."""
    if order:
        return Task(problem, order)
    if problem != "multiclass":
        return Task(problem)
    return Task(problem, tuple(sorted(train.column("label").unique().to_pylist())))


def labels_of(column: pa.ChunkedArray, task: Task) -> Labels:
    """Return a column of labels as class codes or numbers.

    Raises
    ------
    PlanError
        If a class is not among those of the training rows.

    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if task.problem == "regression":
        return np.asarray(column.to_numpy(), dtype=np.float64)
    if task.problem == "binary":
        return np.asarray(column.to_numpy(), dtype=np.int32)
    codes = pc.index_in(column, value_set=pa.array(task.classes, pa.string()))
    if codes.null_count:
        unknown = column.filter(codes.is_null())[0].as_py()
        raise PlanError(
            f"the class {unknown!r} occurs in a later part of the split, but in no training row; widen training_set.as_of, "
            "or merge rare classes in label.value"
        )
    return np.asarray(codes.to_numpy(), dtype=np.int32)


def weights_of(table: pa.Table, column: str | None) -> NDArray[np.float64] | None:
    """Return the weights of the rows of a training table, in `column`; None without a column.

    Raises
    ------
    PlanError
        If a weight is null, negative or infinite, or all are 0.

    """
    if column is None:
        return None
    weights = numbers_of(table, column, "training_set.weight")
    if not weights.any() and len(weights):
        raise PlanError(
            f"training_set.weight: {_named(column)} is 0 in all of {len(weights):,} rows; expected some above 0"
        )
    return weights


def numbers_of(table: pa.Table, column: str, path: str) -> NDArray[np.float64]:
    """Return a column of numbers of at least 0; `path` is the plan's key that names the column.

    Raises
    ------
    PlanError
        If one is null, negative or infinite.

    """
    numbers = np.asarray(table.column(column).cast("float64").to_numpy(), dtype=np.float64)
    wrong = ~(numbers >= 0) | np.isinf(numbers)
    if wrong.any():
        found = numbers[wrong][0]
        raise PlanError(
            f"{path}: {_named(column)} is {'null' if np.isnan(found) else found} in one of {int(wrong.sum()):,} of "
            f"{len(numbers):,} rows without a usable value; expected a number >= 0 in every row: correct its SQL, such as "
            "with coalesce"
        )
    return numbers


def _named(column: str) -> str:
    return column.replace("__", ".")


def row_weights(
    weight: ClassWeight | None, label: Labels, task: Task, own: NDArray[np.float64] | None = None
) -> NDArray[np.float64] | None:
    """Return the weight of each row's class times its `own`, scaled to mean 1; None without weights.

    `balanced` gives all classes the same total of the rows' own weights.

    Raises
    ------
    PlanError
        If a weight is for an unknown class.

    """
    if weight is None:
        return None if own is None else np.asarray(own / own.mean(), dtype=np.float64)
    codes = label.astype(np.int64)
    totals = np.bincount(codes, own, minlength=len(task.names)).astype(np.float64)
    if weight == "balanced":
        by_class = 1 / np.where(totals > 0, totals, 1)
    else:
        unknown = sorted(set(weight) - set(task.names))
        if unknown:
            raise PlanError(f"class_weight: {unknown[0]!r} is not a class; expected {', '.join(task.names)}")
        by_class = np.array([weight.get(name, 1.0) for name in task.names])
    weights = by_class[codes] if own is None else by_class[codes] * own
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def entity_codes(keys: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return an integer code for each row's entity: 0, 1, … in the order of first occurrence."""
    return np.asarray(keys.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)
