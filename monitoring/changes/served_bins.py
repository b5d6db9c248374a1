"""SQL for the bins of a logged prediction: each value of its vector becomes a number, the position of its bin in one list."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from psycopg import sql

from core.reference import BinCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.reference import ColumnReference, Reference

#: Column name of the score.
SCORE = "score"
#: What the name of a column of a record may have in PostgreSQL: longer ones are cut, and a record has at most 1,600 columns.
_BYTES_OF_A_NAME, _COLUMNS_OF_A_RECORD = 63, 1_500
_JSON_TYPES = {"numeric": ["number"], "timestamp": ["string"], "levels": ["string", "boolean"]}


def number_of_bins(reference: Reference) -> int:
    """Return the number of bins of all columns."""
    return sum(len(column.counts.every_bin) for column in reference.columns)


def counts_by_column(reference: Reference, counts: Sequence[int]) -> dict[str, BinCounts]:
    """Return the counts of all bins, in the order of the columns and of `BinCounts.every_bin`, by column."""
    return {
        column.name: BinCounts(tuple(bins[:-2]), other=bins[-2], missing=bins[-1])
        for column, bins in (
            (column, counts[first : first + len(column.counts.every_bin)])
            for column, first in zip(reference.columns, _first_bins(reference), strict=True)
        )
    }


def vectors(reference: Reference) -> sql.Composed:
    """Compose the join with the values of the vector of `logged`, which are read in one pass."""
    columns = [sql.SQL("{} jsonb").format(sql.Identifier(name)) for name in _names_in_record(reference)]
    if not columns:
        return sql.Composed([])
    return sql.SQL("CROSS JOIN LATERAL jsonb_to_record(logged.features) AS vector ({})").format(
        sql.SQL(", ").join(columns)
    )


def bins_of_row(reference: Reference) -> sql.Composed:
    """Compose the array of the bins of a row of `logged` joined with `vectors`.

    A JSON null or an absent key is in the bin of missing values. A value of another type than the column's is in the bin of
    other values.
    """
    in_record = frozenset(_names_in_record(reference))
    return sql.SQL("ARRAY[{}]").format(
        sql.SQL(", ").join(
            sql.SQL("{} + {}").format(first, _bin_of(column, _value_of(column.name, in_record)))
            for column, first in zip(reference.columns, _first_bins(reference), strict=True)
        )
    )


def _first_bins(reference: Reference) -> list[int]:
    return list(accumulate((len(column.counts.every_bin) for column in reference.columns), initial=0))[:-1]


def _names_in_record(reference: Reference) -> list[str]:
    names = [column.name for column in reference.columns if column.name != SCORE]
    return [name for name in names if len(name.encode()) <= _BYTES_OF_A_NAME][:_COLUMNS_OF_A_RECORD]


def _value_of(name: str, in_record: frozenset[str]) -> sql.Composable:
    return sql.Identifier("vector", name) if name in in_record else sql.SQL("(logged.features -> {})").format(name)


def _bin_of(column: ColumnReference, value: sql.Composable) -> sql.Composed:
    other, missing = len(column.counts.regular), len(column.counts.regular) + 1
    if column.name == SCORE:
        return sql.SQL(
            "CASE WHEN logged.score = 'NaN' THEN {} ELSE width_bucket(logged.score, {}::float8[]) END"
        ).format(missing, list(column.edges))
    return sql.SQL(
        "CASE WHEN coalesce(jsonb_typeof({value}), 'null') = 'null' THEN {missing} "
        "WHEN jsonb_typeof({value}) = ANY ({types}) THEN {bin} ELSE {other} END"
    ).format(
        value=value,
        types=_JSON_TYPES[column.kind],
        missing=missing,
        other=other,
        bin=_regular_bin(column, value, other),
    )


def _regular_bin(column: ColumnReference, value: sql.Composable, other: int) -> sql.Composed:
    if column.kind == "levels":
        return sql.SQL("coalesce(array_position({}::text[], {} #>> '{{}}') - 1, {})").format(
            list(column.levels), value, other
        )
    number = sql.SQL("extract(epoch FROM ({} #>> '{{}}')::timestamptz)" if column.kind == "timestamp" else "{}").format(
        value
    )
    return sql.SQL("width_bucket({}::float8, {}::float8[])").format(number, list(column.edges))
