"""What a candidate learns from: the task, and the encoded rows of one part of the split with their labels."""

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
    """What is predicted: label 1 of two, one of several classes (in the order of their codes), or a number."""

    problem: Problem
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The labels by their codes; none for a number."""
        return ("0", "1") if self.problem == "binary" else self.classes


BINARY = Task("binary")


@dataclass(frozen=True)
class Rows:
    """Encoded rows, and their labels of the shape (rows,): codes of classes, or numbers."""

    inputs: Inputs
    label: Labels

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Choose rows by their places."""
        return Rows(self.inputs.take(rows), self.label[rows])


def task_of(problem: Problem, train: pa.Table) -> Task:
    """Say what is predicted; the classes of a multiclass problem are those of the training rows, in order."""
    if problem != "multiclass":
        return Task(problem)
    return Task(problem, tuple(sorted(train.column("label").unique().to_pylist())))


def labels_of(column: pa.ChunkedArray, task: Task) -> Labels:
    """Turn a column of labels into codes or numbers.

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
        strange = column.filter(codes.is_null())[0].as_py()
        raise PlanError(
            f"the class {strange!r} stands in a later part of the split, but in no training row; widen training_set.as_of, "
            "or let label.value put rare classes together"
        )
    return np.asarray(codes.to_numpy(), dtype=np.int32)


def row_weights(weight: ClassWeight | None, label: Labels, task: Task) -> NDArray[np.float64] | None:
    """Give each row the weight of its class, on average 1; None where all weigh the same.

    Raises
    ------
    PlanError
        If a weight is of a class that there is not.

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
            raise PlanError(f"class_weight: {unknown[0]!r} is no class; there are {', '.join(task.names)}")
        by_class = np.array([weight.get(name, 1.0) for name in task.names])
    weights = by_class[codes]
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def entity_codes(keys: pa.ChunkedArray) -> NDArray[np.int64]:
    """Give each entity a number, in the order in which they first occur."""
    return np.asarray(keys.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)
