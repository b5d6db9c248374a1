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
class ViewPart:
    """What is read of one online table.

    Attributes
    ----------
    keys : for each key column, its name and which of the statement's parameters has its values.
    features : the columns that are read, after the event time.

    """

    online_table: str
    keys: tuple[tuple[str, int], ...]
    features: tuple[str, ...]


@lru_cache(maxsize=1024)
def read_statement(parts: tuple[ViewPart, ...], parameters: tuple[str, ...]) -> bytes:
    """Write the statement. Its parameters, $1 and on, are arrays of the dtypes `parameters`, all of one length.

    Its rows are in the order of the arrays. A row has, for each part, the event time and the features, all NULL where
    the table has no row for the keys.
    """
    columns, joins = [], []
    for number, part in enumerate(parts):
        alias = sql.Identifier(f"view{number}")
        names = (sql.Identifier("event_timestamp"), *map(column_identifier, part.features))
        columns += [sql.SQL("{}.{}").format(alias, name) for name in names]
        keys = sql.SQL(" AND ").join(
            sql.SQL("{}.{} = asked.{}").format(alias, column_identifier(name), sql.Identifier(f"key{place}"))
            for name, place in part.keys
        )
        table = sql.Identifier(SCHEMA, part.online_table)
        joins.append(sql.SQL("LEFT JOIN {} AS {} ON {}").format(table, alias, keys))
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


def key_array(values: Sequence[object], dtype: str) -> object:
    """Give the driver the array of the keys that are asked for, in the form that it sends most quickly."""
    if dtype == "int64":
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return list(values)
