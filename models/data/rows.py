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
    """Encoded rows, and their labels of shape (rows,): codes of classes, or numbers."""

    inputs: Inputs
    label: Labels

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return the rows with these indices."""
        return Rows(self.inputs.take(rows), self.label[rows])


def task_of(problem: Problem, train: pa.Table) -> Task:
    """Return the task; the classes of a multiclass problem are those of the training rows, in ascending order."""
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


def row_weights(weight: ClassWeight | None, label: Labels, task: Task) -> NDArray[np.float64] | None:
    """Return the weight of each row's class, scaled to mean 1; None without class weights.

    Raises
    ------
    PlanError
        If a weight is for an unknown class.

    """
    if weight is None:
        return None
    codes = label.astype(np.int64)
    counts = np.bincount(codes, minlength=len(task.names))
    if weight == "balanced":
        by_class = 1 / np.maximum(counts, 1)
    else:
        unknown = sorted(set(weight) - set(task.names))
        if unknown:
            raise PlanError(f"class_weight: {unknown[0]!r} is not a class; expected {', '.join(task.names)}")
        by_class = np.array([weight.get(name, 1.0) for name in task.names])
    weights = by_class[codes]
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def entity_codes(keys: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return an integer code for each row's entity: 0, 1, … in the order of first occurrence."""
    return np.asarray(keys.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)
