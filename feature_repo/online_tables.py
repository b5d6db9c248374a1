"""The online tables in PostgreSQL: one wide, typed row for each entity and version of a view.

The name of a table carries a hash of its view's definition, so a changed view gets a new table and a release that was
trained on the old definition never reads values of the new one.

A row never goes back in time: whatever is written, and in whatever order, an entity keeps the row with the latest event
time, and among those the one created last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, LiteralString
from uuid import uuid4

from psycopg import RawCursor, sql

from feature_repo.online_types import LONGEST_NAME, column_name, postgres_type, short_name, type_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import psycopg
    import pyarrow as pa

    from core.plan import Entity, Plan, View

SCHEMA = "online"
EVENT_TIME, CREATED_TIME = "event_timestamp", "created_timestamp"
#: Any fixed number: the first key of the advisory lock on an online table.
_LOCK = 7_205_332
#: Up to so many rows, a statement with their values is quicker than a staging table.
_FEW = 50
#: The rows of the longest statement that brings them as values, and the parameters that PostgreSQL takes in one.
_MOST_ROWS, _MOST_PARAMETERS = 64, 65_535


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

    @property
    def feature_columns(self) -> tuple[sql.Identifier, ...]:
        """The features' columns in SQL."""
        return tuple(column_identifier(name) for name, _ in self.features)

    @property
    def sql_columns(self) -> tuple[sql.Identifier, ...]:
        """The columns in SQL, in the order of `columns`."""
        return (*self.key_columns, sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *self.feature_columns)


def column_identifier(name: str) -> sql.Identifier:
    """Name in SQL the column of the key or feature `name`."""
    return sql.Identifier(column_name(name))


def listed(columns: Iterable[sql.Composable]) -> sql.Composed:
    """Write columns with commas between them."""
    return sql.SQL(", ").join(columns)


def online_table(name: str, view: View, entity: Entity, link: str = "") -> OnlineTable:
    """Name the online table of the view `name`, as it is defined now; `link` is as for `definition_of`."""
    features = tuple((feature, spec.dtype) for feature, spec in view.features.items())
    version = definition_of(view, entity, link)[:12]
    return OnlineTable(versioned_name(name, version), ((entity.key, entity.dtype),), features)


def definition_of(view: View, entity: Entity, link: str = "") -> str:
    """Give the sha256 of a view's definition, of which its key is a part, and the `link` by which its entity is reached."""
    # A view that names no entity is what it was before views could name one.
    stated = view.model_dump_json(exclude=None if view.entity else {"entity"})
    return hashlib.sha256(f"{entity.key} {entity.dtype} {link}{stated}".encode()).hexdigest()


def versioned_name(view: str, version: str) -> str:
    """Name the table of a version of `view`, within what PostgreSQL keeps of a name."""
    return f"{short_name(view, LONGEST_NAME - len(version) - 2)}__{version}"


def declared_table(plan: Plan, name: str) -> OnlineTable:
    """Name the online table of the view `name`, as `plan` defines it."""
    view = plan.build_features.views[name]
    return online_table(name, view, plan.entity_of(view), _declared_link(plan, view))


def declared_definition(plan: Plan, name: str) -> str:
    """Give the sha256 of the definition of the view `name`, as `plan` has it."""
    view = plan.build_features.views[name]
    return definition_of(view, plan.entity_of(view), _declared_link(plan, view))


def _declared_link(plan: Plan, view: View) -> str:
    """Write the definition of the link to the entity of `view`: of another link, the same rows belong elsewhere."""
    link = plan.link_of(view)
    if link is None:
        return ""
    holder = plan.build_features.views[link.view]
    return f"{link.feature} {definition_of(holder, plan.entity_of(holder))} "


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
    keys, features = ([_declared(name, dtype) for name, dtype in part] for part in (table.keys, table.features))
    return listed([*keys, *times, *features])


def _declared(name: str, dtype: str) -> sql.Composed:
    return sql.SQL("{} {}").format(column_identifier(name), postgres_type(dtype))


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


#: What `lock` executes, for those who do not wait.
LOCK_STATEMENT: LiteralString = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"


def lock_parameters(name: str) -> list[object]:
    """Give the parameters of `LOCK_STATEMENT` for the online table `name`."""
    return [_LOCK, name]


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait until nobody else writes the online table `name`, and keep others from it until the transaction ends."""
    connection.execute(LOCK_STATEMENT, lock_parameters(name))


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
    if len(rows) <= _FEW:
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

    from feature_repo.pgcopy import HEADER, TRAILER, encode

    options = sql.SQL("FORMAT binary, FREEZE" if frozen else "FORMAT binary")
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})").format(target, listed(table.sql_columns), options)
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(HEADER)
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
            for chunk in encode(batch.select(list(table.columns)), table.dtypes):
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


def delete_entity(connection: psycopg.Connection, name: str, value: object) -> dict[str, int]:
    """Delete the rows of the entity whose key column `name` is `value`, from every online table that has this key.

    Retired tables are among them. Returns the number of rows by table.
    """
    column = sql.Identifier(column_name(name))
    found = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) "
        "WHERE c.relnamespace = %s::regnamespace AND a.attname = %s "
        "AND c.relname NOT IN (SELECT joint_table FROM panthera.joint_table)",
        [SCHEMA, column_name(name)],
    ).fetchall()
    tables = sorted(table for (table,) in found)
    # All of them before any row goes, and joint tables last: others take the locks in this order too.
    for table in tables:
        lock(connection, table)
    tables = [table for table in tables if exists(connection, table)]
    joint = joint_tables_of(connection, tables)
    for table in joint:
        lock(connection, table)
    delete = sql.SQL("DELETE FROM {} WHERE {} = %s")
    deleted = {
        table: connection.execute(delete.format(sql.Identifier(SCHEMA, table), column), [value]).rowcount
        for table in tables
    }
    # The triggers of the tables have done it, unless somebody took them away.
    for table in filter(partial(exists, connection), joint):
        connection.execute(delete.format(sql.Identifier(SCHEMA, table), column), [value])
    return deleted


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
    most = min(_MOST_ROWS, _MOST_PARAMETERS // len(table.columns))
    for begin in range(0, len(rows), most):
        some = rows[begin : begin + most]
        yield _upsert(table, len(some)), [value for row in some for value in row]


@lru_cache(maxsize=256)
def _upsert(table: OnlineTable, count: int) -> bytes:
    """Write the statement that brings `count` rows; of equal times, the one that stands last."""
    width = len(table.dtypes)
    values = [
        [
            sql.SQL("${}::{}").format(sql.Literal(row * width + place), postgres_type(dtype))
            for place, dtype in enumerate(table.dtypes, start=1)
        ]
        for row in range(count)
    ]
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
