"""The online tables in PostgreSQL: one wide, typed row for each entity and version of a view.

The name of a table carries a hash of its view's definition, so a changed view gets a new table and a release that was
trained on the old definition never reads values of the new one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID, uuid4

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import psycopg
    import pyarrow as pa

    from core.plan import Entity, Plan, View

SCHEMA = "online"
#: The plan's dtypes in PostgreSQL's words.
_TYPES: dict[str, LiteralString] = {
    "int32": "int4",
    "int64": "int8",
    "float32": "float4",
    "float64": "float8",
    "string": "text",
    "bool": "bool",
    "timestamp": "timestamptz",
    "text": "text",
}
#: Any fixed number: the first key of the advisory lock on an online table.
_LOCK = 7_205_332


@dataclass(frozen=True)
class OnlineTable:
    """The table of one version of a view: its key, and its features with their dtypes, in order."""

    name: str
    key: str
    key_dtype: str
    features: tuple[tuple[str, str], ...]

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name in SQL."""
        return sql.Identifier(SCHEMA, self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns: the key, the two times, the features."""
        return (self.key, "event_timestamp", "created_timestamp", *(name for name, _ in self.features))

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of `columns`."""
        return (self.key_dtype, "timestamp", "timestamp", *(dtype for _, dtype in self.features))


def online_table(name: str, view: View, entity: Entity) -> OnlineTable:
    """Name the online table of the view `name`, as it is defined now."""
    definition = f"{entity.key} {entity.dtype} {view.model_dump_json()}"
    version = hashlib.sha256(definition.encode()).hexdigest()[:12]
    features = tuple((feature, spec.dtype) for feature, spec in view.features.items())
    return OnlineTable(f"{name}__{version}", entity.key, entity.dtype, features)


def declared_table(plan: Plan, name: str) -> OnlineTable:
    """Name the online table of the view `name`, as `plan` defines it."""
    view = plan.build_features.views[name]
    return online_table(name, view, plan.entities[plan.ingest[view.source].entity])


def create(connection: psycopg.Connection, table: OnlineTable) -> None:
    """Make `table` unless it is there."""
    features = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_TYPES[dtype])) for name, dtype in table.features]
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} ({} {} PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
            "created_timestamp timestamptz NOT NULL{})"
        ).format(
            table.identifier,
            sql.Identifier(table.key),
            sql.SQL(_TYPES[table.key_dtype]),
            sql.SQL("").join(sql.SQL(", ") + feature for feature in features),
        )
    )


def exists(connection: psycopg.Connection, name: str) -> bool:
    """Say whether there is an online table of that name."""
    row = connection.execute("SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [SCHEMA, name]).fetchone()
    return row is not None and row[0] is not None


def merge(connection: psycopg.Connection, table: OnlineTable, rows: Iterable[Sequence[object]]) -> int:
    """Bring `rows` (in the order of `table.columns`) into `table`; return how many there were.

    One transaction, so a reader sees all of it or nothing. A row never replaces one with a later event time, nor, at the
    same event time, one that was created later.
    """
    stage = sql.Identifier(f"stage_{uuid4().hex}")
    connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, table.name])
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(stage, table.identifier),
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    count = 0
    copy_rows = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(stage, columns)
    with connection.cursor() as cursor, cursor.copy(copy_rows) as copy:
        copy.set_types([_TYPES[dtype] for dtype in table.dtypes])
        for row in rows:
            copy.write_row(row)
            count += 1
    updates = sql.SQL(", ").join(
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in table.columns if name != table.key
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} AS live ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {stage} "
            "ORDER BY {key}, event_timestamp DESC, created_timestamp DESC "
            "ON CONFLICT ({key}) DO UPDATE SET {updates} "
            "WHERE (excluded.event_timestamp, excluded.created_timestamp) >= (live.event_timestamp, live.created_timestamp)"
        ).format(table=table.identifier, columns=columns, stage=stage, key=sql.Identifier(table.key), updates=updates)
    )
    connection.execute(sql.SQL("DROP TABLE {}").format(stage))
    return count


def arrow_rows(table: OnlineTable, rows: pa.Table) -> Iterable[Sequence[object]]:
    """Yield the rows of an Arrow table as tuples in the order of `table.columns`."""
    for batch in rows.select(list(table.columns)).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def record_run(connection: psycopg.Connection, view: str, table: OnlineTable, as_of: datetime, rows: int) -> UUID:
    """Enter a finished materialization into the history; return its id."""
    run_id = uuid4()
    connection.execute(
        "INSERT INTO panthera.materialization (run_id, view, online_table, as_of, rows_written) VALUES (%s, %s, %s, %s, %s)",
        [run_id, view, table.name, as_of, rows],
    )
    return run_id


def count_rows(connection: psycopg.Connection, name: str) -> int:
    """Count the rows of an online table."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(SCHEMA, name))).fetchone()
    return int(row[0]) if row else 0
