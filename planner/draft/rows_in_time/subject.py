"""Whom the rows of a table are about: a key that repeats, such as that of a customer, or else the rows themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.errors import PantheraError
from planner.profile.column import column_value
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

    from planner.draft.sheet import Sheet
    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

#: Rows for each value from which on a key repeats, and its fewest values.
_REPEATED, _LEAST_KEYS = 1.5, 10
#: A text that numbers something: letters and digits without a blank.
_CODE = re.compile(r"(?=.*\d)[\w.:/-]{2,}")


def repeated_keys(profile: Profile, table: Table, left_out: Collection[str]) -> list[Column]:
    """Return the columns that identify whom several rows are about: linked ones first, then those of most values."""
    linked = {link.column for link in profile.links if link.table == table.name}
    able = [one for one in table.columns if one.name not in left_out and _may_repeat(one, table)]
    able = [one for one in able if one.name in linked or _is_named_or_code(one)]
    return sorted(able, key=lambda one: (one.name not in linked, -one.distinct))


def _may_repeat(column: Column, table: Table) -> bool:
    return (
        column.kind in {"integer", "string"}
        and not column.nulls
        and not column.faults
        and column.treatment is None
        and _LEAST_KEYS <= column.distinct <= table.rows / _REPEATED
    )


def _is_named_or_code(column: Column) -> bool:
    is_code = column.kind == "string" and bool(column.top) and all(_CODE.fullmatch(text) for text, _ in column.top)
    return KEY_NAME.search(column.name) is not None or column.leading_zeros > 0 or is_code


def row_subject(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    able: Sequence[Column],
    time: Column,
    key: str | None,
) -> Column | None:
    """Return the key of whom rows are about, which has one row at each instant; None if each row is one of its own.

    Raises
    ------
    PantheraError
        If the named key has several rows at one time.

    """
    named = key or sheet.answers.get("key")
    if named is not None:
        column = next((one for one in table.columns if named in {one.name, one.raw}), None)
        if column is None or column.is_unique or column not in able:
            return None  # the key of the rows themselves, or none, which is refused where that is chosen
        if not _has_one_row_at_once(connection, table, column, time):
            raise PantheraError(
                f"the key {column.raw!r} has several rows with the same {time.raw!r}; name a key of the rows with --key, or "
                "row_number to number them"
            )
        return column
    found = [one for one in able if _has_one_row_at_once(connection, table, one, time)]
    if len(found) < 2:  # noqa: PLR2004 - nothing to choose
        return found[0] if found else None
    asks = f"Whom is a row of {table.name} about?"
    options = [*(one.raw for one in found), *table.keys[:1]]
    answer = sheet.ask("key", asks, found[0].raw, options, "the entity, and whose earlier rows are features", 82)
    return next((one for one in found if answer in {one.name, one.raw}), None)


def _has_one_row_at_once(connection: duckdb.DuckDBPyConnection, table: Table, key: Column, time: Column) -> bool:
    value, at = column_value(table.loaded, key), column_value(table.loaded, time)
    ((pairs,),) = connection.execute(
        f"SELECT count(*) FROM (SELECT DISTINCT {value}, {at} FROM {table.loaded.relation})"
    ).fetchall()
    return int(pairs) == table.rows
