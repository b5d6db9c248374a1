"""A part of a source: rows with the same columns and types, in SQL, under the source's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The column with the reason why a line could not be read; then the others are null. No column of a plan has a blank.
UNREAD = "why unread"


@dataclass(frozen=True)
class Part:
    """Files, or a table, whose rows have the same columns and types.

    Attributes
    ----------
    relation : the rows, in SQL.
    columns : the SQL of each column, by its name in the source.
    what : the first of the files; empty for a table.
    types : DuckDB's type of each column; a column that is not named is text.
    doubled : each name that several columns have, with the distinct names of these columns.
    unread : SQL of the reason why a line could not be read as a row; None if every line can be read.

    """

    relation: str
    columns: dict[str, str]
    what: str = ""
    types: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: str | None = None

    def column(self, name: str, *, as_text: bool) -> str:
        """Compose the SQL of a column; a float becomes text by way of double, whose text has all its digits."""
        sql = self.columns[name]
        if not as_text:
            return sql
        return (
            f"CAST(CAST({sql} AS DOUBLE) AS VARCHAR)" if self.types.get(name) == "FLOAT" else f"CAST({sql} AS VARCHAR)"
        )


@dataclass(frozen=True)
class Names:
    """The names of columns, made distinct as pandas does.

    Attributes
    ----------
    columns : the SQL of each column by its name; by its name without the blanks around it too, if only one column has that.
    doubled : as in `Part`.

    """

    columns: dict[str, str]
    doubled: dict[str, tuple[str, ...]]


def position(number: int) -> str:
    """Return the SQL name of the column at an index, from 0 on."""
    return f"_{number}"


def by_position(header: Sequence[str]) -> Names:
    """Return the names of a header, with the SQL of each column; in SQL a column is named by its position.

    A column without a name is called `Unnamed: 0`, by its position. The second column of one name is called `name.1`.
    """
    named, twins = _told_apart([name or f"Unnamed: {number}" for number, name in enumerate(header)])
    columns = {name: position(number) for number, name in enumerate(named)}
    bare = [name.strip() for name in named]
    shortened = {name.strip(): sql for name, sql in columns.items() if bare.count(name.strip()) == 1}
    return Names({**columns, **{name: sql for name, sql in shortened.items() if name not in columns}}, twins)


def _told_apart(header: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return a distinct name for each column; and for each repeated name, the distinct names of its columns."""
    taken, named, twins = set(header), list[str](), dict[str, tuple[str, ...]]()
    for name in header:
        own = name
        if name in named:
            number = 1
            while (own := f"{name}.{number}") in taken:
                number += 1
            taken.add(own)
            twins[name] = (*twins.get(name, (name,)), own)
        named.append(own)
    return named, twins
