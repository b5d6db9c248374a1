"""Joint tables: one row for each entity with the columns of several online tables of the same key, for reads by one search.

The online tables, the *members* of the joint table, remain the source of truth: all writes go to them. Their triggers copy
every change to the joint table in the same transaction. It has the key, and each member's event time and features, NULL
where the member has no row. Its name contains a hash of its members, so one name always has the same columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from psycopg import sql

from core.plan.limits import MOST_BYTES, MOST_COLUMNS
from feature_repo.online.table import EVENT_TIME, SCHEMA, OnlineTable, listed
from feature_repo.online.tables import add_primary_key, fresh_table, lock
from feature_repo.online.types import most_bytes, name_hash, short_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

#: Query for the joint table and position of the online tables in $1: those whose triggers still maintain it and which the
#: current role may read.
JOINT_POSITIONS = """
SELECT online_table, joint_table, position FROM panthera.joint_table
WHERE online_table = ANY($1::text[])
    AND has_table_privilege(to_regclass(format('online.%I', joint_table)), 'SELECT')
    AND EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = to_regclass(format('online.%I', online_table)) AND tgname = 'joint_insert'
    )
"""


class _Column(NamedTuple):
    """The names of a column in the joint table and in its member, and the most bytes of its values in a row."""

    joint: sql.Identifier
    own: sql.Identifier
    most_bytes: int


@dataclass(frozen=True)
class JointTable:
    """The joint table of `members`: online tables with the same keys, in the order of their names."""

    members: tuple[OnlineTable, ...]

    @cached_property
    def name(self) -> str:
        """The table's name."""
        return f"joint_{name_hash(repr(self.members))}"

    @property
    def identifier(self) -> sql.Identifier:
        """The table's qualified name in SQL."""
        return sql.Identifier(SCHEMA, self.name)

    @property
    def keys(self) -> tuple[sql.Identifier, ...]:
        """The key columns in SQL."""
        return self.members[0].key_columns

    @property
    def fits(self) -> bool:
        """Whether every row fits into PostgreSQL's limits, whatever its values."""
        keys = [most_bytes(dtype) for _, dtype in self.members[0].keys]
        bytes_of_columns = [column.most_bytes for columns in self._columns for column in columns]
        return sum(keys) + sum(bytes_of_columns) <= MOST_BYTES and len(keys) + len(bytes_of_columns) <= MOST_COLUMNS

    @cached_property
    def _columns(self) -> list[list[_Column]]:
        """The columns of each member."""
        return [
            [
                _Column(joint_column(position, name), sql.Identifier(name), most_bytes(dtype))
                for name, dtype in [
                    (EVENT_TIME, "timestamp"),
                    *((column.name, column.dtype) for column in member.stored),
                ]
            ]
            for position, member in enumerate(self.members)
        ]

    def select(self, tables: Mapping[OnlineTable, sql.Identifier]) -> sql.Composed:
        """Compose the query for the rows of the joint table, with `tables` as its members."""
        # PostgreSQL accesses a column faster if all columns before it are of fixed width.
        columns = sorted(
            ((column, position) for position, columns in enumerate(self._columns) for column in columns),
            key=lambda each: each[0].most_bytes,
        )
        selected = [
            sql.SQL("{}.{} AS {}").format(_alias(position), column.own, column.joint) for column, position in columns
        ]
        sources = [
            sql.SQL("{} AS {}").format(tables[member], _alias(position)) for position, member in enumerate(self.members)
        ]
        same_key = sql.SQL(" USING ({})").format(listed(self.keys))
        return sql.SQL("SELECT {} FROM {}").format(
            listed([*self.keys, *selected]),
            sql.SQL(" FULL JOIN ").join([sources[0], *(source + same_key for source in sources[1:])]),
        )

    def upsert(self, position: int, target: sql.Identifier) -> sql.Composed:
        """Compose the statement that upserts `brought`, the changed rows of the member at `position`, into `target`.

        `target` has the columns of this joint table.
        """
        joint = [column.joint for column in self._columns[position]]
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM brought ON CONFLICT ({}) DO UPDATE SET {}").format(
            target,
            listed([*self.keys, *joint]),
            listed([*self.keys, *(column.own for column in self._columns[position])]),
            listed(self.keys),
            listed(sql.SQL("{0} = excluded.{0}").format(column) for column in joint),
        )

    def remove(self, position: int) -> sql.Composed:
        """Compose the statements that remove the rows `brought`, of the member at `position`, from the joint table."""
        return self._remove(position, sql.SQL(""))

    def remove_all(self, position: int) -> sql.Composed:
        """Compose the statements that remove all rows of the member at `position` from the joint table."""
        brought = sql.SQL("WITH brought AS (SELECT {} FROM {} WHERE {} IS NOT NULL) ")
        return self._remove(position, brought.format(listed(self.keys), self.identifier, _event_time(position)))

    def _remove(self, position: int, brought: sql.Composable) -> sql.Composed:
        same = [sql.SQL("joint.{0} = brought.{0}").format(key) for key in self.keys]
        others = [index for index, _ in enumerate(self.members) if index != position]
        absent = [sql.SQL("{} IS NULL").format(_event_time(index)) for index in others]
        return sql.SQL(
            "{brought}DELETE FROM {table} AS joint USING brought WHERE {alone}; "
            "{brought}UPDATE {table} AS joint SET {none} FROM brought WHERE {same}"
        ).format(
            brought=brought,
            table=self.identifier,
            alone=sql.SQL(" AND ").join([*same, *absent]),
            none=listed(sql.SQL("{} = NULL").format(column.joint) for column in self._columns[position]),
            same=sql.SQL(" AND ").join(same),
        )


def joint_column(position: int, column: str) -> sql.Identifier:
    """Return the name in a joint table of a column of the member at `position`."""
    # The plan allows no dot in the names of keys and features, so the name is unique.
    return sql.Identifier(short_name(f"{position}.{column}"))


def _event_time(position: int) -> sql.Identifier:
    return joint_column(position, EVENT_TIME)


def _alias(position: int) -> sql.Identifier:
    return sql.Identifier(f"member{position}")


def create(
    connection: psycopg.Connection, joint: JointTable, tables: Mapping[OnlineTable, sql.Identifier]
) -> sql.Identifier:
    """Create a joint table from `tables`, its future members, under a temporary name; return that name."""
    fresh = fresh_table()
    connection.execute(sql.SQL("CREATE TABLE {} AS {}").format(fresh, joint.select(tables)))
    # It needs no ANALYZE: reads look up keys, and the planner knows that the primary key is unique.
    add_primary_key(connection, fresh, joint.keys)
    return fresh


def create_triggers(
    connection: psycopg.Connection, joint: JointTable, tables: Mapping[OnlineTable, sql.Identifier]
) -> None:
    """Create the triggers on `tables`, the members of `joint`, that copy every change to it."""
    for position, member in enumerate(joint.members):
        upsert = joint.upsert(position, joint.identifier)
        for event, change, statement in [
            ("INSERT", "REFERENCING NEW TABLE AS brought", upsert),
            ("UPDATE", "REFERENCING NEW TABLE AS brought", upsert),
            ("DELETE", "REFERENCING OLD TABLE AS brought", joint.remove(position)),
            ("TRUNCATE", "", joint.remove_all(position)),
        ]:
            connection.execute(
                sql.SQL(
                    "CREATE TRIGGER {} AFTER {} ON {} {} FOR EACH STATEMENT "
                    "EXECUTE FUNCTION panthera.keep_joint_table({}, {})"
                ).format(
                    sql.Identifier(f"joint_{event.lower()}"),
                    sql.SQL(event),
                    tables[member],
                    sql.SQL(change),
                    sql.Literal(joint.name),
                    sql.Literal(statement.as_string()),
                )
            )
        other_key = sql.SQL(" OR ").join(sql.SQL("OLD.{0} <> NEW.{0}").format(key) for key in joint.keys)
        connection.execute(
            sql.SQL(
                "CREATE TRIGGER joint_key BEFORE UPDATE OF {} ON {} FOR EACH ROW WHEN ({}) "
                "EXECUTE FUNCTION panthera.refuse_another_key()"
            ).format(listed(joint.keys), tables[member], other_key)
        )


def publish(connection: psycopg.Connection, joint: JointTable, fresh: sql.Identifier) -> None:
    """Rename the table that `create` returned to its name, and record its members, which must be in no joint table."""
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(fresh, sql.Identifier(joint.name)))
    connection.execute(
        "INSERT INTO panthera.joint_table (online_table, joint_table, position) "
        "SELECT name, %s, place - 1 FROM unnest(%s::text[]) WITH ORDINALITY AS member (name, place)",
        [joint.name, [member.name for member in joint.members]],
    )


def drop(connection: psycopg.Connection, name: str) -> None:
    """Drop a joint table, if it exists; the triggers of its members have no effect from then on."""
    lock(connection, name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, name)))
    connection.execute("DELETE FROM panthera.joint_table WHERE joint_table = %s", [name])
