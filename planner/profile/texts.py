"""The distinct texts of a column with their numbers of rows, so that a text that recurs is parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier

if TYPE_CHECKING:
    import duckdb

    from planner.profile.column import Column
    from planner.profile.tables import Loaded

#: Rows from which on a table is long: an additional statement costs less than it saves.
LONG = 100_000
#: Mean number of rows of a text from which on its column is grouped.
_REPEATED = 10
_ROWS = identifier("rows of a text")


@dataclass(frozen=True)
class Texts:
    """The values of a column: the rows of its table, or its distinct texts.

    Attributes
    ----------
    relation : the SQL of the relation, in which the column has its own name.
    rows : the SQL aggregate that counts rows of the table.

    """

    relation: str
    rows: str = "count(*)"

    def rows_with(self, condition: str) -> str:
        """Compose the SQL of the number of rows of the table that fulfil a condition."""
        return f"coalesce({self.rows} FILTER ({condition}), 0)"


def column_texts(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column) -> Texts:
    """Return the distinct texts of a column if they recur in a long table, else its rows; valid until the next call."""
    if table.rows < LONG or column.found != "VARCHAR" or column.distinct * _REPEATED > table.rows:
        return Texts(table.relation)
    raw, relation = identifier(column.name), identifier("texts of a column")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {relation} AS SELECT {raw}, count(*) AS {_ROWS} FROM {table.relation} "
        f"WHERE {raw} IS NOT NULL GROUP BY 1"
    )
    return Texts(relation, f"sum({_ROWS})")
