"""The online tables in PostgreSQL: one wide, typed row for each entity and version of a view.

The name of a table carries the fingerprint of its view's definition (`feature_repo.views.definitions`), so a view of other
values gets a new table, and a release that was trained on the old definition never reads values of the new one.

A row never goes back in time: whatever is written, and in whatever order, an entity keeps the row with the latest event
time, and among those the one created last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from uuid import uuid4

from psycopg import RawCursor, sql

from core.postgres.advisory_locks import Lock, hold_on_name
from feature_repo.online.packed_columns import needs_packing, stored_columns
from feature_repo.online.types import LONGEST_NAME, column_name, postgres_type, short_name, type_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import psycopg
    import pyarrow as pa

    from feature_repo.online.packed_columns import StoredColumn

SCHEMA = "online"
EVENT_TIME, CREATED_TIME = "event_timestamp", "created_timestamp"
#: Up to so many rows, a statement with their values is quicker than a staging table.
_FEW = 50
#: The rows and parameters of the longest statement that brings them as values; PostgreSQL takes 65,535 parameters.
_MOST_ROWS, _MOST_PARAMETERS = 64, 16_384
#: What the name of a packed table ends with.
PACKED = "_packed"


@dataclass(frozen=True)
class OnlineTable:
    """The table of one version of a view: its key columns and its features, each with its dtype, in order."""

    name: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name in SQL."""
        return sql.Identifier(SCHEMA, self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the words of the view: the keys, the two times, the features."""
        return (*self.key_names, EVENT_TIME, CREATED_TIME, *(name for name, _ in self.features))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of `columns`."""
        keys, features = (tuple(dtype for _, dtype in part) for part in (self.keys, self.features))
        return (*keys, "timestamp", "timestamp", *features)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the key columns."""
        return tuple(name for name, _ in self.keys)

    @property
    def key_columns(self) -> tuple[sql.Identifier, ...]:
        """The key columns in SQL."""
        return tuple(column_identifier(name) for name in self.key_names)

    @cached_property
    def is_packed(self) -> bool:
        """Whether the features lie in arrays, since a row with a column for each might not fit."""
        return needs_packing(self.keys, self.features)

    @property
    def packed_features(self) -> tuple[tuple[str, str], ...]:
        """All features, if they are packed, for those who read some of them."""
        return self.features if self.is_packed else ()

    @cached_property
    def stored(self) -> tuple[StoredColumn, ...]:
        """The columns that hold the features."""
        return stored_columns(self.features, packed=self.is_packed)

    @property
    def stored_order(self) -> tuple[str, ...]:
        """All of `columns`, in the order in which the table's columns hold them."""
        names = (name for column in self.stored for name in column.features)
        return (*self.key_names, EVENT_TIME, CREATED_TIME, *names)

    @property
    def feature_columns(self) -> tuple[sql.Identifier, ...]:
        """The columns in SQL that hold the features."""
        return tuple(sql.Identifier(column.name) for column in self.stored)

    @property
    def sql_columns(self) -> tuple[sql.Identifier, ...]:
        """The table's columns in SQL."""
        return (*self.key_columns, sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *self.feature_columns)


def column_identifier(name: str) -> sql.Identifier:
    """Name in SQL the column of the key or feature `name`."""
    return sql.Identifier(column_name(name))


def listed(columns: Iterable[sql.Composable]) -> sql.Composed:
    """Write columns with commas between them."""
    return sql.SQL(", ").join(columns)


def versioned_name(view: str, version: str) -> str:
    """Name the table of a version of `view`, within what PostgreSQL keeps of a name."""
    return f"{short_name(view, LONGEST_NAME - len(version) - 2)}__{version}"


def create(connection: psycopg.Connection, table: OnlineTable) -> bool:
    """Make `table` unless it is there; return whether it was made."""
    missing = not exists(connection, table.name)
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
            table.identifier, declared_columns(table), listed(table.key_columns)
        )
    )
    return missing


def declared_columns(table: OnlineTable) -> sql.Composed:
    """Write the columns of `table` as a new one declares them.

    A table that is made beside it is declared by these, not as one LIKE it: PostgreSQL locks what another is like until the
    transaction ends, and who waits for a lock to write a table may not be in the way of who has it and would swap it.
    """
    times = [sql.SQL("event_timestamp timestamptz NOT NULL"), sql.SQL("created_timestamp timestamptz NOT NULL")]
    keys = [_declared(column_name(name), dtype) for name, dtype in table.keys]
    return listed([*keys, *times, *(_declared(column.name, column.dtype) for column in table.stored)])


def _declared(name: str, dtype: str) -> sql.Composed:
    return sql.SQL("{} {}").format(sql.Identifier(name), postgres_type(dtype))


def beside() -> sql.Identifier:
    """Name a table that is made beside another one, whose place it is to take."""
    return sql.Identifier(SCHEMA, f"fresh_{uuid4().hex}")


def index_keys(connection: psycopg.Connection, table: sql.Identifier, keys: Iterable[sql.Identifier]) -> None:
    """Make the columns `keys` the primary key of a table that has been filled."""
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table, listed(keys)))


def exists(connection: psycopg.Connection, name: str) -> bool:
    """Say whether there is an online table of that name."""
    # `to_regclass` would answer from what the session knew before it waited for a lock.
    found = connection.execute(
        "SELECT FROM pg_class WHERE relname = %s AND relnamespace = %s::regnamespace", [name, SCHEMA]
    )
    return found.fetchone() is not None


def count_rows(connection: psycopg.Connection, name: str) -> int:
    """Count the rows of an online table."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, name))).fetchone()
    return int(row[0]) if row else 0


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait until nobody else writes the online table `name`, and keep others from it until the transaction ends."""
    hold_on_name(connection, Lock.ONLINE_TABLE, name)


def merge(
    connection: psycopg.Connection,
    table: OnlineTable,
    rows: pa.Table | pa.RecordBatchReader,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Bring an increment into `table`, in the transaction of `connection`; return how many rows it has.

    Parameters
    ----------
    table : it is there already.
    rows : an Arrow table, or a reader of batches, with at least the columns `table.columns`, in any order, times with a
        zone. An entity may occur several times.
    progress : called with the number of rows that have gone to the server so far.

    A reader sees the whole increment or nothing, once the transaction commits. A row never replaces one with a later event
    time, nor, at the same event time, one that was created later.

    Raises
    ------
    SourceError
        If a column cannot be of its dtype.

    """
    stage = _stage(connection, table)
    count = copy_rows(connection, stage, table, rows, progress)
    _bring_in(connection, table, stage)
    return count


def merge_values(connection: psycopg.Connection, table: OnlineTable, rows: Sequence[Sequence[object]]) -> int:
    """Do what `merge` does with rows of Python values, in the order of `table.columns`."""
    if len(rows) <= _FEW or table.is_packed:
        lock(connection, table.name)
        for upsert, parameters in upserts(table, rows):
            RawCursor(connection).execute(upsert, parameters)
        return len(rows)
    stage = _stage(connection, table)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(stage, listed(table.sql_columns))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([type_oid(dtype) for dtype in table.dtypes])
        for row in rows:
            copy.write_row(row)
    _bring_in(connection, table, stage)
    return len(rows)


def copy_rows(
    connection: psycopg.Connection,
    target: sql.Identifier,
    table: OnlineTable,
    rows: pa.Table | pa.RecordBatchReader,
    progress: Callable[[int], object] | None = None,
    *,
    frozen: bool = False,
) -> int:
    """Copy Arrow rows into `target`, which has the columns of `table`; return how many there were.

    `frozen` rows count as having always been there, so no reader has to mark them later; the target must be new in this
    transaction.
    """
    import pyarrow as pa

    from feature_repo.online.pgcopy import HEADER, TRAILER, encode

    order, dtype_of = table.stored_order, dict(zip(table.columns, table.dtypes, strict=True))
    dtypes = [dtype_of[name] for name in order]
    arrays = {column.features[0]: len(column.features) for column in table.stored if column.is_array}
    options = sql.SQL("FORMAT binary, FREEZE" if frozen else "FORMAT binary")
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})").format(target, listed(table.sql_columns), options)
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(HEADER)
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
            for chunk in encode(batch.select(list(order)), dtypes, arrays):
                copy.write(chunk)
            count += batch.num_rows
            if progress:
                progress(count)
        copy.write(TRAILER)
    return count


def joint_tables_of(connection: psycopg.Connection, members: Collection[str]) -> list[str]:
    """List the joint tables in which any of the online tables `members` stand, in the order of their names."""
    found = connection.execute(
        "SELECT DISTINCT joint_table FROM panthera.joint_table WHERE online_table = ANY(%s)", [list(members)]
    )
    return sorted(name for (name,) in found)


def _stage(connection: psycopg.Connection, table: OnlineTable) -> sql.Identifier:
    stage = sql.Identifier(f"stage_{uuid4().hex}")
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(stage, declared_columns(table)))
    return stage


def _bring_in(connection: psycopg.Connection, table: OnlineTable, stage: sql.Identifier) -> None:
    lock(connection, table.name)
    keys, columns = listed(table.key_columns), listed(table.sql_columns)
    latest = sql.SQL("SELECT DISTINCT ON ({}) {} FROM {} ORDER BY {}, event_timestamp DESC, created_timestamp DESC")
    connection.execute(
        sql.SQL("INSERT INTO {} AS live ({}) {} {}").format(
            table.identifier, columns, latest.format(keys, columns, stage, keys), on_conflict(table)
        )
    )
    connection.execute(sql.SQL("DROP TABLE {}").format(stage))


def upserts(table: OnlineTable, rows: Sequence[Sequence[object]]) -> Iterator[tuple[bytes, list[object]]]:
    """Write the statements, each with its parameters, that bring `rows` into a table, for cursors that take $1 and on.

    The rows are in the order of `table.columns`. A statement brings many, so that what every statement on the table brings
    about is done once for them.
    """
    most = min(_MOST_ROWS, max(1, _MOST_PARAMETERS // len(table.columns)))
    for begin in range(0, len(rows), most):
        some = rows[begin : begin + most]
        yield _upsert(table, len(some)), [value for row in some for value in row]


@lru_cache(maxsize=256)
def _upsert(table: OnlineTable, count: int) -> bytes:
    """Write the statement that brings `count` rows; of equal times, the one that stands last."""
    values = [_row_of_parameters(table, row * len(table.columns)) for row in range(count)]
    # No column of a plan has a point in its name.
    order = sql.Identifier("brought.order")
    statement = sql.SQL(
        "INSERT INTO {} AS live ({columns}) SELECT DISTINCT ON ({keys}) {columns} "
        "FROM (VALUES {}) AS brought ({columns}, {order}) ORDER BY {keys}, event_timestamp DESC, created_timestamp DESC, "
        "{order} DESC {}"
    ).format(
        table.identifier,
        listed(sql.SQL("({})").format(listed([*row, sql.Literal(number)])) for number, row in enumerate(values)),
        on_conflict(table),
        columns=listed(table.sql_columns),
        keys=listed(table.key_columns),
        order=order,
    )
    return statement.as_bytes()


def _row_of_parameters(table: OnlineTable, before: int) -> list[sql.Composable]:
    """Write the values of the table's columns as parameters: those after the first `before`, in the order of its columns."""
    given = {
        name: sql.SQL("${}::{}").format(sql.Literal(before + place), postgres_type(dtype))
        for place, (name, dtype) in enumerate(zip(table.columns, table.dtypes, strict=True), start=1)
    }
    features = [
        sql.SQL("ARRAY[{}]").format(listed(given[name] for name in column.features))
        if column.is_array
        else given[column.features[0]]
        for column in table.stored
    ]
    return [*(given[name] for name in (*table.key_names, EVENT_TIME, CREATED_TIME)), *features]


def on_conflict(table: OnlineTable, columns: Sequence[sql.Identifier] | None = None) -> sql.Composed:
    """Write what becomes of a row whose entity has one already: of the two, the later one stays.

    `columns` are those that the later row brings, beside its times; by default all features.
    """
    features = table.feature_columns if columns is None else columns
    brought = (sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *features)
    return sql.SQL(
        "ON CONFLICT ({}) DO UPDATE SET {} "
        "WHERE (excluded.event_timestamp, excluded.created_timestamp) >= (live.event_timestamp, live.created_timestamp)"
    ).format(listed(table.key_columns), listed(sql.SQL("{0} = excluded.{0}").format(column) for column in brought))
