"""Stage `materialize`: write the latest snapshot of every entity to the online tables, as of the plan's instant."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from core.entry import run
from core.errors import StaleStateError
from core.files import require, write_receipt
from core.plan.file import read_plan
from core.plan.times import WITHOUT_TIME, day_or_time
from core.postgres.database import connect, ensure_database
from core.settings import read_settings
from feature_repo.files.datasets import snapshot_glob
from feature_repo.files.duck import identifier, literal, open_duckdb
from feature_repo.online import tables
from feature_repo.online.history import record_run, watermark
from feature_repo.online.progress import Progress
from feature_repo.online.refresh import Count, Load, refresh
from feature_repo.stores.registry import changing_features
from feature_repo.upkeep.applied import applied_tables
from feature_repo.upkeep.tables_in_use import record_definitions, upkeep
from feature_repo.views.definitions import declared_table
from feature_repo.views.rows_at import rows_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from core.plan.plan import Plan
    from feature_repo.online.table import OnlineTable

    Rows: TypeAlias = pa.Table | pa.RecordBatchReader

#: How much further back than the last run an increment reads, since rows may arrive later than their created time.
OVERLAP = timedelta(days=1)
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class ReleaseLoad:
    """The new content of a table of `view` that a release reads and the plan does not name."""

    view: str
    load: Load


_KNOWABLE = "event_timestamp <= $as_of AND created_timestamp <= $as_of"
_NEW = "(event_timestamp > $since OR created_timestamp > $since)"


@contextmanager
def latest_snapshots(
    files: str, table: OnlineTable, as_of: datetime, since: datetime | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Yield a reader of every entity's latest snapshot that was knowable at `as_of`, with the columns of `table`.

    With `since`, only snapshots that happened or became known after it are read.
    """
    keys, columns = (", ".join(map(identifier, names)) for names in (table.key_names, table.columns))
    query = f"""
        SELECT {columns} FROM read_parquet({literal(files)})
        WHERE {_KNOWABLE if since is None else f"{_KNOWABLE} AND {_NEW}"}
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY event_timestamp DESC, created_timestamp DESC) = 1
        ORDER BY {keys}"""
    instants = {"as_of": as_of} if since is None else {"as_of": as_of, "since": since}
    with open_duckdb() as connection:
        yield connection.sql(query, params=instants).to_arrow_reader(_BATCH_ROWS)


def materialize(
    url: str,
    views: Mapping[str, OnlineTable],
    features: Path,
    as_of: datetime,
    progress: Progress | None = None,
    kept: Sequence[ReleaseLoad] = (),
) -> dict[str, int]:
    """Replace the content of the online tables by what was knowable at `as_of`; return the rows written, by view.

    All views change in one transaction. Online rows that were not knowable then, or are later than their entity's snapshot,
    stay.

    Parameters
    ----------
    views : the online tables, which must exist, by the name of their view.
    features : folder of the snapshots.
    kept : the new content of further tables that releases read, see `write_online`.

    """
    return write_online(url, views, _loads(views, features, as_of), as_of, progress, kept=kept)


def write_online(
    url: str,
    views: Mapping[str, OnlineTable],
    loads: Iterable[Load],
    as_of: datetime,
    progress: Progress | None = None,
    count: Count = Count.COPIED,
    kept: Sequence[ReleaseLoad] = (),
) -> dict[str, int]:
    """Replace the content of the online tables by `loads`, in one transaction; return the rows written, by view.

    The same transaction writes `kept`: the tables that releases read and the plan does not name. See `materialize`.
    """
    with connect(url) as connection:
        for each in kept:
            tables.create(connection, each.load.table)
        counts = refresh(connection, chain(loads, (each.load for each in kept)), as_of, progress, count)
        for view, table in chain(views.items(), ((each.view, each.load.table) for each in kept)):
            record_run(connection, view, table, as_of, counts[table.name])
    return {view: counts[table.name] for view, table in views.items()}


def increment(
    url: str, view: str, table: OnlineTable, files: str, as_of: datetime, progress: Progress | None = None
) -> int:
    """Merge into `table` the snapshots that became knowable since its last run; return the number of rows.

    They include snapshots of earlier instants that were created after the last run. Without an earlier run, or after one as
    of a later instant, everything knowable at `as_of` is merged; that never replaces a newer row.
    """
    with connect(url) as connection:
        mark = watermark(connection, table.name)
        since = mark - OVERLAP if mark is not None and mark <= as_of else None
        with latest_snapshots(files, table, as_of, since) as rows:
            table_progress = partial(progress, table.name) if progress else None
            written = tables.merge(connection, table, rows, table_progress)
        record_run(connection, view, table, as_of, written, "increment")
    return written


def _loads(views: Mapping[str, OnlineTable], features: Path, as_of: datetime) -> Iterator[Load]:
    for view, table in views.items():
        with latest_snapshots(snapshot_glob(features, view), table, as_of) as rows:
            yield Load(table, rows)


def release_loads(
    url: str, plan: Plan, accepted: Path, as_of: datetime, rows_of: Callable[[str, OnlineTable], Rows]
) -> list[ReleaseLoad]:
    """Return the content as of `as_of` of the tables that releases read and the plan does not name.

    Parameters
    ----------
    accepted : folder of the accepted rows, from which views are computed whose definition in the plan has changed.
    rows_of : returns the rows of one of the plan's views for a table with the same values.

    """
    with connect(url) as connection:
        record_definitions(connection, plan)
        kept = upkeep(connection, plan, None).kept
    return [
        ReleaseLoad(
            each.definition.name,
            Load(
                each.table,
                rows_of(each.definition.name, each.table)
                if each.same_values
                else rows_at(each.definition, require(accepted, "validate"), as_of),
            ),
        )
        for each in kept
    ]


def _current_tables(plan: Plan, applied: Mapping[str, str], features: Path) -> dict[str, OnlineTable]:
    tables = {name: declared_table(plan, name) for name in plan.build_features.views}
    for name, table in tables.items():
        if applied.get(name) != table.name:
            raise StaleStateError(f"the view {name!r} has changed since it was applied; run `dvc repro apply`")
        require(features / name, "build_features")
    return tables


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="folder of the snapshots")
    parser.add_argument("--accepted", type=Path, default=Path("data/accepted"), help="folder of the accepted rows")
    parser.add_argument("--applied", type=Path, required=True, help="receipt of `apply`")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    url, as_of = ensure_database(settings), plan.materialize.as_of
    tables = _current_tables(plan, applied_tables(arguments.applied, url), arguments.features)
    progress = Progress()
    with changing_features(url), ExitStack() as stack:

        def rows_of(name: str, table: OnlineTable) -> Rows:
            rows: Rows = stack.enter_context(latest_snapshots(snapshot_glob(arguments.features, name), table, as_of))
            return rows

        kept = release_loads(url, plan, arguments.accepted, as_of, rows_of)
        written = materialize(url, tables, arguments.features, as_of, progress, kept)
    views = {name: {"online_table": table.name, "rows": written[name]} for name, table in tables.items()}
    for name, rows in written.items():
        when = f" as of {day_or_time(as_of)}" if as_of != WITHOUT_TIME else ""
        print(f"materialize: {name}: {rows:,} rows{when} ({progress.rate(tables[name].name)})")
    for each in kept:
        print(f"materialize: {each.view}: online.{each.load.table.name} too, which a release reads")
    write_receipt(arguments.receipt, {"as_of": as_of.isoformat(), "views": views})


if __name__ == "__main__":
    run(main)
