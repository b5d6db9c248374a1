"""Features that look ahead: their values change when the rows that nobody could know as of then are taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.files.datasets import BUCKETS, MEMBERS, bucket_file, renamed
from feature_repo.files.duck import identifier, instant, open_duckdb
from feature_repo.views.existence import open_grid
from feature_repo.views.rows import compute_view
from feature_repo.views.sources import kept, open_sources, open_view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from core.plan.plan import Entity, View
    from feature_repo.views.linked_rows import Linked

#: What is taken away, in words and as the condition that rows which stay fulfil.
_AHEAD = (
    ("rows that happened after as of, as those that make the label", "event_time"),
    ("rows that were created after as of", "created_time"),
)
_SAME = 1e-9


def look_ahead(
    accepted: Path, view: View, entity: Entity, linked: Linked | None, as_of: datetime
) -> Iterator[tuple[str, str]]:
    """Yield (feature, what it reads that was not known as of then) for the entities of one bucket, the largest.

    Of a linked entity it is all of them. A view is computed from all accepted rows, and again from those that had happened,
    or were known, at `as_of`. The same rows are chosen by every sound feature, so a difference shows one whose SQL goes
    around the choice of rows.

    Raises
    ------
    PlanError
        If a feature's SQL is refused by DuckDB.

    """
    times = f"(SELECT {instant(as_of)} AS as_of)"
    with open_duckdb(threads=1) as connection:
        if linked is None:
            files = _open_bucket(connection, accepted, view, entity, times)
            sources = {source: renamed(file) for source, file in files.items()}
        else:
            open_view(connection, view, entity, linked, accepted, times)
            sources = {source: kept(source) for source in view.sources}
        # Feature SQL that goes around the choice of rows knows them by these names only.
        rows = {source: f"rows_of_{source}" for source in view.sources}
        whole = compute_view(connection, view, entity.key, rows, "grid")
        for words, column in _AHEAD:
            for source, relation in sources.items():
                _only_known(connection, rows[source], relation, column, as_of)
            known = compute_view(connection, view, entity.key, rows, "grid")
            for feature in view.features:
                changed = _changed(whole.column(feature), known.column(feature))
                if changed:
                    yield feature, f"{changed:,} of {len(whole):,} values as of {as_of:%Y-%m-%d} come from {words}"


def _open_bucket(
    connection: duckdb.DuckDBPyConnection, accepted: Path, view: View, entity: Entity, times: str
) -> dict[str, Path]:
    """Open the rows of the largest bucket, and as `grid` who began to exist in it; return the file of each source."""
    home = entity.source or MEMBERS
    bucket = max(range(BUCKETS), key=lambda place: bucket_file(accepted, home, place).stat().st_size)
    open_grid(connection, "grid", entity.key, renamed(bucket_file(accepted, home, bucket)), times)
    files = {source: bucket_file(accepted, source, bucket) for source in view.sources}
    open_sources(connection, files)
    return files


def _only_known(connection: duckdb.DuckDBPyConnection, name: str, rows: str, column: str, as_of: datetime) -> None:
    """Make the view `name` hold those of `rows` that had happened, or were known, at `as_of`."""
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {rows} WHERE {identifier(column)} <= {instant(as_of)}"
    )


def _changed(whole: pa.ChunkedArray, known: pa.ChunkedArray) -> int:
    """Count the values that differ; sums of the same numbers in another order do not."""
    if not pa.types.is_floating(whole.type):
        same = pc.fill_null(pc.equal(whole, known), False)
        both = pc.and_(pc.is_null(whole), pc.is_null(known))
        return len(whole) - int(pc.sum(pc.or_(same, both)).as_py() or 0)
    one, other = (column.to_numpy(zero_copy_only=False) for column in (whole, known))
    return int(np.count_nonzero(~np.isclose(one, other, rtol=_SAME, atol=_SAME, equal_nan=True)))
