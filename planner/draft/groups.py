"""The groups that a split keeps together: people, patients or shops with several rows in a table whose rows are predicted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier
from planner.profile.column import column_value
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from planner.draft.sheet import Sheet
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: Shares of distinct values between which a column can be a group: many groups, of two rows and more on average.
_FEWEST, _MOST = 0.02, 0.5
_LEAST_GROUPS = 20
#: Other columns by which groups are recognised: at least one has one value for each group.
_MOST_OTHERS = 30
_CODE = re.compile(r"[A-Za-z]{0,4}[-_/ ]?\d+")
#: Numbers of places, which are values of a row.
_PLACE = re.compile(r"(^|_)(zip|postal|post|postcode|plz|area)($|_)")
_NO_GROUP = "none"


def draft_group(sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, own: Sequence[str]) -> Column | None:
    """Return the column whose rows the split keeps together; None without one. `own` are the key and the target."""
    able = [column for column in table.columns if column.name not in own and _may_be_group(column)]
    found = [column for column in able if _has_attribute(connection, table, column, own)]
    if not found:
        return None
    best = max(found, key=lambda column: column.distinct)
    asks = f"Do rows with the same {best.raw!r} belong together, such as those of one person?"
    changes = "the split: rows that belong together are never both trained on and tested on"
    options = [*(column.raw for column in found), _NO_GROUP]
    answer = sheet.ask("group", asks, best.raw, options, changes, 75)
    return next((column for column in found if answer in {column.name, column.raw}), None)


def _may_be_group(column: Column) -> bool:
    is_code = all(_CODE.fullmatch(text) for text, _ in column.top) and column.kind == "string" and bool(column.top)
    is_number = KEY_NAME.search(column.name) is not None or column.leading_zeros > 0 or is_code
    return (
        column.kind in {"integer", "string"}
        and is_number
        and not column.nulls
        and column.treatment != "remove"
        and _PLACE.search(column.name) is None
        and max(_LEAST_GROUPS, _FEWEST * column.rows) <= column.distinct <= _MOST * column.rows
    )


def _has_attribute(connection: duckdb.DuckDBPyConnection, table: Table, group: Column, own: Sequence[str]) -> bool:
    """Return whether another column has one value for each group, as the sex of a person has."""
    others = [one for one in table.columns if one.name not in {*own, group.name} and not one.is_constant]
    others = [one for one in others if one.kind not in {"text", "empty"}][:_MOST_OTHERS]
    if not others:
        return False
    key = column_value(table.loaded, group)
    counts = [f"count(DISTINCT {column_value(table.loaded, one)}) AS {identifier(one.name)}" for one in others]
    most = ", ".join(f"max({identifier(one.name)})" for one in others)
    (row,) = connection.execute(
        f"SELECT {most} FROM (SELECT {', '.join(counts)} FROM {table.loaded.relation} GROUP BY {key})"
    ).fetchall()
    return any(value == 1 for value in row)
