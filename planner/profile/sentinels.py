"""Numbers that mean a missing value, such as -999: repeated, at the end of the range, and far from all other values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier
from planner.profile.column import column_value
from planner.profile.measured import measured

if TYPE_CHECKING:
    import duckdb

    from planner.profile.column import Column
    from planner.profile.tables import Loaded
    from planner.profile.texts import Texts

#: Digits of the numbers that people write for a missing value.
_DIGITS = ("99", "999", "9999", "99999", "999999")
_LEAST_ROWS = 3


def without_sentinel(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts) -> Column:
    """Return the column with a number that means a missing value among its words for one."""
    end = next((one for one in (column.smallest, column.largest) if one is not None and _is_sentinel(one)), None)
    if not column.is_numeric or end is None or not _is_apart(connection, table, column, float(end)):
        return column
    value, raw = column_value(table, column), identifier(column.name)
    rows = connection.execute(
        f"SELECT trim(CAST({raw} AS VARCHAR)), {texts.rows} FROM {texts.relation} WHERE {value} = {float(end)!r} "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    missing = {str(text): int(count) for text, count in rows}
    if sum(missing.values()) < _LEAST_ROWS:
        return column
    nulls = column.nulls + sum(missing.values())
    return measured(connection, table, replace(column, missing={**column.missing, **missing}, nulls=nulls), texts)


def _is_sentinel(number: str) -> bool:
    """Return whether a number consists of nines, or is a negative number of nines.

    >>> _is_sentinel("-999.0"), _is_sentinel("9999"), _is_sentinel("99"), _is_sentinel("-98")
    (True, True, False, False)
    """
    digits = number.removesuffix(".0").removeprefix("-")
    return digits in _DIGITS and (number.startswith("-") or digits not in _DIGITS[:1])


def _is_apart(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, end: float) -> bool:
    """Return whether the other values span less than their distance from `end`, and a few differ."""
    value = f"CAST({column_value(table, column)} AS DOUBLE)"
    ((low, high),) = connection.execute(
        f"SELECT min({value}), max({value}) FROM {table.relation} WHERE {value} <> {end!r} AND isfinite({value})"
    ).fetchall()
    if low is None or low == high:
        return False
    gap = low - end if end < low else end - high
    return bool(gap > high - low or (end < 0 <= low))
