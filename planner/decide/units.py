"""The units that are resampled and held out together: entities, groups of the split, or blocks of time if entities are few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.plan.training_set import TemporalSplit
from feature_repo.join.time_line import microseconds
from models.data.rows import entity_codes
from models.data.split import VALIDATION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.plan import Plan

#: The column with the number of each row's unit; no column of a plan has a blank.
UNIT = " unit"
#: Units below which nothing can be said.
FEW_UNITS = 10
#: Blocks of time in the validation part.
_BLOCKS = 20


def with_units(plan: Plan, table: pa.Table) -> pa.Table:
    """Return a training set with the column `UNIT`, which depends on keys and instants only.

    With a split in time and few entities in the validation part, such as the hours of three weather stations, a unit is an
    entity in a block of time, of which the validation part has twenty.
    """
    units = entity_codes(table.column(plan.cluster_column))
    validation = table.filter(pc.equal(table.column("split"), VALIDATION)).column(plan.cluster_column)
    split = plan.training_set.split
    if isinstance(split, TemporalSplit) and len(validation.unique()) < FEW_UNITS:
        begin, end = (round(time.timestamp() * 1_000_000) for time in (split.validation_from, split.test_from))
        length = max((end - begin) // _BLOCKS, 1)
        units = _combined(units, (microseconds(table.column("as_of"), "as_of") - begin) // length)
    return table.append_column(UNIT, pa.array(units, pa.int64()))


def _combined(one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each pair."""
    pairs = np.stack([one, two], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
