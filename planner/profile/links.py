"""Keys of tables, and the links between tables: columns whose values are keys of another table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from planner.profile.column import column_value
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from planner.profile.column import Column
    from planner.profile.tables import Loaded

#: Limit of the pairs of columns to compare; pairs with the most similar names come first.
_MOST_PAIRS = 400
#: Share of the distinct values of a column that must be keys of the other table.
_INCLUDED = 0.9
#: Smallest score of a link: the included share times the similarity of the names.
_LIKELY = 0.6
_FEW_VALUES = 3
#: Score of a key whose name names its table.
_NAMES_TABLE = 2
#: Similarity of names that a whole number needs to be the key of a table whose keys have no gaps, where each is found.
_SURE_NAME = 0.7
#: Texts with so many values are found in another table by chance rarely: names count less, and fewer must be found.
_MANY_VALUES, _INCLUDED_TEXTS = 50, 0.6


@dataclass(frozen=True)
class Link:
    """A column whose values are keys of another table.

    Attributes
    ----------
    table, column : the column with the values.
    to_table, to_column : the table that is linked to, and its key.
    included : share of the distinct values that are keys of that table.
    name_score : similarity of the names, 0 to 1.
    orphans : the number of rows whose value is not a key of that table.
    is_telling : whether the values are so many different texts that two columns hardly share them by chance.

    """

    table: str
    column: str
    to_table: str
    to_column: str
    included: float
    name_score: float
    orphans: int
    is_telling: bool = False

    @property
    def score(self) -> float:
        """The included share, weighted by the similarity of the names."""
        least = 0.7 if self.is_telling else 0.4
        return self.included * (least + (1 - least) * self.name_score)


def key_columns(table: Loaded, columns: Sequence[Column]) -> list[Column]:
    """Return the columns that may be the key of a table (unique, never missing, not a measure), the most likely first."""
    able = [column for column in columns if column.is_unique and column.kind in {"integer", "string"}]
    able = [column for column in able if column.personal is None or column.treatment == "keep"]
    places = {column.name: place for place, column in enumerate(columns)}
    return sorted(able, key=lambda column: (-key_score(table.name, column), places[column.name]))


def key_score(table: str, column: Column) -> int:
    """Return how much a name looks like the key of `table`: 2 if it names the table, 1 if it is a usual key name, else 0."""
    if not KEY_NAME.search(column.name) and column.name != singular(table):
        return 0
    about = KEY_NAME.sub("", column.name).strip("_")
    return 2 if about in {"", singular(table), table} else 1


def singular(name: str) -> str:
    """Return the singular of a table's name.

    >>> singular("customers"), singular("categories"), singular("addresses"), singular("status")
    ('customer', 'category', 'address', 'status')
    """
    for ending, one in (("ies", "y"), ("sses", "ss"), ("xes", "x")):
        if name.endswith(ending) and len(name) > len(ending) + 1:
            return name.removesuffix(ending) + one
    return name[:-1] if name.endswith("s") and not name.endswith(("ss", "us", "is")) else name


def name_score(column: str, to_table: str, to_column: str) -> float:
    """Return the similarity of a column's name to a key's: 1 if they are equal, or if the column names table and key.

    >>> name_score("shop_id", "shops", "id"), name_score("home_shop_id", "shops", "shop_id")
    (1.0, 0.9)
    """
    names = {to_column, f"{singular(to_table)}_{to_column}", singular(to_table)}
    if re.fullmatch(r"id|key|code|no|nr", to_column):
        names.discard(to_column)
    if column in names:
        return 1.0
    if any(column.endswith(f"_{name}") for name in names):
        return 0.9
    return round(max(SequenceMatcher(None, column, name).ratio() for name in names) * 0.8, 2)


def find_links(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[tuple[Loaded, Sequence[Column]]]
) -> tuple[list[Link], int]:
    """Return the links between tables (the best of each column), and the number of pairs that were not compared."""
    pairs = sorted(_pairs(tables), key=lambda pair: (-pair.name_score, pair.table.name, pair.column.name))
    found = [link for pair in pairs[:_MOST_PAIRS] if (link := _compared(connection, pair))]
    best: dict[tuple[str, str], Link] = {}
    for link in sorted(found, key=lambda link: (-link.score, link.to_table, link.to_column)):
        best.setdefault((link.table, link.column), link)
    return sorted(best.values(), key=lambda link: (link.table, link.column)), max(0, len(pairs) - _MOST_PAIRS)


@dataclass(frozen=True)
class _Pair:
    table: Loaded
    column: Column
    to_table: Loaded
    to_column: Column
    name_score: float


def _pairs(tables: Sequence[tuple[Loaded, Sequence[Column]]]) -> Iterator[_Pair]:
    """Yield each column that may hold keys of another table, with the key column of that table."""
    for to_table, keys in tables:
        for key in key_columns(to_table, keys):
            for table, columns in tables:
                yield from (
                    _Pair(table, column, to_table, key, name_score(column.name, to_table.name, key.name))
                    for column in columns
                    if table.name != to_table.name and _may_hold(table.name, column, to_table.name, key)
                )


def _may_hold(table: str, column: Column, to_table: str, key: Column) -> bool:
    """Return whether a column may hold keys of another table; the numbers of its own table's rows do by chance only."""
    alike = column.kind == key.kind and _FEW_VALUES <= column.distinct <= key.distinct * 1.1
    if column.name == key.name:
        is_own = column.is_unique and key_score(table, column) > key_score(to_table, key)
        return alike and not is_own
    if column.kind != "integer":
        return alike
    is_own = column.is_unique and key_score(table, column) == _NAMES_TABLE
    return alike and KEY_NAME.search(column.name) is not None and not is_own


def _compared(connection: duckdb.DuckDBPyConnection, pair: _Pair) -> Link | None:
    values, keys = column_value(pair.table, pair.column), column_value(pair.to_table, pair.to_column)
    ((distinct, included, orphans),) = connection.execute(
        f"""SELECT count(*), count(key), coalesce(sum(rows) FILTER (key IS NULL), 0)
        FROM (SELECT {values} AS value, count(*) AS rows FROM {pair.table.relation} GROUP BY 1)
        LEFT JOIN (SELECT {keys} AS key FROM {pair.to_table.relation}) ON key = value WHERE value IS NOT NULL"""
    ).fetchall()
    share = included / distinct if distinct else 0.0
    to = pair.to_table.name, pair.to_column.name
    is_telling = pair.column.kind == "string" and distinct >= _MANY_VALUES
    link = Link(pair.table.name, pair.column.name, *to, share, pair.name_score, int(orphans), is_telling)
    is_found_by_chance = pair.name_score < _SURE_NAME and _has_no_gaps(pair.to_column)
    is_included = share >= (_INCLUDED_TEXTS if is_telling else _INCLUDED) and not is_found_by_chance
    return link if is_included and link.score >= _LIKELY else None


def _has_no_gaps(key: Column) -> bool:
    if key.kind != "integer" or key.smallest is None or key.largest is None:
        return False
    return int(float(key.largest)) - int(float(key.smallest)) < 2 * key.distinct
