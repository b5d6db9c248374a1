"""Stage `build_features`: snapshot every feature view at its cadence, for every entity that existed then."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.errors import PlanError
from core.files import require, whole_folder
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo.datasets import BUCKETS, bucket_file, write_table
from feature_repo.duck import identifier, literal, open_duckdb
from feature_repo.view_rows import compute_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from core.plan import Entity, Period, View


def open_rows(connection: duckdb.DuckDBPyConnection, relation: str, files: str | Path) -> str:
    """Register accepted rows as `relation`, under the names that feature SQL uses; return it."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP VIEW {relation} AS
            SELECT * RENAME (event_timestamp AS event_time, created_timestamp AS created_time)
            FROM read_parquet({literal(files)})"""
    )
    return relation


def open_sources(connection: duckdb.DuckDBPyConnection, files: Mapping[str, str | Path]) -> dict[str, str]:
    """Register the accepted rows of each source from its `files`; return the names of the relations."""
    return {source: open_rows(connection, f"rows_of_{source}", path) for source, path in files.items()}


def instants(period: Period, every: str) -> str:
    """Write the SQL of the instants start, start + every, ... up to and with end."""
    start, end = (f"TIMESTAMPTZ {literal(time.isoformat())}" for time in (period.start, period.end))
    return f"(SELECT unnest(generate_series({start}, {end}, INTERVAL {literal(every)})) AS as_of)"


def open_grid(connection: duckdb.DuckDBPyConnection, relation: str, key: str, rows: str, times: str) -> str:
    """Make the table `relation` of all pairs (key, as_of) such that the entity had a knowable row in `rows` by then."""
    column = identifier(key)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE {relation} AS
            SELECT {column}, as_of FROM {times}
            JOIN (SELECT {column}, min(greatest(event_time, created_time)) AS since FROM {rows} GROUP BY 1) ON since <= as_of
            ORDER BY 1, 2"""
    )
    return relation


def build_bucket(view: View, entity: Entity, period: Period, accepted: Path, bucket: int, out: Path) -> int:
    """Write the snapshots of `view` for the entities of one bucket to `out`; return the number of rows."""
    with open_duckdb() as connection:
        rows = open_sources(connection, {name: bucket_file(accepted, name, bucket) for name in view.sources})
        home = open_rows(connection, "home_rows", bucket_file(accepted, entity.source, bucket))
        grid = open_grid(connection, "grid", entity.key, home, instants(period, view.every))
        connection.register("snapshots", compute_view(connection, view, entity.key, rows, grid))
        return write_table(connection, "FROM snapshots", out)


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the accepted rows")
    parser.add_argument("--features", type=Path, required=True, help="folder to write the snapshots to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    for view in plan.build_features.views.values():
        for source in view.sources:
            require(arguments.accepted / source, "validate")
    with whole_folder(arguments.features) as fresh:
        for name, view in plan.build_features.views.items():
            entity = plan.entities[plan.ingest[view.source].entity]
            try:
                rows = sum(
                    build_bucket(
                        view,
                        entity,
                        plan.build_features.snapshots,
                        arguments.accepted,
                        bucket,
                        bucket_file(fresh, name, bucket),
                    )
                    for bucket in range(BUCKETS)
                )
            except PlanError as error:
                raise PlanError(f"build_features.views.{name}: {error}") from None
            print(f"build_features: {name}: {rows:,} rows")


if __name__ == "__main__":
    run(main)
