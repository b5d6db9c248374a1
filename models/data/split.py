"""Read a training set: the parts of the split, the features of a service, and encoded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.contracts import ContractFeature
from core.errors import PlanError
from core.files import require
from models.data.rows import BINARY, Rows, Task, labels_of, weights_of
from models.scoring.encoding import encode_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.plan.plan import BuildFeatures


def contract_features(section: BuildFeatures, service: str, train: pa.Table) -> tuple[ContractFeature, ...]:
    """Return the features of `service` in order; string features have the levels that occur in the training rows."""
    found = []
    for view, name in section.service_features(service):
        feature = ContractFeature(view, name, section.views[view].features[name].dtype)
        if feature.dtype == "string":
            levels = sorted(level for level in train.column(feature.column).unique().to_pylist() if level is not None)
            feature = ContractFeature(view, name, feature.dtype, tuple(levels))
        found.append(feature)
    return tuple(found)


def part(table: pa.Table, name: str) -> pa.Table:
    """Return the rows of one part of the split."""
    return table.filter(pc.equal(table.column("split"), name))


def rows_of(
    table: pa.Table, features: Sequence[ContractFeature], task: Task = BINARY, weight: str | None = None
) -> Rows:
    """Return the rows of a training table, encoded; `weight` is the column with their weights, if they have any."""
    return Rows(encode_table(table, features), labels_of(table.column("label"), task), weights_of(table, weight))


def refuse_infinite(table: pa.Table, features: Sequence[ContractFeature]) -> None:
    """Refuse a table with an infinite number, which scaling and the online store cannot represent.

    Raises
    ------
    PlanError
        If there is one; with the name of its feature.

    """
    for feature in features:
        column = table.column(feature.column)
        if pa.types.is_floating(column.type):
            infinite = pc.sum(pc.is_inf(column)).as_py()
            if infinite:
                raise PlanError(
                    f"build_features: {feature.view}.{feature.name} is infinite in {infinite:,} of {len(table):,} training "
                    "rows; correct its SQL (divide by nullif(x, 0))"
                )


TRAIN, VALIDATION, TEST, GAP = "train", "validation", "test", "gap"


def read_training_set(path: Path) -> pa.Table:
    """Read the table that the stage `training_set` wrote."""
    # `pq.read_table` would import pandas, which takes longer than a small table.
    return pq.ParquetFile(require(path, "training_set")).read()
