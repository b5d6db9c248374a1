"""The profile of data: its tables with their columns, keys and times, and the links between them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.terminal import terminal_table
from planner.profile.columns import profile_columns
from planner.profile.links import find_links, key_columns
from planner.profile.measured import sampled_rows
from planner.profile.tables import load_tables
from planner.profile.times import known_column, measure_delay, measure_times, time_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    from rich.console import RenderableType

    from planner.profile.column import Column
    from planner.profile.links import Link
    from planner.profile.tables import Loaded
    from planner.profile.times import Delay, Times

FORMAT_VERSION = 1
#: Columns of times that are measured in a table.
_TIMES = 8


@dataclass(frozen=True)
class Table:
    """The profile of a table.

    Attributes
    ----------
    loaded : the table in DuckDB, and the plan's reader for it.
    columns : the profiles of its columns.
    keys : the columns that may be its key, the most likely first.
    times : the columns of times, the most likely event time first.
    delay : how late its rows became known; None without a column of that time.
    sampled : the number of rows that quantiles are computed from; None if that is all rows.

    """

    loaded: Loaded
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    times: tuple[Times, ...]
    delay: Delay | None
    sampled: int | None

    @property
    def name(self) -> str:
        """The name in the plan."""
        return self.loaded.name

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.loaded.rows

    def column(self, name: str) -> Column:
        """Return the column with this name in the plan."""
        return next(column for column in self.columns if column.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON types."""
        return {
            "name": self.name,
            "reader": self.loaded.reader.model_dump(mode="json", exclude_defaults=True),
            "rows": self.rows,
            "lines_left_out": self.loaded.unread,
            "rows_sampled": self.sampled,
            "keys": list(self.keys),
            "times": [_plain(asdict(times)) for times in self.times],
            "delay": _plain(asdict(self.delay)) if self.delay else None,
            "columns": [_plain(asdict(column)) for column in self.columns],
        }


@dataclass(frozen=True)
class Profile:
    """The profile of several tables.

    Attributes
    ----------
    tables : in the order in which they were named.
    links : the columns that hold keys of other tables.
    not_compared : pairs of columns that were not compared for links, because there were too many.
    target : the column whose associations are shown, as `table.column`; None without one.
    associations : how well each column of the target's table predicts it alone: the area under the ROC curve, or R2.

    """

    tables: tuple[Table, ...]
    links: tuple[Link, ...]
    not_compared: int = 0
    target: str | None = None
    associations: Mapping[str, float] | None = None

    def table_named(self, name: str) -> Table:
        """Return the table with this name in the plan."""
        return next(table for table in self.tables if table.name == name)

    def to_dict(self) -> dict[str, object]:
        """Return the profile as JSON types."""
        return {
            "format_version": FORMAT_VERSION,
            "tables": [table.to_dict() for table in self.tables],
            "links": [_plain(asdict(link)) for link in self.links],
            "pairs_not_compared": self.not_compared,
            "target": self.target,
            "associations": _plain(dict(self.associations)) if self.associations is not None else None,
        }

    def table(self) -> RenderableType:
        """Return the tables for a terminal."""
        from rich.console import Group

        shown: list[RenderableType] = [_shown(table, self._strength(table)) for table in self.tables]
        if self.links:
            links = terminal_table("column", "key", "values found", "orphans", title="Links", numbers={"orphans"})
            for link in self.links:
                to = f"{link.to_table}.{link.to_column}"
                links.add_row(f"{link.table}.{link.column}", to, f"{link.included:.1%}", f"{link.orphans:,}")
            shown.append(links)
        if self.not_compared:
            shown.append(f"{self.not_compared:,} pairs of columns were not compared for links.")
        return Group(*shown)

    def _strength(self, table: Table) -> Mapping[str, float]:
        own = self.target is not None and self.target.partition(".")[0] == table.name
        return self.associations or {} if own else {}


def profile_data(connection: duckdb.DuckDBPyConnection, data: Sequence[str], scratch: Path) -> Profile:
    """Load the tables that `data` names and return their profile.

    Raises
    ------
    SourceError
        If there is no table, or one cannot be read.

    """
    tables = tuple(_table(connection, loaded) for loaded in load_tables(connection, data, scratch))
    links, left_out = find_links(connection, [(table.loaded, table.columns) for table in tables])
    return Profile(tables, tuple(links), left_out)


def _table(connection: duckdb.DuckDBPyConnection, loaded: Loaded) -> Table:
    columns = profile_columns(connection, loaded)
    keys = tuple(column.name for column in key_columns(loaded, columns))
    able = time_columns(columns)[:_TIMES]
    times = tuple(found for column in able if (found := measure_times(connection, loaded, column)))
    known = known_column(columns, able[0].name) if able else None
    delay = measure_delay(connection, loaded, able[0], known) if known else None
    return Table(loaded, tuple(columns), keys, times, delay, sampled_rows(loaded))


def _plain(value: Any) -> Any:
    """Return a value as JSON types; NaN and infinity are null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(table: Table, strength: Mapping[str, float]) -> RenderableType:
    headings = ["column", "kind", "missing", "distinct", "values", "notes"]
    caption = f"{table.sampled:,} rows at equal distances gave the quantiles." if table.sampled else None
    shown = terminal_table(
        *headings,
        numbers={"missing", "distinct"},
        title=f"{table.name}: {table.rows:,} rows, {len(table.columns)} columns",
        caption=caption,
    )
    for column in table.columns:
        notes = "; ".join(
            column_notes(column, is_key=column.name in table.keys[:1], strength=strength.get(column.name))
        )
        about = "" if column.is_exact else "about "
        missing = f"{column.nulls / column.rows:.1%}" if column.nulls else ""
        shown.add_row(column.raw, column.kind, missing, f"{about}{column.distinct:,}", values_text(column), notes)
    return shown


def values_text(column: Column) -> str:
    """Compose the range of a number or a time, or the most frequent values of another column."""
    if column.is_numeric and column.quantiles:
        low, median, high = (column.quantiles[place] for place in (0, 4, -1))
        return f"{low:g} … {median:g} … {high:g}"
    if column.is_time:
        length = len("2000-01-01") if column.kind == "date" else None
        return " … ".join(str(end)[:length] for end in (column.smallest, column.largest))
    if column.personal and column.treatment != "keep":
        return "not shown"
    return ", ".join(_cut(text) for text, _ in column.top[:4])


def _cut(text: str, length: int = 24) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def column_notes(column: Column, *, is_key: bool, strength: float | None = None) -> Iterator[str]:
    """Yield the unusual facts about a column, as texts."""
    if is_key:
        yield "key"
    if column.kind != "empty" and column.is_constant:
        yield "constant"
    if column.missing:
        yield "missing: " + ", ".join(f"{text!r} {rows:,}" for text, rows in column.missing.items())
    if column.faults:
        yield f"{column.faults:,} of another kind"
    if column.leading_zeros and not column.is_time:
        yield f"{column.leading_zeros:,} with leading zeros"
    if len(column.forms) > 1:
        yield f"read as {column.forms[0]} or {column.forms[1]}"
    elif column.forms:
        yield column.forms[0]
    if column.personal:
        yield column.personal
    if strength is not None and math.isfinite(strength):
        yield f"tells {strength:.2f} of the target"
