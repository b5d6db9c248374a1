"""Measure the columns of a table: distinct values, ranges, quantiles, and the most frequent values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from feature_repo.files.duck import identifier
from planner.profile.column import Column, column_value, plain_number
from planner.profile.texts import column_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

    from planner.profile.tables import Loaded
    from planner.profile.texts import Texts

#: From so many rows on, quantiles and frequent values are of every n-th row, about so many.
_MOST_ROWS = 2_000_000
#: Distinct values up to which a column is grouped exactly.
_GROUPED = 20_000
_TOPS = 10
#: Estimates of distinct values are off by some percent.
_NEARLY = 0.9
_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def measured(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts) -> Column:
    """Return the column with its distinct values, its range, its quantiles and its most frequent values."""
    if column.kind == "empty":
        return column
    value = _measured_value(table, column)
    column = replace(column, **_range(connection, table, column, texts, value))
    if column.distinct > _GROUPED:
        if column.distinct >= _NEARLY * column.values and column.kind != "number":
            column = _exact(connection, table, column, value)
        return column
    return _grouped(connection, column, texts, value)


def read_as(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, form: str) -> Column:
    """Return a column of times as it is in another of its formats."""
    return measured(connection, table, replace(column, forms=(form,)), column_texts(connection, table, column))


def _measured_value(table: Loaded, column: Column) -> str:
    """Compose the SQL of a column's value for statistics, which include numbers that the plan would reject."""
    has_sentinel = any(text.lstrip("+-")[:1].isdigit() for text in column.missing)
    if column.found == "VARCHAR" and column.is_numeric and not has_sentinel:
        return f"TRY_CAST({plain_number(identifier(column.name), table)} AS {_SQL_NUMBERS[column.kind]})"
    return column_value(table, column)


_SQL_NUMBERS: Mapping[str, str] = {"integer": "BIGINT", "number": "DOUBLE"}


def _range(
    connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts, value: str
) -> dict[str, Any]:
    """Return the fields of `Column` with its minimum and maximum, and of a number its mean and quantiles."""
    if not column.is_numeric:
        ((low, high),) = connection.execute(
            f"SELECT CAST(min({value}) AS VARCHAR), CAST(max({value}) AS VARCHAR) FROM {texts.relation}"
        ).fetchall()
        return {"smallest": low, "largest": high}
    number = f"CAST({value} AS DOUBLE)"
    ((low, high, mean, quantiles),) = connection.execute(
        f"SELECT min({value}), max({value}), avg({number}), quantile_cont({number}, {list(_QUANTILES)}) "
        f"FROM {table.relation} WHERE isfinite({number}) AND {sampling(table)}"
    ).fetchall()
    if low is None:
        return {}
    return {"smallest": str(low), "largest": str(high), "mean": float(mean), "quantiles": tuple(map(float, quantiles))}


def sampling(table: Loaded) -> str:
    """Compose the condition that selects rows at equal distances from a long table."""
    step = -(-table.rows // _MOST_ROWS)
    return f"rowid % {step} = 0" if step > 1 else "true"


def sampled_rows(table: Loaded) -> int | None:
    """Return the number of rows that quantiles are computed from; None if that is all rows."""
    step = -(-table.rows // _MOST_ROWS)
    return -(-table.rows // step) if step > 1 else None


def _exact(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, value: str) -> Column:
    ((distinct,),) = connection.execute(f"SELECT count(DISTINCT {value}) FROM {table.relation}").fetchall()
    return replace(column, distinct=int(distinct), is_exact=True)


def _grouped(connection: duckdb.DuckDBPyConnection, column: Column, texts: Texts, value: str) -> Column:
    rows = connection.execute(
        f"SELECT CAST(value AS VARCHAR), rows, count(*) OVER () FROM (SELECT {value} AS value, {texts.rows} AS rows "
        f"FROM {texts.relation} GROUP BY 1) WHERE value IS NOT NULL ORDER BY 2 DESC, 1 LIMIT {_TOPS}"
    ).fetchall()
    top = tuple((str(text), int(count)) for text, count, _ in rows)
    return replace(column, distinct=int(rows[0][2]) if rows else 0, is_exact=True, top=top)
