"""Write snapshots of every feature view at its cadence, for every entity that exists then, in buckets of entities."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import PlanError
from core.plan.times import EACH_ROW
from feature_repo.files.datasets import BUCKETS, MEMBERS, bucket_file, bucket_of, open_rows, renamed, write_table
from feature_repo.files.duck import identifier, instant, open_duckdb
from feature_repo.join.time_line import microseconds
from feature_repo.views.existence import existing_entities, instants, open_row_instants, within_days
from feature_repo.views.facts import facts_of
from feature_repo.views.linked_rows import first_known_rows, linked_by
from feature_repo.views.rows import compute_snapshots, compute_view
from feature_repo.views.sources import linked_rows_table, needed_columns, open_linked_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb

    from core.plan.plan import Entity, Plan, View
    from core.plan.times import Period
    from feature_repo.views.existence import PairsByInstant
    from feature_repo.views.linked_rows import Linked

#: A table of more columns has one row group for several instants.
_MAX_COLUMNS_PER_INSTANT_GROUP = 256
#: As many matches of rows with pairs take as long as a query for one instant.
_MATCHES_PER_INSTANT = 50_000
_MOST_PAIRS_OF_A_JOIN = 500_000
#: Instants of fewer rows share a row group.
_MIN_ROWS_PER_INSTANT_GROUP = 64


def _load(connection: duckdb.DuckDBPyConnection, source: str, view: View, key: str, files: Path, period: Period) -> str:
    """Read the rows and columns of a source that `view` needs for `period` into a temporary table; return its name."""
    relation = f"rows_of_{source}"
    needed = needed_columns(connection, renamed(files), source, view, {key})
    connection.execute(
        f"""CREATE TEMP TABLE {relation} AS SELECT {", ".join(map(identifier, needed))} FROM {renamed(files)}
            WHERE {_reach_condition(view, source, period)}"""
    )
    return relation


def _reach_condition(view: View, source: str, period: Period) -> str:
    """Compose the condition on the rows of a source that some window of `view` reaches from the instants of `period`."""
    within = f"event_time <= {instant(period.end)}"
    spans = [span for span in facts_of(view) if span.source == source]
    reaches = [span.reach for span in spans if span.reach is not None]
    if len(reaches) == len(spans):
        within += f" AND event_time > {instant(period.start - max(reaches, default=timedelta()))}"
    return within


def _writer(out: Path, schema: pa.Schema, key: str) -> pq.ParquetWriter:
    """Open a Parquet writer with an encoding for each column.

    Texts have dictionaries: only they repeat enough to pay for one. Integers and times are stored as deltas, which are
    smaller than compressed values. Only the key and the times have statistics, since no reader filters by a feature.
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    integers = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)]
    return pq.ParquetWriter(
        out,
        schema,
        compression={name: "none" if name in integers else "lz4" for name in schema.names},
        use_dictionary=texts,
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        write_statistics=[key, "event_timestamp", "created_timestamp"],
        data_page_version="2.0",
    )


def _row_groups(table: pa.Table) -> list[pa.Table]:
    """Split snapshots by instant, since readers select instants; a wide view is not split, to save row-group headers.

    Instants with few rows, such as those of hours, are not split either.
    """
    if table.num_columns > _MAX_COLUMNS_PER_INSTANT_GROUP:
        return [table]
    times = microseconds(table.column("event_timestamp"), "event_timestamp")
    bounds = [0, *(np.flatnonzero(np.diff(times)) + 1).tolist(), len(table)]
    if len(table) < _MIN_ROWS_PER_INSTANT_GROUP * (len(bounds) - 1):
        return [table]
    return [table.slice(begin, end - begin) for begin, end in pairwise(bounds)]


def build_bucket(
    view: View, entity: Entity, period: Period, accepted: Path, bucket: int, out: Path, lives: Path | None = None
) -> int:
    """Write the snapshots of `view` for the entities of one bucket to `out`; return the number of rows.

    The rows that define when entities exist are read from `lives`, by default from `accepted`. One thread computes a bucket,
    so that sums are added up in the same order on every machine.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_duckdb(threads=1) as connection:
        rows = {
            source: _load(connection, source, view, entity.key, bucket_file(accepted, source, bucket), period)
            for source in view.sources
        }
        existence_file = partial(bucket_file, lives or accepted, bucket=bucket)
        if view.every == EACH_ROW:
            file = bucket_file(accepted, view.source, bucket)
            tables = _at_rows(connection, view, entity, existence_file, file, rows, period)
        else:
            pairs = existing_entities(connection, entity, existence_file, instants(period, view.every))
            joins = within_days(view.every) and _few_matches(connection, rows, pairs)
            tables = (_joined if joins else compute_snapshots)(connection, view, rows, pairs)
        written = 0
        with ExitStack() as stack:
            writer = None
            for table in tables:
                writer = writer or stack.enter_context(_writer(out, table.schema, entity.key))
                for row_group in _row_groups(table):
                    writer.write_table(row_group)
                written += len(table)
    return written


def _few_matches(connection: duckdb.DuckDBPyConnection, rows: Mapping[str, str], pairs: PairsByInstant) -> bool:
    """Return whether it is less work to join rows to pairs by their entity than to scan all rows for each instant."""
    counted = (connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0] for relation in rows.values())
    found = sum(map(int, counted))
    count = sum(len(index) for _, index in pairs.instants)
    return found * count <= _MATCHES_PER_INSTANT * len(pairs.instants) * max(len(pairs.keys), 1)


def _joined(
    connection: duckdb.DuckDBPyConnection, view: View, rows: Mapping[str, str], pairs: PairsByInstant
) -> Iterator[pa.Table]:
    """Yield the tables of `compute_snapshots`, computed by a join."""
    for part in pairs.slices(_MOST_PAIRS_OF_A_JOIN):
        connection.register("asked", part.table())
        yield compute_view(connection, view, pairs.key, rows, "asked")


def _at_rows(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    entity: Entity,
    existence_file: Callable[[str], Path],
    file: Path,
    rows: Mapping[str, str],
    period: Period,
) -> Iterator[pa.Table]:
    """Yield the snapshots of `view` at the instants of the rows in `file`."""
    instant_rows = open_rows(connection, "instant_rows", file)
    grid = open_row_instants(connection, "grid", entity, existence_file, instant_rows, period)
    yield compute_view(connection, view, entity.key, rows, grid)


def spread(view: View, linked: Linked, period: Period, accepted: Path, out: Path) -> None:
    """Write the rows of a linked entity's `view` to the folder `out`, by bucket of that entity; and its first known row.

    Accepted rows lie in the buckets of their own entity, which differ from those of the linked entity.
    """
    out.mkdir(parents=True)
    parts = [partial(bucket_file, accepted, bucket=bucket) for bucket in range(BUCKETS)]
    with open_duckdb(spill=out, threads=1) as connection:
        for source in view.sources:
            # The entity exists from the first row of the view's own source on, however short the windows are.
            within = (
                f"event_time <= {instant(period.end)}"
                if source == view.source
                else _reach_condition(view, source, period)
            )
            rows = open_linked_rows(connection, source, view, linked, parts, within)
            _write_buckets(connection, rows, linked.link.key, out, source)
            if source == view.source:
                _write_buckets(connection, first_known_rows(linked.link, rows), linked.link.key, out, MEMBERS)
            connection.execute(f"DROP TABLE {linked_rows_table(source)}")


def _write_buckets(connection: duckdb.DuckDBPyConnection, relation: str, key: str, out: Path, name: str) -> None:
    """Write rows to the bucket files of the table `name`, with the column names of accepted rows and sorted by time."""
    column = identifier(key)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE homes AS SELECT {column}, {bucket_of(key)} AS _bucket "
        f"FROM (SELECT DISTINCT {column} FROM {relation})"
    )
    for bucket in range(BUCKETS):
        write_table(
            connection,
            f"""SELECT event_time AS event_timestamp, created_time AS created_timestamp,
                    rows.* EXCLUDE (event_time, created_time)
                FROM {relation} AS rows JOIN homes USING ({column}) WHERE homes._bucket = {bucket} ORDER BY ALL""",
            bucket_file(out, name, bucket),
        )


def build_views(plan: Plan, accepted: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Write the snapshots of all views to `folder`, one bucket per core at a time; yield each view's name and row count.

    Raises
    ------
    PlanError
        If a feature's SQL fails; the message names view and feature. No further bucket is started.

    """
    views, period = plan.build_features.views, plan.build_features.snapshots
    with TemporaryDirectory(dir=folder) as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        links = {name: linked for name, view in views.items() if (linked := linked_by(plan, view))}
        spreads = {
            name: pool.submit(spread, views[name], linked, period, accepted, Path(scratch) / name)
            for name, linked in links.items()
        }

        def build(name: str, bucket: int) -> int:
            view, entity, out = views[name], plan.entity_of(views[name]), bucket_file(folder, name, bucket)
            if name not in links:
                return build_bucket(view, entity, period, accepted, bucket, out)
            # The pool starts all spreads before any bucket, so this waits for running work only.
            spreads[name].result()
            rows = Path(scratch) / name
            return build_bucket(view, entity, period, rows, bucket, out, lives=accepted if entity.source else rows)

        parts = {name: [pool.submit(build, name, bucket) for bucket in range(BUCKETS)] for name in views}
        for name, counts in parts.items():
            try:
                yield name, sum(count.result() for count in counts)
            except PlanError as error:
                pool.shutdown(cancel_futures=True)
                raise PlanError(f"build_features.views.{name}: {error}") from None
