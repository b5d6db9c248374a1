"""Find features that look ahead: their values change when rows that were unknown as of the instant are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.plan.times import day_or_time
from feature_repo.files.datasets import BUCKETS, MEMBERS, bucket_file, renamed
from feature_repo.files.duck import identifier, instant, open_duckdb
from feature_repo.views.existence import open_grid
from feature_repo.views.rows import compute_view
from feature_repo.views.sources import linked_rows_table, open_sources, open_view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from core.plan.plan import Entity, View
    from feature_repo.views.linked_rows import Linked

#: The rows that are removed, as text and as the time column that lies after as_of.
_REMOVED_ROWS = (
    ("rows that happened after as of, as those that make the label", "event_time"),
    ("rows that were created after as of", "created_time"),
)
_TOLERANCE = 1e-9


def look_ahead(
    accepted: Path, view: View, entity: Entity, linked: Linked | None, as_of: datetime
) -> Iterator[tuple[str, str]]:
    """Yield (feature, description of the rows that it reads and should not) for each feature that looks ahead.

    The view is computed from all accepted rows, and again from those that had happened, or were known, at `as_of`. A sound
    feature has the same values both times. A difference shows SQL that bypasses the selection of rows. The comparison
    covers the entities of the largest bucket, or all entities of a linked view.

    Raises
    ------
    PlanError
        If DuckDB refuses a feature's SQL.

    """
    times = f"(SELECT {instant(as_of)} AS as_of)"
    with open_duckdb(threads=1) as connection:
        if linked is None:
            files = _open_bucket(connection, accepted, view, entity, times)
            sources = {source: renamed(file) for source, file in files.items()}
        else:
            open_view(connection, view, entity, linked, accepted, times)
            sources = {source: linked_rows_table(source) for source in view.sources}
        # Feature SQL that bypasses the selection of rows can only name these relations.
        rows = {source: f"rows_of_{source}" for source in view.sources}
        from_all = compute_view(connection, view, entity.key, rows, "grid")
        for removed, column in _REMOVED_ROWS:
            for source, relation in sources.items():
                _only_known(connection, rows[source], relation, column, as_of)
            from_known = compute_view(connection, view, entity.key, rows, "grid")
            for feature in view.features:
                changed = _changed(from_all.column(feature), from_known.column(feature))
                if changed:
                    yield (
                        feature,
                        f"{changed:,} of {len(from_all):,} values as of {day_or_time(as_of)} come from {removed}",
                    )


def _open_bucket(
    connection: duckdb.DuckDBPyConnection, accepted: Path, view: View, entity: Entity, times: str
) -> dict[str, Path]:
    """Open the rows of the largest bucket, and `grid` with its entities that began to exist; return each source's file."""
    home = entity.source or MEMBERS
    bucket = max(range(BUCKETS), key=lambda number: bucket_file(accepted, home, number).stat().st_size)
    open_grid(connection, "grid", entity.key, renamed(bucket_file(accepted, home, bucket)), times)
    files = {source: bucket_file(accepted, source, bucket) for source in view.sources}
    open_sources(connection, files)
    return files


def _only_known(connection: duckdb.DuckDBPyConnection, name: str, rows: str, column: str, as_of: datetime) -> None:
    """Create the view `name` of those of `rows` whose time `column` is at most `as_of`."""
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {rows} WHERE {identifier(column)} <= {instant(as_of)}"
    )


def _changed(from_all: pa.ChunkedArray, from_known: pa.ChunkedArray) -> int:
    """Return the number of values that differ by more than what reordering a floating-point sum can change."""
    if not pa.types.is_floating(from_all.type):
        equal = pc.fill_null(pc.equal(from_all, from_known), False)
        both_null = pc.and_(pc.is_null(from_all), pc.is_null(from_known))
        return len(from_all) - int(pc.sum(pc.or_(equal, both_null)).as_py() or 0)
    left, right = (column.to_numpy(zero_copy_only=False) for column in (from_all, from_known))
    return int(np.count_nonzero(~np.isclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)))
