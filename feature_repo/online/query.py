"""One statement that reads the rows of many entities in several online tables, in the order in which they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online.joint_tables import joint_column
from feature_repo.online.packed_columns import reading
from feature_repo.online.tables import EVENT_TIME, SCHEMA, column_identifier, listed
from feature_repo.online.types import postgres_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_repo.online.packed_columns import Reading


@dataclass(frozen=True)
class KeyOf:
    """A key that is not asked for but stands in a feature of another part, which has its own keys from the parameters."""

    part: int
    feature: str


@dataclass(frozen=True)
class JointPlace:
    """Where the row of an online table stands in that of a joint table."""

    joint_table: str
    position: int


@dataclass(frozen=True)
class ViewPart:
    """What is read of one online table.

    Attributes
    ----------
    keys : for each key column, its name and which of the statement's parameters has its values, or which part.
    features : what is read, after the event time.
    packed : all features of the table, each with its dtype, if it is packed.
    joint : the joint table to read them from, if any; the online table must be there all the same.

    """

    online_table: str
    keys: tuple[tuple[str, int | KeyOf], ...]
    features: tuple[str, ...]
    joint: JointPlace | None = None
    packed: tuple[tuple[str, str], ...] = ()

    @property
    def reading(self) -> Reading:
        """From which columns the features are read, and where in these."""
        return reading(self.packed, self.features)

    @property
    def is_linked(self) -> bool:
        """Whether a key of it stands in another part."""
        return any(isinstance(place, KeyOf) for _, place in self.keys)


@dataclass(frozen=True)
class EntityLookup:
    """One more value of an entity, which is read beside its views: a column of a table with one row an entity.

    Attributes
    ----------
    table : schema and name.
    column : the column that is read.
    entity : the column that holds the first key as text.
    fixed : columns and the texts that they must have.

    """

    table: tuple[str, str]
    column: str
    entity: str
    fixed: tuple[tuple[str, str], ...]

    def value(self) -> sql.Composed:
        """Compose the value, of which there is one at most."""
        # A subquery, unlike a join, is never planned as a scan of the whole table for a few entities.
        wanted = [(self.entity, sql.SQL("asked.key0::text")), *((name, sql.Literal(text)) for name, text in self.fixed)]
        return sql.SQL("(SELECT {} FROM {} WHERE {})").format(
            sql.Identifier(self.column),
            sql.Identifier(*self.table),
            sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in wanted),
        )


@lru_cache(maxsize=1024)
def read_statement(
    parts: tuple[ViewPart, ...], parameters: tuple[str, ...], *, one: bool = False, lookup: EntityLookup | None = None
) -> bytes:
    """Compose the statement. Its parameters, $1 and on, are arrays of the dtypes `parameters`, all of one length.

    Its rows are in the order of the arrays. A row has, for each part, the event time and the columns that its features are
    read from, all NULL where the table has no row for the keys, and at its end the value of `lookup`. If it is for `one` row
    its parameters are no arrays but the keys themselves, which spares the server the list and the sort.
    """
    joins: dict[str, sql.Composed] = {}
    # A part that is joined by another one's feature stands after it.
    for number in sorted(range(len(parts)), key=lambda number: parts[number].is_linked):
        for alias, table in _sources(parts, number).items():
            keys = sql.SQL(" AND ").join(
                sql.SQL("{}.{} = {}").format(sql.Identifier(alias), column_identifier(name), _value(parts, place))
                for name, place in parts[number].keys
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
    # Behind a SELECT an array's length is not seen by PostgreSQL, which would plan the statement anew for each short one.
    given = listed(
        sql.SQL("${}::{}" if one else "(SELECT ${}::{}[])").format(sql.SQL(str(place + 1)), postgres_type(dtype))
        for place, dtype in enumerate(parameters)
    )
    asked = listed(sql.Identifier(f"key{place}") for place in range(len(parameters)))
    statement = sql.SQL(
        "SELECT {} FROM (SELECT {}) AS asked({}) {}"
        if one
        else "SELECT {} FROM unnest({}) WITH ORDINALITY AS asked({}, place) {} ORDER BY asked.place"
    )
    return statement.format(listed(columns), given, asked, sql.SQL(" ").join(joins.values())).as_bytes()


def _sources(parts: Sequence[ViewPart], number: int) -> dict[str, str]:
    """Name the tables that a part needs, by their alias; the first is the one that it is read from.

    Of the table whose row is read from a joint table, no column is read: PostgreSQL does not search it, but wants it there.
    """
    part, own = parts[number], f"view{number}"
    if part.joint is None:
        return {own: part.online_table}
    sharing = [other.keys == part.keys and _joint_table(other) == part.joint.joint_table for other in parts]
    return {f"joint{sharing.index(True)}": part.joint.joint_table, own: part.online_table}


def _joint_table(part: ViewPart) -> str | None:
    return part.joint.joint_table if part.joint else None


def _column(parts: Sequence[ViewPart], number: int, name: str) -> sql.Composed:
    """Name a column of a part, where it is read from."""
    joint, (source, *_) = parts[number].joint, _sources(parts, number)
    column = joint_column(joint.position, name) if joint else sql.Identifier(name)
    return sql.SQL("{}.{}").format(sql.Identifier(source), column)


def _value(parts: Sequence[ViewPart], place: int | KeyOf) -> sql.Composable:
    """Name the value that a key column must have."""
    if isinstance(place, KeyOf):
        found = reading(parts[place.part].packed, (place.feature,))
        column = _column(parts, place.part, found.columns[0])
        index = found.places[0].element
        return column if index is None else sql.SQL("{}[{}]").format(column, sql.Literal(index + 1))
    return sql.SQL("asked.{}").format(sql.Identifier(f"key{place}"))


def key_array(values: Sequence[object], dtype: str) -> object:
    """Give the driver the array of the keys that are asked for, in the form that it sends most quickly."""
    if dtype == "int64":
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return list(values)


def key_parameter(value: object, dtype: str) -> object:
    """Give the driver the one key that is asked for."""
    # The driver has a type for every size of an integer, and would prepare the statement for each.
    return str(value) if dtype == "int64" and value is not None else value
