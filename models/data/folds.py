"""Folds of the training rows: what is fitted on one side is judged on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from numpy.typing import NDArray

    from models.data.rows import Labels, Task

    Places = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """The places of the rows to fit on, and of those to judge on."""

    fit: Places
    check: Places


def stratified_folds(label: Labels, count: int, task: Task, seed: int) -> list[Fold]:
    """Deal rows to `count` folds, each with its share of every class; of numbers, at random.

    Raises
    ------
    PlanError
        If there are fewer rows, or fewer of a class, than folds.

    """
    from sklearn.model_selection import KFold, StratifiedKFold

    refuse_few_rows(label, count, task)
    kind = KFold if task.problem == "regression" else StratifiedKFold
    return _folds(kind(count, shuffle=True, random_state=seed).split(label, label))


def grouped_folds(groups: NDArray[np.int64], label: Labels, count: int, task: Task, seed: int) -> list[Fold]:
    """Deal groups to `count` folds, so that all rows of one entity are on the same side.

    Raises
    ------
    PlanError
        If there are fewer entities than folds, or a fold lacks a class.

    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    _refuse_few(len(np.unique(groups)), count, "entities")
    refuse_few_rows(label, count, task)
    kind = GroupKFold if task.problem == "regression" else StratifiedGroupKFold
    folds = _folds(kind(count, shuffle=True, random_state=seed).split(label, label, groups))
    _refuse_missing_class(folds, label, task)
    return folds


def temporal_folds(as_of: NDArray[np.int64], label: Labels, count: int, gap: timedelta, task: Task) -> list[Fold]:
    """Judge on each of the last `count` slices of time, after fitting on the rows that end `gap` before it.

    The instants are cut into `count` + 1 slices of about as many instants each; the first is for fitting alone.

    Parameters
    ----------
    as_of : microseconds since 1970 of each row.

    Raises
    ------
    PlanError
        If there are too few instants for that many folds with such a gap, or a fold lacks a class.

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
            f"{len(instants)} as-of instants of the training rows are too few for {count} temporal folds that are {gap.days} "
            "days apart; ask for fewer folds, or widen training_set.as_of"
        )
    _refuse_missing_class(folds, label, task)
    return folds


def _folds(splits: Iterator[tuple[Places, Places]] | Sequence[tuple[Places, Places]]) -> list[Fold]:
    return [Fold(fit, check) for fit, check in splits]


def refuse_few_rows(label: Labels, count: int, task: Task) -> None:
    """Refuse rows that do not go round `count` folds.

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
            "or let label.value put rare classes together"
        )


def _refuse_few(found: int, count: int, what: str) -> None:
    if found < count:
        raise PlanError(f"{found} {what} are too few for {count} folds; ask for fewer folds")


def _refuse_missing_class(folds: Sequence[Fold], label: Labels, task: Task) -> None:
    if task.problem == "regression":
        return
    for number, fold in enumerate(folds, start=1):
        for side, places in (("fitted", fold.fit), ("judged", fold.check)):
            counts = np.bincount(label[places].astype(np.int64), minlength=len(task.names))
            if not counts.all():
                missing = task.names[int(counts.argmin())]
                raise PlanError(
                    f"no {side} row of fold {number} of {len(folds)} is of the class {missing!r}; ask for fewer folds, or "
                    "widen training_set.as_of"
                )
