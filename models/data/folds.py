"""Cross-validation folds of the training rows.

Random and stratified folds are those of scikit-learn's KFold and StratifiedKFold with shuffle, without its import, which takes
longer than a small training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from core.plan.times import in_units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from numpy.typing import NDArray

    from models.data.rows import Labels, Task

    Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """The indices of the rows to fit on, and of those to check on."""

    fit: Indices
    check: Indices


def stratified_folds(label: Labels, count: int, task: Task, seed: int) -> list[Fold]:
    """Return `count` random folds, stratified by class except in a regression.

    Raises
    ------
    PlanError
        If there are fewer rows, or fewer of a class, than folds.

    """
    refuse_few_rows(label, count, task)
    if task.problem == "regression":
        return random_folds(len(label), count, seed)
    return _folds_of(_stratified_numbers(label, count, seed), count)


def random_folds(rows: int, count: int, seed: int) -> list[Fold]:
    """Return `count` random folds of rows.

    Raises
    ------
    PlanError
        If there are fewer rows than folds.

    """
    _refuse_few(rows, count, "rows")
    order = np.arange(rows)
    np.random.RandomState(seed).shuffle(order)
    numbers = np.empty(rows, np.int64)
    for number, part in enumerate(np.array_split(order, count)):
        numbers[part] = number
    return _folds_of(numbers, count)


def _stratified_numbers(label: Labels, count: int, seed: int) -> Indices:
    """Return the number of the fold that checks each row: each class is dealt to the folds in turn, then shuffled."""
    rng = np.random.RandomState(seed)
    _, first_rows, codes = np.unique(label, return_index=True, return_inverse=True)
    classes = np.argsort(first_rows)  # in the order of their first rows
    sizes = np.bincount(codes)[classes]
    dealt = np.arange(len(label)) % count
    numbers = np.empty(len(label), np.int64)
    for code, end, size in zip(classes, np.cumsum(sizes), sizes, strict=True):
        of_class = np.sort(dealt[end - size : end])
        rng.shuffle(of_class)
        numbers[codes == code] = of_class
    return numbers


def _folds_of(numbers: Indices, count: int) -> list[Fold]:
    return [Fold(np.flatnonzero(numbers != number), np.flatnonzero(numbers == number)) for number in range(count)]


def grouped_folds(
    groups: NDArray[np.int64], label: Labels, count: int, task: Task, seed: int, units: str = "entities"
) -> list[Fold]:
    """Return `count` random folds of groups, so that all rows of one entity are in one fold; messages name the `units`.

    Raises
    ------
    PlanError
        If there are fewer groups than folds, or a fold lacks a class.

    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    _refuse_few(len(np.unique(groups)), count, units)
    refuse_few_rows(label, count, task)
    kind = GroupKFold if task.problem == "regression" else StratifiedGroupKFold
    folds = _folds(kind(count, shuffle=True, random_state=seed).split(label, label, groups))
    _refuse_missing_class(folds, label, task)
    return folds


def temporal_folds(as_of: NDArray[np.int64], label: Labels, count: int, gap: timedelta, task: Task) -> list[Fold]:
    """Return `count` folds in time: each checks one slice and fits on the rows at least `gap` before it.

    The instants are split into `count` + 1 slices with about equal numbers of instants. The first slice is only fitted on.

    Parameters
    ----------
    as_of : each row's instant in microseconds since 1970.

    Raises
    ------
    PlanError
        If there are too few instants for `count` folds with this gap, or a fold lacks a class.

    """
    instants = np.unique(as_of)
    slices = [part for part in np.array_split(instants, count + 1) if part.size]
    folds = []
    for part in slices[1:]:
        fitted = as_of + round(gap.total_seconds() * 1_000_000) <= part[0]
        checked = (as_of >= part[0]) & (as_of <= part[-1])
        folds.append(Fold(np.flatnonzero(fitted), np.flatnonzero(checked)))
    if len(folds) < count or not all(fold.fit.size for fold in folds):
        raise PlanError(
            f"{len(instants)} as-of instants of the training rows are too few for {count} temporal folds that are "
            f"{in_units(gap)} apart; ask for fewer folds, or widen training_set.as_of"
        )
    _refuse_missing_class(folds, label, task)
    return folds


def _folds(splits: Iterator[tuple[Indices, Indices]] | Sequence[tuple[Indices, Indices]]) -> list[Fold]:
    return [Fold(fit, check) for fit, check in splits]


def refuse_few_rows(label: Labels, count: int, task: Task) -> None:
    """Refuse labels that are too few for `count` folds.

    Raises
    ------
    PlanError
        If there are fewer rows, or fewer of a class, than folds.

    """
    _refuse_few(len(label), count, "rows")
    if task.problem == "regression":
        return
    counts = np.bincount(label.astype(np.int64), minlength=len(task.names))
    rarest = int(counts.argmin())
    if counts[rarest] < count:
        raise PlanError(
            f"the class {task.names[rarest]!r} has {counts[rarest]} rows, fewer than the {count} folds; ask for fewer folds, "
            "or merge rare classes in label.value"
        )


def _refuse_few(found: int, count: int, what: str) -> None:
    if found < count:
        raise PlanError(f"{found} {what} are too few for {count} folds; ask for fewer folds")


def _refuse_missing_class(folds: Sequence[Fold], label: Labels, task: Task) -> None:
    if task.problem == "regression":
        return
    for number, fold in enumerate(folds, start=1):
        for side, rows in (("fit", fold.fit), ("check", fold.check)):
            counts = np.bincount(label[rows].astype(np.int64), minlength=len(task.names))
            if not counts.all():
                missing = task.names[int(counts.argmin())]
                raise PlanError(
                    f"the {side} rows of fold {number} of {len(folds)} lack the class {missing!r}; ask for fewer folds, or "
                    "widen training_set.as_of"
                )
