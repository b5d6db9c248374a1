"""Stage `materialize`: bring the latest snapshot of every entity online, as of the plan's instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.database import connect, ensure_database
from core.entry import run
from core.errors import StaleStateError
from core.files import require, write_receipt
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo import online_tables
from feature_repo.apply import applied_tables
from feature_repo.datasets import snapshot_glob
from feature_repo.duck import identifier, literal, open_duckdb

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from feature_repo.online_tables import OnlineTable


def latest_snapshots(files: str, table: OnlineTable, as_of: datetime) -> pa.Table:
    """Select, for every entity, its latest snapshot that was knowable at `as_of`; columns as in `table`."""
    key, columns = identifier(table.key), ", ".join(map(identifier, table.columns))
    query = f"""
        SELECT {columns} FROM read_parquet({literal(files)})
        WHERE event_timestamp <= $as_of AND created_timestamp <= $as_of
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY event_timestamp DESC, created_timestamp DESC) = 1
        ORDER BY {key}"""
    with open_duckdb() as connection:
        return connection.sql(query, params={"as_of": as_of}).to_arrow_table()


def materialize(url: str, view: str, table: OnlineTable, files: str, as_of: datetime) -> int:
    """Bring `view` online as of `as_of`, all of it in one transaction; return the number of rows."""
    rows = latest_snapshots(files, table, as_of)
    with connect(url) as connection:
        written = online_tables.merge(connection, table, online_tables.arrow_rows(table, rows))
        online_tables.record_run(connection, view, table, as_of, written)
    return written


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="folder of the snapshots")
    parser.add_argument("--applied", type=Path, required=True, help="receipt of `apply`")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    url = ensure_database(settings)
    applied = applied_tables(arguments.applied, url)
    views: dict[str, object] = {}
    for name in plan.build_features.views:
        table = online_tables.declared_table(plan, name)
        if applied.get(name) != table.name:
            raise StaleStateError(f"the view {name!r} was applied in another version; run `dvc repro apply`")
        require(arguments.features / name, "build_features")
        rows = materialize(url, name, table, snapshot_glob(arguments.features, name), plan.materialize.as_of)
        views[name] = {"online_table": table.name, "rows": rows}
        print(f"materialize: {name}: {rows:,} rows as of {plan.materialize.as_of:%Y-%m-%d}")
    write_receipt(arguments.receipt, {"as_of": plan.materialize.as_of.isoformat(), "views": views})


if __name__ == "__main__":
    run(main)
