"""Labels: what happened to each entity within the horizon after an as-of instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from core.errors import PlanError
from feature_repo.duck import identifier
from feature_repo.view_rows import KNOWABLE, interval, span_query

if TYPE_CHECKING:
    import pyarrow as pa

    from core.plan import Label


def label_rows(connection: duckdb.DuckDBPyConnection, label: Label, key: str, rows: str, grid: str) -> pa.Table:
    """Label every pair of `grid` that belongs to the label's population.

    Parameters
    ----------
    connection, key, rows, grid : as for `feature_repo.view_rows.compute_view`; `rows` are those of the label's source.
    label : as the plan declares it. Its population is judged on the rows knowable at as of; its value on all rows with
        as of < event time <= as of + horizon, whenever they became known.

    Returns
    -------
    Columns `key`, `as_of` and `label` (int32, 0 or 1), sorted by the first two.

    Raises
    ------
    PlanError
        If the SQL of population or value fails, or a value is not 0 or 1.

    """
    after = f"source.event_time > grid.as_of AND source.event_time <= grid.as_of + {interval(label.horizon)}"
    members = span_query(key, rows, grid, {"member": label.population}, KNOWABLE)
    values = span_query(key, rows, grid, {"label": label.value}, after)
    quoted = identifier(key)
    try:
        table = connection.sql(
            f"""SELECT {quoted}, as_of, CAST(label AS INTEGER) AS label
                FROM ({values}) JOIN ({members}) USING ({quoted}, as_of) WHERE member ORDER BY {quoted}, as_of"""
        ).to_arrow_table()
    except duckdb.Error as error:
        raise PlanError(f"label: its SQL fails: {' '.join(str(error).split())}") from None
    found = set(table.column("label").unique().to_pylist())
    if not found <= {0, 1}:
        strange = min(map(str, found - {0, 1}))
        raise PlanError(f"label.value: {label.value!r} gives {strange}; a binary problem needs a condition, 0 or 1")
    return table
