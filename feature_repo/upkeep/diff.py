"""Compare offline with online: each value of a view's online table with its latest snapshots, and the cause of differences."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from core.clock import TOLERATED_AHEAD
from core.files import private_folder
from core.json_text import plain
from core.plan.times import WITHOUT_TIME
from core.postgres.database import copy_query_to_csv
from core.postgres.session import session_options
from core.terminal import terminal_table
from feature_repo.files.duck import SQL_TYPES, files_literal, identifier, instant, literal, open_duckdb
from feature_repo.online.table import CREATED_TIME, EVENT_TIME, listed
from feature_repo.upkeep.causes import Cause, cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import duckdb
    from rich.table import Table

    from feature_repo.online.packed_columns import StoredColumn
    from feature_repo.online.table import OnlineTable
    from feature_repo.upkeep.tables_in_use import Unfilled

#: The most features of one expression: DuckDB's planning time grows faster than their number.
_MAX_FEATURES = 128


#: The causes of a row's difference, in the order of the table's columns.
CAUSES = (Cause.FUTURE, Cause.PUSHED, Cause.AHEAD, Cause.LATE, Cause.LOST, Cause.ERASED, Cause.VALUE)


@dataclass(frozen=True)
class ViewDiff:
    """The comparison of one view.

    Attributes
    ----------
    entities : the number of entities with a snapshot or an online row.
    equal : the number of entities whose online row equals their latest snapshot in every value.
    causes : the number of other entities, by cause.
    features : the number of differing values in rows of the same times, by feature, without zeros.

    """

    view: str
    watermark: datetime | None
    entities: int
    equal: int
    causes: dict[Cause, int]
    features: dict[str, int]

    @property
    def defects(self) -> int:
        """The number of entities whose row is wrong."""
        return sum(count for cause, count in self.causes.items() if cause.is_defect)


@dataclass(frozen=True)
class FeaturesDiff:
    """The comparison of all views as of an instant, and the tables that releases read and no run fills any more."""

    as_of: datetime
    views: tuple[ViewDiff, ...]
    unfilled: tuple[Unfilled, ...] = ()

    @property
    def defects(self) -> int:
        """The number of wrong rows and of tables that no run fills."""
        return sum(view.defects for view in self.views) + len(self.unfilled)

    def to_dict(self) -> dict[str, object]:
        """Return the comparison for JSON."""
        return {
            "as_of": plain(self.as_of),
            "views": plain(self.views),
            "unfilled": [table.to_dict() for table in self.unfilled],
            "defects": self.defects,
        }

    def table(self) -> Table:
        """Return the comparison as a terminal table."""
        columns = ("entities", "equal", *(cause.value for cause in CAUSES))
        table = terminal_table("view", *columns, numbers=columns, title="Offline against online")
        for view in self.views:
            counts = (f"{view.causes.get(cause, 0):,}" for cause in CAUSES)
            table.add_row(view.view, f"{view.entities:,}", f"{view.equal:,}", *counts)
        differing = [f"{view.view}.{name}: {count:,}" for view in self.views for name, count in view.features.items()]
        lines = [f"differing values: {', '.join(differing)}"] if differing else []
        table.caption = "\n".join([*lines, *map(str, self.unfilled)])
        return table


def diff_view(
    url: str, view: str, table: OnlineTable, snapshots: str, watermark: datetime | None, as_of: datetime, now: datetime
) -> ViewDiff:
    """Return the comparison of the online rows of `view` with the latest snapshots that were knowable at `as_of`.

    Parameters
    ----------
    snapshots : glob of the snapshots' files.
    watermark : the instant of the last run; None if there was none.
    now : the present instant.

    Raises
    ------
    DatabaseError, SourceError
        If the table cannot be read.

    """
    with private_folder(Path(tempfile.gettempdir()) / "panthera-diff") as folder, open_duckdb() as connection:
        _open_online(connection, url, table, folder / "online.csv")
        _open_latest(connection, table, snapshots, as_of)
        _compare(connection, table, watermark, now)
        counted = _counted(connection)
        return ViewDiff(
            view=view,
            watermark=None if watermark == WITHOUT_TIME else watermark,
            entities=counted.total(),
            equal=counted[None],
            causes={cause: counted[cause] for cause in sorted(filter(None, counted))},
            features=_differing(connection, [name for name, _ in table.features]),
        )


def _open_online(connection: duckdb.DuckDBPyConnection, url: str, table: OnlineTable, file: Path) -> None:
    """Load the online table into DuckDB as CSV; PostgreSQL's text form of a number reads back as the same number."""
    times = [sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME)]
    features = [_as_text(column) for column in table.stored]
    query = sql.SQL("SELECT {} FROM {}").format(listed([*table.key_columns, *times, *features]), table.identifier)
    with file.open("wb") as out:
        copy_query_to_csv(url, query.as_string(), out, session_options)
    dtype_of = dict(zip(table.columns, table.dtypes, strict=True))
    columns = [*((name, dtype_of[name]) for name in (*table.key_names, EVENT_TIME, CREATED_TIME))]
    columns += [(column.name, "text" if column.is_array else column.dtype) for column in table.stored]
    types = ", ".join(f"{literal(name)}: {literal(SQL_TYPES[dtype])}" for name, dtype in columns)
    lists = [
        f"from_json({identifier(column.name)}, '[\"VARCHAR\"]') AS {identifier(column.name)}"
        for column in table.stored
        if column.is_array
    ]
    replaced = f"* REPLACE ({', '.join(lists)})" if lists else "*"
    # A table, unlike a view, parses the JSON only once.
    connection.execute(
        f"CREATE TEMP TABLE stored AS SELECT {replaced} FROM read_csv({files_literal(file)}, columns = {{{types}}}, "
        "header = true, nullstr = '', "
        "allow_quoted_nulls = false, delim = ',', quote = '\"', escape = '\"', auto_detect = false)"
    )
    chosen = [identifier(name) for name in (*table.key_names, EVENT_TIME, CREATED_TIME)]
    chosen += [_feature(column, index, dtype_of) for column in table.stored for index, _ in enumerate(column.features)]
    connection.execute(f"CREATE TEMP TABLE online AS SELECT {', '.join(chosen)} FROM stored")


def _as_text(column: StoredColumn) -> sql.Composed:
    """Compose the export of a stored column to CSV: an array as JSON."""
    expression = "array_to_json({0}) AS {0}" if column.is_array else "{0}"
    return sql.SQL(expression).format(sql.Identifier(column.name))


def _feature(column: StoredColumn, index: int, dtype_of: Mapping[str, str]) -> str:
    """Compose the expression of the feature at `index` in a stored column."""
    name = identifier(column.features[index])
    if not column.is_array:
        return f"{identifier(column.name)} AS {name}"
    return f"CAST({identifier(column.name)}[{index + 1}] AS {SQL_TYPES[dtype_of[column.features[index]]]}) AS {name}"


def _open_latest(connection: duckdb.DuckDBPyConnection, table: OnlineTable, snapshots: str, as_of: datetime) -> None:
    keys, columns = (", ".join(map(identifier, names)) for names in (table.key_names, table.columns))
    connection.execute(
        f"CREATE TEMP TABLE offline AS SELECT {columns} FROM read_parquet({literal(snapshots)}) "
        "WHERE event_timestamp <= $as_of AND created_timestamp <= $as_of "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY event_timestamp DESC, created_timestamp DESC) = 1",
        {"as_of": as_of},
    )


def _compare(
    connection: duckdb.DuckDBPyConnection, table: OnlineTable, watermark: datetime | None, now: datetime
) -> None:
    """Create the table `compared`: for every entity whether its rows are equal, the signs of causes, and a flag a feature."""
    on = " AND ".join(f"offline.{identifier(key)} = online.{identifier(key)}" for key in table.key_names)
    names = [name for name, _ in table.features]
    differs = {name: f"offline.{identifier(name)} IS DISTINCT FROM online.{identifier(name)}" for name in names}
    same_event = (
        "offline.event_timestamp = online.event_timestamp AND offline.created_timestamp = online.created_timestamp"
    )
    equal = f"{same_event} AND NOT ({_any(list(differs.values()))})"
    signs = {"equal": equal, **_signs(same_event, watermark, now)}
    facts = ", ".join(f"coalesce({condition}, false) AS {identifier(name)}" for name, condition in signs.items())
    flags = "".join(f", {same_event} AND {sql} AS {identifier(f'differs {name}')}" for name, sql in differs.items())
    connection.execute(f"CREATE TEMP TABLE compared AS SELECT {facts}{flags} FROM offline FULL JOIN online ON {on}")


def _signs(same_event: str, watermark: datetime | None, now: datetime) -> dict[str, str]:
    """Compose the condition of each cause but `value`, which needs none."""
    last_run = instant(watermark) if watermark else "'-infinity'::TIMESTAMPTZ"
    latest = "greatest(online.event_timestamp, online.created_timestamp)"
    return {
        Cause.FUTURE: f"{latest} > {instant(now + TOLERATED_AHEAD)}",
        Cause.PUSHED: f"""CASE WHEN offline.event_timestamp IS NULL THEN {latest} > {last_run}
            ELSE online.event_timestamp IS NOT NULL AND (online.event_timestamp, online.created_timestamp)
                > (offline.event_timestamp, offline.created_timestamp) END""",
        Cause.ERASED: "offline.event_timestamp IS NULL",
        Cause.AHEAD: f"({same_event}) IS NOT TRUE AND offline.event_timestamp > {last_run}",
        Cause.LATE: f"({same_event}) IS NOT TRUE AND offline.created_timestamp > {last_run}",
        Cause.LOST: f"({same_event}) IS NOT TRUE",
    }


def _counted(connection: duckdb.DuckDBPyConnection) -> Counter[Cause | None]:
    """Return the number of entities by cause; of equal ones by None."""
    looked_for = [cause for cause in CAUSES if cause is not Cause.VALUE]
    groups = connection.execute(
        f"SELECT count(*), equal, {', '.join(map(identifier, looked_for))} FROM compared GROUP BY ALL"
    ).fetchall()
    counted: Counter[Cause | None] = Counter()
    for count, equal, *holds in groups:
        counted[cause_of(set(compress(looked_for, holds)), equal=equal)] += count
    return counted


def _any(conditions: Sequence[str]) -> str:
    """Compose the disjunction of conditions in nested groups, since a long chain of OR is a deep expression."""
    groups = [conditions[begin : begin + _MAX_FEATURES] for begin in range(0, len(conditions), _MAX_FEATURES)]
    return " OR ".join(f"({' OR '.join(group)})" for group in groups) or "false"


def _differing(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, int]:
    differing: dict[str, int] = {}
    for begin in range(0, len(names), _MAX_FEATURES):
        group = names[begin : begin + _MAX_FEATURES]
        counts = ", ".join(f"count(*) FILTER (WHERE {identifier(f'differs {name}')})" for name in group)
        row = connection.execute(f"SELECT {counts} FROM compared").fetchone() or ()
        differing |= {name: count for name, count in zip(group, row, strict=True) if count}
    return differing
