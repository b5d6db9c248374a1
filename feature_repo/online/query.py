"""Compose the one statement that reads the rows of many entities in several online tables, in the order of the request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online.joint_tables import joint_column
from feature_repo.online.packed_columns import reading
from feature_repo.online.table import EVENT_TIME, SCHEMA, column_identifier, listed
from feature_repo.online.types import postgres_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_repo.online.packed_columns import Reading


@dataclass(frozen=True)
class LinkedKey:
    """A key read from another view's feature (a link) instead of from the parameters; `part` is that view's index."""

    part: int
    feature: str


@dataclass(frozen=True)
class JointPosition:
    """A joint table, and the position of an online table among its members."""

    joint_table: str
    position: int


@dataclass(frozen=True)
class ViewPart:
    """The columns that the statement reads from one online table.

    Attributes
    ----------
    keys : for each key column, its name and the index of the parameter with its values, or the link with its value.
    features : the features to read, after the event time.
    joint : the joint table to read from, if any; the online table must exist all the same.
    packed : all features of the table, each with its dtype, if the table is packed.

    """

    online_table: str
    keys: tuple[tuple[str, int | LinkedKey], ...]
    features: tuple[str, ...]
    joint: JointPosition | None = None
    packed: tuple[tuple[str, str], ...] = ()

    @property
    def reading(self) -> Reading:
        """Return the columns to read, and the position of each feature in them."""
        return reading(self.packed, self.features)

    @property
    def is_linked(self) -> bool:
        """Whether a key is read from another part."""
        return any(isinstance(origin, LinkedKey) for _, origin in self.keys)


@dataclass(frozen=True)
class EntityLookup:
    """One more value of an entity to read with its views: a column of a table with one row for each entity.

    Attributes
    ----------
    table : schema and name.
    column : the column to read.
    entity : the column with the first key as text.
    fixed : further columns, and the texts that a row must have in them.
    keyed : a further column and the texts that a row may have in it; the value is then a JSON object with the column of each
        such row by that text, or NULL without one. None reads one row.

    """

    table: tuple[str, str]
    column: str
    entity: str
    fixed: tuple[tuple[str, str], ...]
    keyed: tuple[str, tuple[str, ...]] | None = None

    def value(self) -> sql.Composed:
        """Compose a scalar subquery with the value."""
        # Unlike a join, PostgreSQL never plans a subquery as a scan of the whole table for a few entities.
        conditions: list[tuple[str, sql.Composable]] = [
            (self.entity, sql.SQL("asked.key0::text")),
            *((name, sql.Literal(text)) for name, text in self.fixed),
        ]
        found: sql.Composable = sql.Identifier(self.column)
        if self.keyed:
            name, texts = self.keyed
            found = sql.SQL("jsonb_object_agg({}, {})").format(sql.Identifier(name), found)
            conditions.append((name, sql.SQL("ANY({})").format(sql.Literal(list(texts)))))
        return sql.SQL("(SELECT {} FROM {} WHERE {})").format(
            found,
            sql.Identifier(*self.table),
            sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in conditions),
        )


@lru_cache(maxsize=1024)
def read_statement(
    parts: tuple[ViewPart, ...], parameters: tuple[str, ...], *, one: bool = False, lookup: EntityLookup | None = None
) -> bytes:
    """Compose the statement that reads `parts`. Its parameters, $1 and on, are arrays of the dtypes `parameters`.

    The arrays are of one length, and the rows are in their order. A row has, for each part, the event time and the columns
    of its features, all NULL if the table has no row for the keys; then the value of `lookup`. With `one`, the parameters
    are the keys of a single row, not arrays, which saves the server the unnest and the sort.
    """
    joins: dict[str, sql.Composed] = {}
    # A linked part is joined after the part with its link.
    for number in sorted(range(len(parts)), key=lambda number: parts[number].is_linked):
        for alias, table in _sources(parts, number).items():
            keys = sql.SQL(" AND ").join(
                sql.SQL("{}.{} = {}").format(sql.Identifier(alias), column_identifier(name), _key_value(parts, origin))
                for name, origin in parts[number].keys
            )
            joins[alias] = sql.SQL("LEFT JOIN {} AS {} ON {}").format(
                sql.Identifier(SCHEMA, table), sql.Identifier(alias), keys
            )
    columns = [
        _column(parts, number, name)
        for number, part in enumerate(parts)
        for name in (EVENT_TIME, *part.reading.columns)
    ]
    if lookup:
        columns.append(lookup.value())
    # The SELECT hides an array's length from PostgreSQL, which would plan the statement again for each short array.
    keys_given = listed(
        sql.SQL("${}::{}" if one else "(SELECT ${}::{}[])").format(sql.SQL(str(index + 1)), postgres_type(dtype))
        for index, dtype in enumerate(parameters)
    )
    key_names = listed(sql.Identifier(f"key{index}") for index in range(len(parameters)))
    statement = sql.SQL(
        "SELECT {} FROM (SELECT {}) AS asked({}) {}"
        if one
        else "SELECT {} FROM unnest({}) WITH ORDINALITY AS asked({}, place) {} ORDER BY asked.place"
    )
    return statement.format(listed(columns), keys_given, key_names, sql.SQL(" ").join(joins.values())).as_bytes()


def _sources(parts: Sequence[ViewPart], number: int) -> dict[str, str]:
    """Return the tables of a part by alias; the first is the one that its columns are read from.

    A part in a joint table also joins its own table, without reading a column. PostgreSQL then skips the search, but the
    statement fails if the table is gone.
    """
    part, own = parts[number], f"view{number}"
    if part.joint is None:
        return {own: part.online_table}
    sharing = [other.keys == part.keys and _joint_table(other) == part.joint.joint_table for other in parts]
    return {f"joint{sharing.index(True)}": part.joint.joint_table, own: part.online_table}


def _joint_table(part: ViewPart) -> str | None:
    return part.joint.joint_table if part.joint else None


def _column(parts: Sequence[ViewPart], number: int, name: str) -> sql.Composed:
    """Compose a reference to a column of a part, in its own or its joint table."""
    joint, (source, *_) = parts[number].joint, _sources(parts, number)
    column = joint_column(joint.position, name) if joint else sql.Identifier(name)
    return sql.SQL("{}.{}").format(sql.Identifier(source), column)


def _key_value(parts: Sequence[ViewPart], origin: int | LinkedKey) -> sql.Composable:
    """Compose the value that a key column must have: a parameter or a link."""
    if isinstance(origin, LinkedKey):
        link = reading(parts[origin.part].packed, (origin.feature,))
        column = _column(parts, origin.part, link.columns[0])
        element = link.positions[0].element
        return column if element is None else sql.SQL("{}[{}]").format(column, sql.Literal(element + 1))
    return sql.SQL("asked.{}").format(sql.Identifier(f"key{origin}"))


def key_array(values: Sequence[object], dtype: str) -> object:
    """Return the parameter with the requested keys, in the form that the driver sends fastest."""
    if dtype == "int64":
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return list(values)


def key_parameter(value: object, dtype: str) -> object:
    """Return the parameter with the one requested key."""
    # As integers, keys of different sizes have different types, and the driver would prepare a statement for each.
    return str(value) if dtype == "int64" and value is not None else value
