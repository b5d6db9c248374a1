"""The online tables in PostgreSQL: one typed row for each entity and version of a view.

The name of a table contains the fingerprint of its view's definition (`feature_repo.views.definitions`). So a changed view
has a new table, and a release that was trained on the old definition never reads values of the new one.

Writes may come in any order: an entity keeps the row with the latest event time and, among those, the latest created time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import uuid4

from psycopg import RawCursor, sql

from core.postgres.advisory_locks import Lock, hold_on_name
from feature_repo.online.table import CREATED_TIME, EVENT_TIME, SCHEMA, OnlineTable, listed
from feature_repo.online.types import column_name, postgres_type, type_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import psycopg
    import pyarrow as pa


#: Up to this many rows, an upsert with parameters is faster than a staging table.
_MAX_UPSERTED_ROWS = 50
#: The most rows and parameters of one upsert; PostgreSQL allows 65,535 parameters.
_MAX_STATEMENT_ROWS, _MAX_PARAMETERS = 64, 16_384


def create(connection: psycopg.Connection, table: OnlineTable) -> bool:
    """Create `table` unless it exists; return whether it was created."""
    missing = not exists(connection, table.name)
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
            table.identifier, declared_columns(table), listed(table.key_columns)
        )
    )
    return missing


def declared_columns(table: OnlineTable) -> sql.Composed:
    """Compose the column declarations of `table`.

    A replacement table is declared with them instead of with LIKE. LIKE would lock the present table until the transaction
    ends, and could deadlock with a refresh that swaps it.
    """
    times = [sql.SQL("event_timestamp timestamptz NOT NULL"), sql.SQL("created_timestamp timestamptz NOT NULL")]
    keys = [_declared(column_name(name), dtype) for name, dtype in table.keys]
    return listed([*keys, *times, *(_declared(column.name, column.dtype) for column in table.stored)])


def _declared(name: str, dtype: str) -> sql.Composed:
    return sql.SQL("{} {}").format(sql.Identifier(name), postgres_type(dtype))


def fresh_table() -> sql.Identifier:
    """Return a new name for a table that will replace another one."""
    return sql.Identifier(SCHEMA, f"fresh_{uuid4().hex}")


def add_primary_key(connection: psycopg.Connection, table: sql.Identifier, keys: Iterable[sql.Identifier]) -> None:
    """Add the primary key `keys` to a table that has been filled."""
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(table, listed(keys)))


def exists(connection: psycopg.Connection, name: str) -> bool:
    """Return whether an online table of that name exists."""
    # `to_regclass` may answer from a cache older than the last wait for a lock.
    found = connection.execute(
        "SELECT FROM pg_class WHERE relname = %s AND relnamespace = %s::regnamespace", [name, SCHEMA]
    )
    return found.fetchone() is not None


def count_rows(connection: psycopg.Connection, name: str) -> int:
    """Return the number of rows of an online table."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, name))).fetchone()
    return int(row[0]) if row else 0


def lock(connection: psycopg.Connection, name: str) -> None:
    """Take the advisory lock for writes to the online table `name`, until the transaction ends."""
    hold_on_name(connection, Lock.ONLINE_TABLE, name)


def merge(
    connection: psycopg.Connection,
    table: OnlineTable,
    rows: pa.Table | pa.RecordBatchReader,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Merge an increment into `table`, in the transaction of `connection`; return the number of rows in the increment.

    A row never replaces one with a later event time nor, at equal event times, one with a later created time. Readers see
    the whole increment when the transaction commits.

    Parameters
    ----------
    table : an existing table.
    rows : an Arrow table, or a reader of batches, with at least the columns `table.columns`, in any order, times with a
        zone. An entity may occur several times.
    progress : called with the number of rows sent to the server so far.

    Raises
    ------
    SourceError
        If a column cannot be converted to its dtype.

    """
    stage = _stage(connection, table)
    count = copy_rows(connection, stage, table, rows, progress)
    _merge_stage(connection, table, stage)
    return count


def merge_values(connection: psycopg.Connection, table: OnlineTable, rows: Sequence[Sequence[object]]) -> int:
    """Merge rows of Python values, in the order of `table.columns`, as `merge` does; return their number."""
    if len(rows) <= _MAX_UPSERTED_ROWS or table.is_packed:
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
    _merge_stage(connection, table, stage)
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
    """Copy Arrow rows into `target`, which has the columns of `table`; return their number.

    `frozen` uses COPY FREEZE, which saves later reads from setting hint bits; the target must be created in this transaction.
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
    """Return the names of the joint tables with any of the online tables `members`, sorted."""
    found = connection.execute(
        "SELECT DISTINCT joint_table FROM panthera.joint_table WHERE online_table = ANY(%s)", [list(members)]
    )
    return sorted(name for (name,) in found)


def _stage(connection: psycopg.Connection, table: OnlineTable) -> sql.Identifier:
    stage = sql.Identifier(f"stage_{uuid4().hex}")
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(stage, declared_columns(table)))
    return stage


def _merge_stage(connection: psycopg.Connection, table: OnlineTable, stage: sql.Identifier) -> None:
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
    """Yield statements with their parameters ($1 and on) that merge `rows`, in the order of `table.columns`, into a table.

    A statement merges many rows, so that the table's triggers run once for all of them.
    """
    most = min(_MAX_STATEMENT_ROWS, max(1, _MAX_PARAMETERS // len(table.columns)))
    for begin in range(0, len(rows), most):
        batch = rows[begin : begin + most]
        yield _upsert(table, len(batch)), [value for row in batch for value in row]


@lru_cache(maxsize=256)
def _upsert(table: OnlineTable, count: int) -> bytes:
    """Compose the statement that merges `count` rows; among equal times the last row wins."""
    values = [_row_of_parameters(table, row * len(table.columns)) for row in range(count)]
    # The plan allows no dot in the names of columns, so this name is free.
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
    """Compose one row of values from the parameters that follow the first `before`, in the order of the columns."""
    parameters = {
        name: sql.SQL("${}::{}").format(sql.Literal(before + number), postgres_type(dtype))
        for number, (name, dtype) in enumerate(zip(table.columns, table.dtypes, strict=True), start=1)
    }
    features = [
        sql.SQL("ARRAY[{}]").format(listed(parameters[name] for name in column.features))
        if column.is_array
        else parameters[column.features[0]]
        for column in table.stored
    ]
    return [*(parameters[name] for name in (*table.key_names, EVENT_TIME, CREATED_TIME)), *features]


def on_conflict(table: OnlineTable, columns: Sequence[sql.Identifier] | None = None) -> sql.Composed:
    """Compose the ON CONFLICT clause that keeps the later of two rows of an entity.

    `columns` are the columns to update besides the times; by default all features.
    """
    features = table.feature_columns if columns is None else columns
    updated = (sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *features)
    return sql.SQL(
        "ON CONFLICT ({}) DO UPDATE SET {} "
        "WHERE (excluded.event_timestamp, excluded.created_timestamp) >= (live.event_timestamp, live.created_timestamp)"
    ).format(listed(table.key_columns), listed(sql.SQL("{0} = excluded.{0}").format(column) for column in updated))
