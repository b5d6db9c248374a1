"""One statement that reads the rows of many entities in several online tables, in the order in which they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online_tables import SCHEMA, column_identifier, listed
from feature_repo.online_types import postgres_type

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class KeyOf:
    """A key that is not asked for but stands in a feature of another part, which has its own keys from the parameters."""

    part: int
    feature: str


@dataclass(frozen=True)
class ViewPart:
    """What is read of one online table.

    Attributes
    ----------
    keys : for each key column, its name and which of the statement's parameters has its values, or which part.
    features : the columns that are read, after the event time.

    """

    online_table: str
    keys: tuple[tuple[str, int | KeyOf], ...]
    features: tuple[str, ...]

    @property
    def is_linked(self) -> bool:
        """Whether a key of it stands in another part."""
        return any(isinstance(place, KeyOf) for _, place in self.keys)


@lru_cache(maxsize=1024)
def read_statement(parts: tuple[ViewPart, ...], parameters: tuple[str, ...]) -> bytes:
    """Write the statement. Its parameters, $1 and on, are arrays of the dtypes `parameters`, all of one length.

    Its rows are in the order of the arrays. A row has, for each part, the event time and the features, all NULL where
    the table has no row for the keys.
    """
    columns, joins = [], []
    # A part that is joined by another one's feature stands after it.
    for number in sorted(range(len(parts)), key=lambda number: parts[number].is_linked):
        alias, part = _alias(number), parts[number]
        keys = sql.SQL(" AND ").join(
            sql.SQL("{}.{} = {}").format(alias, column_identifier(name), _value(place)) for name, place in part.keys
        )
        table = sql.Identifier(SCHEMA, part.online_table)
        joins.append(sql.SQL("LEFT JOIN {} AS {} ON {}").format(table, alias, keys))
    for number, part in enumerate(parts):
        names = (sql.Identifier("event_timestamp"), *map(column_identifier, part.features))
        columns += [sql.SQL("{}.{}").format(_alias(number), name) for name in names]
    arrays = listed(
        sql.SQL("${}::{}[]").format(sql.SQL(str(place + 1)), postgres_type(dtype))
        for place, dtype in enumerate(parameters)
    )
    asked = listed(sql.Identifier(f"key{place}") for place in range(len(parameters)))
    return (
        sql.SQL("SELECT {} FROM unnest({}) WITH ORDINALITY AS asked({}, place) {} ORDER BY asked.place")
        .format(listed(columns), arrays, asked, sql.SQL(" ").join(joins))
        .as_bytes()
    )


def _alias(number: int) -> sql.Identifier:
    return sql.Identifier(f"view{number}")


def _value(place: int | KeyOf) -> sql.Composable:
    """Name the value that a key column must have."""
    if isinstance(place, KeyOf):
        return sql.SQL("{}.{}").format(_alias(place.part), column_identifier(place.feature))
    return sql.SQL("asked.{}").format(sql.Identifier(f"key{place}"))


def key_array(values: Sequence[object], dtype: str) -> object:
    """Give the driver the array of the keys that are asked for, in the form that it sends most quickly."""
    if dtype == "int64":
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return list(values)
