"""Stage `build_features`: snapshot every feature view at its cadence, for every entity that existed then."""

from __future__ import annotations

import argparse
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

from core.entry import run
from core.errors import PlanError
from core.files import require, whole_folder
from core.plan.file import read_plan
from core.settings import read_settings
from feature_repo.files.datasets import BUCKETS, MEMBERS, bucket_file, bucket_of, renamed, snapshots_ledger, write_table
from feature_repo.files.duck import identifier, instant, open_duckdb
from feature_repo.files.kept_snapshots import add_kept
from feature_repo.join.time_line import microseconds
from feature_repo.sources.ledger import changing_ledger
from feature_repo.views.definitions import declared_table
from feature_repo.views.existence import instants, who_exists
from feature_repo.views.facts import facts_of
from feature_repo.views.linked_rows import linked_by, lives_of
from feature_repo.views.rows import compute_snapshots
from feature_repo.views.sources import kept, needed_columns, place_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from core.plan.plan import Entity, Plan, View
    from core.plan.times import Period
    from feature_repo.views.linked_rows import Linked


#: A table of more columns has a row group for several instants.
_WIDE = 256


def _load(connection: duckdb.DuckDBPyConnection, source: str, view: View, key: str, files: Path, period: Period) -> str:
    """Read into memory what `view` needs of a source's rows in `period`: the columns that its SQL names, the times it asks."""
    relation = f"rows_of_{source}"
    needed = needed_columns(connection, renamed(files), source, view, {key})
    connection.execute(
        f"""CREATE TEMP TABLE {relation} AS SELECT {", ".join(map(identifier, needed))} FROM {renamed(files)}
            WHERE {_asked_for(view, source, period)}"""
    )
    return relation


def _asked_for(view: View, source: str, period: Period) -> str:
    """Write which rows of a source lie within what `view` looks back to from the instants of `period`."""
    within = f"event_time <= {instant(period.end)}"
    spans = [span for span in facts_of(view) if span.source == source]
    reaches = [span.reach for span in spans if span.reach is not None]
    if len(reaches) == len(spans):
        within += f" AND event_time > {instant(period.start - max(reaches, default=timedelta()))}"
    return within


def _writer(out: Path, schema: pa.Schema, key: str) -> pq.ParquetWriter:
    """Open a file of snapshots, which is written faster by saying what suits each column.

    Only texts repeat so much that a dictionary is worth its time. Whole numbers and times lie so close together that their
    differences are smaller than what a compression makes of them. Nobody looks for a feature's least and greatest value.
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    whole = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)]
    return pq.ParquetWriter(
        out,
        schema,
        compression={name: "none" if name in whole else "lz4" for name in schema.names},
        use_dictionary=texts,
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
        write_statistics=[key, "event_timestamp", "created_timestamp"],
        data_page_version="2.0",
    )


def _row_groups(table: pa.Table) -> list[pa.Table]:
    """Split snapshots by their instants, of which readers choose some; of a wide view that would be more header than rows."""
    if table.num_columns > _WIDE:
        return [table]
    times = microseconds(table.column("event_timestamp"), "event_timestamp")
    bounds = [0, *(np.flatnonzero(np.diff(times)) + 1).tolist(), len(table)]
    return [table.slice(begin, end - begin) for begin, end in pairwise(bounds)]


def build_bucket(
    view: View, entity: Entity, period: Period, accepted: Path, bucket: int, out: Path, lives: Path | None = None
) -> int:
    """Write the snapshots of `view` for the entities of one bucket to `out`; return the number of rows.

    The rows that tell when they exist lie in `lives`, by default where all others do, in `accepted`. One thread works on it,
    so that sums are added up in the same order on every machine.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_duckdb(threads=1) as connection:
        rows = {
            source: _load(connection, source, view, entity.key, bucket_file(accepted, source, bucket), period)
            for source in view.sources
        }
        here = partial(bucket_file, lives or accepted, bucket=bucket)
        asked = who_exists(connection, entity, here, instants(period, view.every))
        written = 0
        with ExitStack() as stack:
            writer = None
            for table in compute_snapshots(connection, view, rows, asked):
                writer = writer or stack.enter_context(_writer(out, table.schema, entity.key))
                for rows_at_once in _row_groups(table):
                    writer.write_table(rows_at_once)
                written += len(table)
    return written


def spread(view: View, linked: Linked, period: Period, accepted: Path, out: Path) -> None:
    """Write the rows of a linked entity's `view` to the folder `out` in buckets of that entity, and when it first had any.

    What belongs to a linked entity lies in other buckets than it: they are those of its own key.
    """
    out.mkdir(parents=True)
    parts = [partial(bucket_file, accepted, bucket=bucket) for bucket in range(BUCKETS)]
    with open_duckdb(spill=out, threads=1) as connection:
        for source in view.sources:
            # The first row of the view's own source tells since when the entity exists, however short the windows.
            within = (
                f"event_time <= {instant(period.end)}" if source == view.source else _asked_for(view, source, period)
            )
            rows = place_rows(connection, source, view, linked, parts, within)
            _write_buckets(connection, rows, linked.link.key, out, source)
            if source == view.source:
                _write_buckets(connection, lives_of(linked.link, rows), linked.link.key, out, MEMBERS)
            connection.execute(f"DROP TABLE {kept(source)}")


def _write_buckets(connection: duckdb.DuckDBPyConnection, relation: str, key: str, out: Path, name: str) -> None:
    """Write rows, under the names that accepted rows have, to the files of the table `name`, in the order of their times."""
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
    """Write the snapshots of all views to `folder`, as many buckets at a time as there are cores; count each view's rows.

    Raises
    ------
    PlanError
        If a feature's SQL fails, with the names of view and feature; nothing further is begun.

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
            # Begun before any bucket was, so it is done or under way.
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


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the accepted rows")
    parser.add_argument("--features", type=Path, required=True, help="folder to write the snapshots to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    for view in plan.build_features.views.values():
        for source in (*view.sources, *plan.entity_of(view).sources):
            require(arguments.accepted / source, "validate")
    kept = snapshots_ledger(arguments.features.parent)
    with changing_ledger(kept), whole_folder(arguments.features) as fresh:
        for name, rows in build_views(plan, arguments.accepted, fresh):
            print(f"build_features: {name}: {rows:,} rows")
            add_kept(kept / declared_table(plan, name).name, fresh / name)


if __name__ == "__main__":
    run(main)
