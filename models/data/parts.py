"""Split labelled rows into the parts for training, validation and testing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from core.errors import PlanError
from core.plan.section import column_of
from core.plan.training_set import GroupedSplit, RandomSplit, TemporalSplit
from models.data.folds import grouped_folds, random_folds, stratified_folds
from models.data.rows import entity_codes, labels_of, task_of
from models.data.split import GAP, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from core.plan.training_set import Split


def part_of(split: TemporalSplit, as_of: datetime) -> str:
    """Return the part of the split of a row as of `as_of`; it is GAP if the label's window reaches into the next part."""
    if as_of >= split.test_from:
        return TEST
    if as_of >= split.validation_from:
        return VALIDATION if as_of + split.gap <= split.test_from else GAP
    return TRAIN if as_of + split.gap <= split.validation_from else GAP


def parts_of(split: Split, rows: pa.Table, key: str, problem: Problem) -> pa.Array:
    """Return the part of the split of each labelled row.

    Raises
    ------
    PlanError
        If there are too few rows, entities or rows of a class for the folds of the split.

    """
    if isinstance(split, TemporalSplit):
        as_of = rows.column("as_of")
        parts = {instant: part_of(split, instant) for instant in as_of.unique().to_pylist()}
        return pa.array([parts[instant] for instant in as_of.to_pylist()], pa.string())
    task = task_of(problem, rows)
    label = labels_of(rows.column("label"), task)
    try:
        if isinstance(split, GroupedSplit):
            units = f"groups of {split.by}" if split.by else "entities"
            folds = grouped_folds(_group_codes(split, rows, key), label, split.folds, task, split.seed, units)
        elif isinstance(split, RandomSplit):
            folds = random_folds(len(label), split.folds, split.seed)
        else:
            folds = stratified_folds(label, split.folds, task, split.seed)
    except PlanError as error:
        raise PlanError(f"training_set.split: {error}") from None
    found = np.full(len(label), TRAIN, dtype=object)
    found[folds[0].check], found[folds[1].check] = TEST, VALIDATION
    return pa.array(found, pa.string())


def _group_codes(split: GroupedSplit, rows: pa.Table, key: str) -> NDArray[np.int64]:
    """Return the number of each row's group: of its entity, or of the feature that the split names."""
    if split.by is None:
        return entity_codes(rows.column(key))
    groups = rows.column(column_of(split.by))
    if groups.null_count:
        raise PlanError(
            f"{split.by} is null for {groups.null_count:,} of {len(rows):,} rows, which then belong to no group; give its SQL "
            "a value for them"
        )
    return entity_codes(groups)
