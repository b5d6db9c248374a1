"""Parts of a source: rows with the same columns of the same types, in SQL, under the names that the source has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Why a line could not be read as a row, beside its columns, which are null then; the blank keeps it apart from names.
UNREAD = "why unread"


@dataclass(frozen=True)
class Part:
    """Files, or a table, whose rows have the same columns of the same types.

    Attributes
    ----------
    relation : SQL of the rows.
    columns : the SQL of each column, by its name in the source.
    what : the first of the files; empty of a table.
    types : DuckDB's types of the columns; what is not named is text.
    doubled : the names that several columns have, with the names that tell them apart.
    unread : SQL of why a line could not be read; None where every line can.

    """

    relation: str
    columns: dict[str, str]
    what: str = ""
    types: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: str | None = None

    def column(self, name: str, *, as_text: bool) -> str:
        """Compose the SQL of a column; the text of a float is that of a double, which names its value."""
        sql = self.columns[name]
        if not as_text:
            return sql
        return (
            f"CAST(CAST({sql} AS DOUBLE) AS VARCHAR)" if self.types.get(name) == "FLOAT" else f"CAST({sql} AS VARCHAR)"
        )


@dataclass(frozen=True)
class Names:
    """The names of columns by their positions, as pandas tells them apart.

    Attributes
    ----------
    columns : the SQL of each column by its name; blanks around a name may go.
    doubled : as in `Part`.

    """

    columns: dict[str, str]
    doubled: dict[str, tuple[str, ...]]


def position(number: int) -> str:
    """Name a column by its position."""
    return f"_{number}"


def by_position(header: Sequence[str]) -> Names:
    """Map the names of a header to the SQL of columns that are named by their positions.

    A column without a name is `Unnamed: 0` by its position; of several with one name, the second is `name.1`.
    """
    named, twins = _told_apart([name or f"Unnamed: {number}" for number, name in enumerate(header)])
    columns = {name: position(number) for number, name in enumerate(named)}
    bare = [name.strip() for name in named]
    shortened = {name.strip(): sql for name, sql in columns.items() if bare.count(name.strip()) == 1}
    return Names({**columns, **{name: sql for name, sql in shortened.items() if name not in columns}}, twins)


def _told_apart(header: Sequence[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Give each column a name of its own; return them, and those of the columns that had the same."""
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
