"""Compute a feature view: its facts for given (entity, as of) pairs, from the rows that were knowable then.

This is the one place that gives the plan's feature SQL a meaning. The build of snapshots, the label, and the parity check
all come through here. A row counts at `as_of` when it had happened and was known: event time <= as_of and created time
<= as_of; a window (with its lag) further keeps as_of - lag - window < event time <= as_of - lag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from core.errors import PlanError
from feature_repo.duck import SQL_TYPES, identifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import pyarrow as pa

    from core.plan import Feature, View

#: Which rows a feature looks at: of which source, in which window, with which lag.
_Span = tuple[str, "timedelta | None", "timedelta | None"]

#: The condition under which a row counts at an as-of instant.
KNOWABLE = "source.event_time <= grid.as_of AND source.created_time <= grid.as_of"


def interval(length: timedelta) -> str:
    """Write `length` as an SQL interval."""
    return f"INTERVAL {int(length.total_seconds())} SECOND"


def _in_span(span: _Span) -> str:
    _, window, lag = span
    end = "grid.as_of" if lag is None else f"grid.as_of - {interval(lag)}"
    bounds = [KNOWABLE]
    if lag is not None:
        bounds.append(f"source.event_time <= {end}")
    if window is not None:
        bounds.append(f"source.event_time > {end} - {interval(window)}")
    return " AND ".join(bounds)


def _by_span(view: View) -> dict[_Span, dict[str, Feature]]:
    spans: dict[_Span, dict[str, Feature]] = {}
    for name, feature in view.features.items():
        if feature.over == "rows":
            spans.setdefault((feature.source or view.source, feature.window, feature.lag), {})[name] = feature
    return spans


def _cast(feature: Feature) -> str:
    return f"CAST(({feature.sql}) AS {SQL_TYPES[feature.dtype]})"


def span_query(key: str, rows: str, grid: str, expressions: dict[str, str], knowable: str) -> str:
    """Evaluate aggregates over the rows of every pair in `grid`, empty ones as SQL does over no row (a count is 0).

    `expressions` maps a name to an aggregate over the columns of `rows` and `as_of`; `knowable` chooses the rows of a
    pair by `source` and `grid`.
    """
    key = identifier(key)
    names = [identifier(name) for name in expressions]
    facts = ", ".join(f"{sql} AS {name}" for sql, name in zip(expressions.values(), names, strict=True))
    empty = ", ".join(
        f"(SELECT {sql} FROM {rows} AS source WHERE false HAVING count(*) = 0) AS {name}"
        for sql, name in zip(expressions.values(), names, strict=True)
    )
    chosen = ", ".join(
        f"CASE WHEN facts.{key} IS NULL THEN empty.{name} ELSE facts.{name} END AS {name}" for name in names
    )
    return f"""
        WITH facts AS (
            SELECT grid.{key}, grid.as_of, {facts}
            FROM {grid} AS grid JOIN {rows} AS source ON source.{key} = grid.{key} AND {knowable}
            GROUP BY grid.{key}, grid.as_of
        ), empty AS (
            SELECT instants.as_of, {empty} FROM (SELECT DISTINCT as_of FROM {grid}) AS instants
        )
        SELECT grid.{key}, grid.as_of, {chosen}
        FROM {grid} AS grid JOIN empty USING (as_of)
        LEFT JOIN facts ON facts.{key} = grid.{key} AND facts.as_of = grid.as_of"""


def view_query(view: View, key: str, rows: Mapping[str, str], grid: str) -> str:
    """Write the query of `view` over the relations `rows` and `grid`, named as in `compute_view`."""
    parts = _by_span(view)
    if not parts:
        parts = {(view.source, None, None): {}}
    queries = [
        span_query(
            key, rows[span[0]], grid, {name: _cast(feature) for name, feature in members.items()}, _in_span(span)
        )
        for span, members in parts.items()
    ]
    joined = f"({queries[0]}) AS part0" + "".join(
        f" JOIN ({query}) AS part{number} USING ({identifier(key)}, as_of)"
        for number, query in enumerate(queries[1:], 1)
    )
    derived = "".join(
        f", {_cast(feature)} AS {identifier(name)}"
        for name, feature in view.features.items()
        if feature.over == "features"
    )
    columns = ", ".join(identifier(name) for name in view.features)
    return f"""
        SELECT {identifier(key)}, as_of AS event_timestamp, as_of AS created_timestamp, {columns}
        FROM (SELECT *{derived} FROM {joined})
        ORDER BY {identifier(key)}, as_of"""


def compute_view(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> pa.Table:
    """Compute `view` for every pair of `grid`.

    Parameters
    ----------
    connection : from `open_duckdb`.
    view : as the plan declares it.
    key : name of the entity's key column.
    rows : for each source of the view, the name of a relation with its accepted rows: `key`, `event_time`,
        `created_time` and the source's columns.
    grid : name of a relation with the distinct pairs (`key`, `as_of`).

    Returns
    -------
    A table of one row for each pair, sorted: `key`, event_timestamp (the as-of), created_timestamp (the same: all that went
    into the row was known by then), and each feature in its declared dtype; null where its SQL gives null.

    Raises
    ------
    PlanError
        If a feature's SQL is refused by DuckDB, with the feature's name.

    """
    try:
        return connection.sql(view_query(view, key, rows, grid)).to_arrow_table()
    except duckdb.Error as error:
        raise PlanError(blame(connection, view, key, rows, grid) or f"{view.source}: {error}") from None


def blame(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> str | None:
    """Find the first feature whose SQL fails on its own, with DuckDB's reason; None if each works alone."""
    sound: dict[str, Feature] = {}
    for name, feature in view.features.items():
        needed = {**sound, name: feature} if feature.over == "features" else {name: feature}
        alone = view.model_copy(update={"features": needed})
        try:
            connection.execute(view_query(alone, key, rows, grid)).fetchall()
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            source = feature.source or view.source
            return f"the feature {name!r} over {source!r} has an SQL that fails: {feature.sql!r}: {reason}"
        sound[name] = feature
    return None
