"""Stage `build_features`: snapshot every feature view at its cadence, for every entity that existed then."""

from __future__ import annotations

import argparse
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core.entry import run
from core.errors import PlanError
from core.files import require, whole_folder
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo.datasets import BUCKETS, bucket_file
from feature_repo.duck import identifier, instant, literal, open_duckdb
from feature_repo.view_rows import compute_snapshots, facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb

    from core.plan import Entity, Period, Plan, View


def renamed(files: str | Path) -> str:
    """Write the relation of accepted rows under the names that feature SQL uses."""
    return f"""(SELECT * RENAME (event_timestamp AS event_time, created_timestamp AS created_time)
        FROM read_parquet({literal(files)}))"""


def open_rows(connection: duckdb.DuckDBPyConnection, relation: str, files: str | Path) -> str:
    """Register accepted rows as `relation`, under the names that feature SQL uses; return it."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS FROM {renamed(files)}")
    return relation


def open_sources(connection: duckdb.DuckDBPyConnection, files: Mapping[str, str | Path]) -> dict[str, str]:
    """Register the accepted rows of each source from its `files`; return the names of the relations."""
    return {source: open_rows(connection, f"rows_of_{source}", path) for source, path in files.items()}


def instants(period: Period, every: str) -> str:
    """Write the SQL of the instants start, start + every, ... up to and with end."""
    start, end = map(instant, (period.start, period.end))
    return f"(SELECT unnest(generate_series({start}, {end}, INTERVAL {literal(every)})) AS as_of)"


def open_grid(
    connection: duckdb.DuckDBPyConnection, relation: str, key: str, rows: str, times: str, ends: str | None = None
) -> str:
    """Make the view `relation` of all pairs (key, as_of) such that the entity existed then.

    That is, it had a knowable row in `rows` by then, and none in `ends`.
    """
    column = identifier(key)
    first = f"SELECT {column}, min(greatest(event_time, created_time)) AS"
    ended = (
        f"({first} until FROM {ends} GROUP BY 1)" if ends else f"(SELECT NULL AS {column}, NULL AS until WHERE false)"
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {relation}_lives AS
            SELECT {column}, since, coalesce(until, TIMESTAMPTZ 'infinity') AS until
            FROM ({first} since FROM {rows} GROUP BY 1) LEFT JOIN {ended} USING ({column})
            ORDER BY {column}"""
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {relation}_times AS SELECT as_of FROM {times}")
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW {relation} AS
            SELECT {column}, as_of FROM {relation}_times JOIN {relation}_lives ON since <= as_of AND until > as_of"""
    )
    return relation


def open_existence(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    entity: Entity,
    files: Callable[[str], str | Path],
    times: str,
) -> str:
    """Make the view `relation` of all pairs (key, as_of) in which `entity` exists; `files` names a source's files."""
    home = open_rows(connection, f"{relation}_home", files(entity.source))
    ends = open_rows(connection, f"{relation}_ends", files(entity.until)) if entity.until else None
    return open_grid(connection, relation, entity.key, home, times, ends)


def _load(connection: duckdb.DuckDBPyConnection, source: str, view: View, key: str, files: Path, period: Period) -> str:
    """Read into memory what `view` needs of a source's rows in `period`: the columns that its SQL names, the times it asks."""
    relation = f"rows_of_{source}"
    present = [row[0] for row in connection.execute(f"DESCRIBE FROM {renamed(files)}").fetchall()]
    sql = " ".join(feature.sql for feature in view.features.values() if (feature.source or view.source) == source)
    needed = [column for column in present if column in {key, "event_time", "created_time"} or is_named(column, sql)]
    within = f"event_time <= {instant(period.end)}"
    spans = [span for span in facts_of(view) if span.source == source]
    reaches = [span.reach for span in spans if span.reach is not None]
    if len(reaches) == len(spans):
        within += f" AND event_time > {instant(period.start - max(reaches))}"
    connection.execute(
        f"""CREATE TEMP TABLE {relation} AS SELECT {", ".join(map(identifier, needed))} FROM {renamed(files)}
            WHERE {within}"""
    )
    return relation


def is_named(column: str, sql: str) -> bool:
    """Say whether `sql` may speak of `column`; where it names columns by a pattern, it may speak of any."""
    star = re.search(r"\bcolumns\b|(?<!\bcount)[(,]\s*\*", sql, re.IGNORECASE)
    return star is not None or re.search(rf"\b{re.escape(column)}\b", sql, re.IGNORECASE) is not None


def _writer(out: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file of snapshots; only texts repeat so much that a dictionary is worth its time."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(out, schema, compression="lz4", use_dictionary=texts)


def build_bucket(view: View, entity: Entity, period: Period, accepted: Path, bucket: int, out: Path) -> int:
    """Write the snapshots of `view` for the entities of one bucket to `out`; return the number of rows.

    One thread works on it, so that sums are added up in the same order on every machine.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_duckdb(threads=1) as connection:
        rows = {
            source: _load(connection, source, view, entity.key, bucket_file(accepted, source, bucket), period)
            for source in view.sources
        }
        here = partial(bucket_file, accepted, bucket=bucket)
        grid = open_existence(connection, "grid", entity, here, instants(period, view.every))
        written = 0
        with ExitStack() as stack:
            writer = None
            for table in compute_snapshots(connection, view, entity.key, rows, grid):
                writer = writer or stack.enter_context(_writer(out, table.schema))
                writer.write_table(table)
                written += len(table)
    return written


def build_views(plan: Plan, accepted: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """Write the snapshots of all views to `folder`, as many buckets at a time as there are cores; count each view's rows.

    Raises
    ------
    PlanError
        If a feature's SQL fails, with the names of view and feature; nothing further is begun.

    """
    period = plan.build_features.snapshots
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = {
            name: [
                pool.submit(
                    build_bucket,
                    view,
                    plan.entities[plan.ingest[view.source].entity],
                    period,
                    accepted,
                    bucket,
                    bucket_file(folder, name, bucket),
                )
                for bucket in range(BUCKETS)
            ]
            for name, view in plan.build_features.views.items()
        }
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
        entity = plan.entities[plan.ingest[view.source].entity]
        for source in (*view.sources, *entity.sources):
            require(arguments.accepted / source, "validate")
    with whole_folder(arguments.features) as fresh:
        for name, rows in build_views(plan, arguments.accepted, fresh):
            print(f"build_features: {name}: {rows:,} rows")


if __name__ == "__main__":
    run(main)
