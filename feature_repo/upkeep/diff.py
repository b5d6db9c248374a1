"""Offline against online: whether the table of a view holds what its snapshots say, value by value, and why not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

from core.clock import TOLERATED_AHEAD
from core.files import private_folder
from core.postgres.database import copy_query_to_csv
from core.postgres.session import session_options
from core.terminal import terminal_table
from feature_repo.files.duck import SQL_TYPES, files_literal, identifier, instant, literal, open_duckdb
from feature_repo.online.tables import CREATED_TIME, EVENT_TIME, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import duckdb
    from rich.table import Table

    from feature_repo.online.packed_columns import StoredColumn
    from feature_repo.online.tables import OnlineTable
    from feature_repo.upkeep.tables_in_use import Unfilled

#: The features of one expression: the time in which DuckDB plans it grows faster than their number.
_AT_ONCE = 128


class Cause(StrEnum):
    """Why an entity's online row is not its latest snapshot; only `future`, `value` and `lost` are defects.

    `future`: the online row happened or was created ahead of the clock, so it keeps later rows away until then; a full
    materialization replaces it.
    `pushed`: the online row is of a later event, or was created later, than any snapshot. `ahead`: the snapshot became
    knowable after the last run; the next one brings it. `late`: so did it, but of an event before the last run. `lost`: the
    last run should have brought the snapshot, and did not, or somebody deleted the row. `erased`: the online row's entity
    has no snapshot. `value`: the row is of the same event, and a value differs.
    """

    FUTURE = "future"
    PUSHED = "pushed"
    AHEAD = "ahead"
    LATE = "late"
    LOST = "lost"
    ERASED = "erased"
    VALUE = "value"


DEFECTS = (Cause.FUTURE, Cause.VALUE, Cause.LOST)


@dataclass(frozen=True)
class ViewDiff:
    """One view.

    Attributes
    ----------
    entities : that have a snapshot or an online row.
    equal : of them, those whose online row is their latest snapshot in every value.
    causes : the others, by cause.
    features : in rows of the same event, how many values of each feature differ; those without any are left out.

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
        return sum(self.causes.get(cause, 0) for cause in DEFECTS)


@dataclass(frozen=True)
class FeaturesDiff:
    """All views, compared as of an instant, and the tables that releases read and nobody fills any more."""

    as_of: datetime
    views: tuple[ViewDiff, ...]
    unfilled: tuple[Unfilled, ...] = ()

    @property
    def defects(self) -> int:
        """The number of rows that are wrong, and of tables that nobody fills."""
        return sum(view.defects for view in self.views) + len(self.unfilled)

    def to_dict(self) -> dict[str, object]:
        """Give what JSON can hold."""
        return {
            "as_of": self.as_of.isoformat(),
            "views": [
                {**view.__dict__, "watermark": view.watermark.isoformat() if view.watermark else None}
                for view in self.views
            ],
            "unfilled": [table.to_dict() for table in self.unfilled],
            "defects": self.defects,
        }

    def table(self) -> Table:
        """Lay the result out for a terminal."""
        counted = ("entities", "equal", *(cause.value for cause in Cause))
        table = terminal_table("view", *counted, numbers=counted, title="Offline against online")
        for view in self.views:
            counts = (f"{view.causes.get(cause, 0):,}" for cause in Cause)
            table.add_row(view.view, f"{view.entities:,}", f"{view.equal:,}", *counts)
        differing = [f"{view.view}.{name}: {count:,}" for view in self.views for name, count in view.features.items()]
        said = [f"differing values: {', '.join(differing)}"] if differing else []
        table.caption = "\n".join([*said, *map(str, self.unfilled)])
        return table


def diff_view(
    url: str, view: str, table: OnlineTable, snapshots: str, watermark: datetime | None, as_of: datetime, now: datetime
) -> ViewDiff:
    """Compare the online rows of `view` with the latest snapshots that were knowable at `as_of`.

    Parameters
    ----------
    snapshots : glob of their files.
    watermark : of the last run; None if there was none.
    now : what the clock says.

    Raises
    ------
    DatabaseError, SourceError
        If the table cannot be read.

    """
    with private_folder(Path(tempfile.gettempdir()) / "panthera-diff") as folder, open_duckdb() as connection:
        _open_online(connection, url, table, folder / "online.csv")
        _open_latest(connection, table, snapshots, as_of)
        _compare(connection, table, watermark, now)
        counted = connection.execute("SELECT cause, count(*) FROM compared GROUP BY 1 ORDER BY 1").fetchall()
        return ViewDiff(
            view=view,
            watermark=watermark,
            entities=sum(count for _, count in counted),
            equal=sum(count for cause, count in counted if cause is None),
            causes={Cause(cause): count for cause, count in counted if cause is not None},
            features=_differing(connection, [name for name, _ in table.features]),
        )


def _open_online(connection: duckdb.DuckDBPyConnection, url: str, table: OnlineTable, file: Path) -> None:
    """Load the online table: as text, in which PostgreSQL writes every number so that it reads back as the same."""
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
    # A table, so that the JSON is read once and not for each feature.
    connection.execute(
        f"CREATE TEMP TABLE stored AS SELECT {replaced} FROM read_csv({files_literal(file)}, columns = {{{types}}}, "
        "header = true, nullstr = '', "
        "allow_quoted_nulls = false, delim = ',', quote = '\"', escape = '\"', auto_detect = false)"
    )
    chosen = [identifier(name) for name in (*table.key_names, EVENT_TIME, CREATED_TIME)]
    chosen += [_feature(column, at, dtype_of) for column in table.stored for at, _ in enumerate(column.features)]
    connection.execute(f"CREATE TEMP TABLE online AS SELECT {', '.join(chosen)} FROM stored")


def _as_text(column: StoredColumn) -> sql.Composed:
    """Write a column of features so that a file of text can hold it: an array as JSON."""
    written = "array_to_json({0}) AS {0}" if column.is_array else "{0}"
    return sql.SQL(written).format(sql.Identifier(column.name))


def _feature(column: StoredColumn, at: int, dtype_of: Mapping[str, str]) -> str:
    """Write the expression of the feature at index `at` of a stored column."""
    name = identifier(column.features[at])
    if not column.is_array:
        return f"{identifier(column.name)} AS {name}"
    return f"CAST({identifier(column.name)}[{at + 1}] AS {SQL_TYPES[dtype_of[column.features[at]]]}) AS {name}"


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
    """Make the table `compared`: for every entity a cause, or null if the rows are equal, and what differs by feature."""
    on = " AND ".join(f"offline.{identifier(key)} = online.{identifier(key)}" for key in table.key_names)
    names = [name for name, _ in table.features]
    differs = {name: f"offline.{identifier(name)} IS DISTINCT FROM online.{identifier(name)}" for name in names}
    same_event = (
        "offline.event_timestamp = online.event_timestamp AND offline.created_timestamp = online.created_timestamp"
    )
    mark = f"TIMESTAMPTZ {literal(watermark.isoformat())}" if watermark else "'-infinity'::TIMESTAMPTZ"
    flags = "".join(f", {same_event} AND {sql} AS {identifier(f'differs {name}')}" for name, sql in differs.items())
    connection.execute(
        f"""CREATE TEMP TABLE compared AS SELECT CASE
                WHEN greatest(online.event_timestamp, online.created_timestamp) > {instant(now + TOLERATED_AHEAD)}
                    THEN 'future'
                WHEN offline.event_timestamp IS NULL THEN
                    CASE WHEN greatest(online.event_timestamp, online.created_timestamp) > {mark}
                         THEN 'pushed' ELSE 'erased' END
                WHEN online.event_timestamp IS NOT NULL AND (online.event_timestamp, online.created_timestamp)
                     > (offline.event_timestamp, offline.created_timestamp) THEN 'pushed'
                WHEN {same_event} THEN CASE WHEN {_any(list(differs.values()))} THEN 'value' END
                WHEN offline.event_timestamp > {mark} THEN 'ahead'
                WHEN offline.created_timestamp > {mark} THEN 'late'
                ELSE 'lost' END AS cause{flags}
            FROM offline FULL JOIN online ON {on}"""
    )


def _any(conditions: Sequence[str]) -> str:
    """Write the disjunction of conditions in brackets of some of them, since a long one is a deep expression."""
    groups = [conditions[begin : begin + _AT_ONCE] for begin in range(0, len(conditions), _AT_ONCE)]
    return " OR ".join(f"({' OR '.join(group)})" for group in groups) or "false"


def _differing(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, int]:
    differing: dict[str, int] = {}
    for begin in range(0, len(names), _AT_ONCE):
        some = names[begin : begin + _AT_ONCE]
        counts = ", ".join(f"count(*) FILTER (WHERE {identifier(f'differs {name}')})" for name in some)
        row = connection.execute(f"SELECT {counts} FROM compared").fetchone() or ()
        differing |= {name: count for name, count in zip(some, row, strict=True) if count}
    return differing
