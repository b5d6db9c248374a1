"""Count the logged values of a release in the bins of its reference distributions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from psycopg import sql

from core.reference import BinCounts

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

    from core.reference import ColumnReference, Reference

#: Column name of the score.
SCORE = "score"
_MISSING, _OTHER = -1, -2


def fetch_served_counts(
    connection: psycopg.Connection,
    release_id: str,
    reference: Reference,
    start: datetime | None,
    end: datetime | None,
) -> dict[str, BinCounts]:
    """Fetch the counts of a release's predictions with start < as_of <= end, by column and bin, in one pass over the log.

    In the logged vector, a JSON null or an absent key counts as missing, a value of another type than the column's as other.
    None leaves that side of the window open.
    """
    query = sql.SQL(
        "SELECT counted.name, counted.bin, count(*) FROM panthera.prediction AS logged "
        "CROSS JOIN LATERAL (VALUES {bins}) AS counted (name, bin) "
        "WHERE {served} GROUP BY counted.name, counted.bin"
    ).format(
        bins=sql.SQL(", ").join(
            sql.SQL("({}, {})").format(column.name, _bin_of(column)) for column in reference.columns
        ),
        served=served_by(release_id, start, end),
    )
    counts: dict[str, Counter[int]] = {column.name: Counter() for column in reference.columns}
    for name, bin_index, rows in connection.execute(query):
        counts[name][bin_index] = rows
    return {column.name: _bin_counts(column, counts[column.name]) for column in reference.columns}


def served_by(release_id: str | None, start: datetime | None, end: datetime | None) -> sql.Composed:
    """Compose the SQL condition on `logged` for the predictions with start < as_of <= end of a release, or of all."""
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if release_id is not None:
        conditions.append(sql.SQL("logged.release_id = {}").format(release_id))
    if start is not None:
        conditions.append(sql.SQL("logged.as_of > {}").format(start))
    if end is not None:
        conditions.append(sql.SQL("logged.as_of <= {}").format(end))
    return sql.SQL(" AND ").join(conditions)


def _bin_counts(column: ColumnReference, rows: Counter[int]) -> BinCounts:
    regular = tuple(rows[index] for index in range(len(column.counts.regular)))
    return BinCounts(regular, other=rows[_OTHER], missing=rows[_MISSING])


def _bin_of(column: ColumnReference) -> sql.Composed:
    if column.name == SCORE:
        return sql.SQL(
            "CASE WHEN logged.score = 'NaN' THEN {} ELSE width_bucket(logged.score, {}::float8[]) END"
        ).format(_MISSING, list(column.edges))
    return sql.SQL(
        "CASE WHEN coalesce(jsonb_typeof(logged.features -> {name}), 'null') = 'null' THEN {missing} "
        "WHEN jsonb_typeof(logged.features -> {name}) = ANY ({types}) THEN {bin} ELSE {other} END"
    ).format(
        name=column.name,
        types=_JSON_TYPES[column.kind],
        missing=_MISSING,
        other=_OTHER,
        bin=_regular_bin(column),
    )


_JSON_TYPES = {"numeric": ["number"], "timestamp": ["string"], "levels": ["string", "boolean"]}


def _regular_bin(column: ColumnReference) -> sql.Composed:
    value = sql.SQL("(logged.features ->> {})").format(column.name)
    if column.kind == "levels":
        return sql.SQL("coalesce(array_position({}::text[], {}) - 1, {})").format(list(column.levels), value, _OTHER)
    number = sql.SQL("extract(epoch FROM {}::timestamptz)" if column.kind == "timestamp" else "{}").format(value)
    return sql.SQL("width_bucket({}::float8, {}::float8[])").format(number, list(column.edges))
