"""The statistics of features that Feast's monitoring (`feast monitor run`) computes, stored in a database table.

Feast requires an offline store to store them. They are stored as JSON documents, since Feast may add fields to its records.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from core.postgres.database import connect, ensure_database
from feature_repo.stores.registry import feast_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import psycopg

Record = dict[str, Any]


def measure(rows: pa.Table, kinds: Sequence[tuple[str, str]], histogram_bins: int, top_values: int) -> list[Record]:
    """Return Feast's statistics of `rows`: counts, moments, quantiles and a histogram, or the most frequent values.

    NaN and infinite numbers count as missing, since a histogram has no bin for them.

    Parameters
    ----------
    kinds : the name of each column with "numeric" or "categorical".

    """
    from feast.monitoring.metrics_calculator import MetricsCalculator

    finite = pa.table({name: _finite(rows.column(name)) for name, _ in kinds})
    measured: list[Record] = MetricsCalculator(histogram_bins, top_values).compute_all(finite, list(kinds))
    return measured


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def write_records(kind: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records; each replaces the one with the same identity."""
    from feast.monitoring.monitoring_utils import monitoring_table_meta

    _, columns, identity = monitoring_table_meta(kind)
    rows = [(kind, _document(record, identity), _document(record, columns)) for record in records]
    with _database() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO panthera.feast_metric (kind, identity, record) VALUES (%s, %s::jsonb, %s::jsonb) "
            "ON CONFLICT (kind, identity) DO UPDATE SET record = excluded.record",
            rows,
        )


def fetch_records(
    kind: str, fields: Mapping[str, Any], start: date | None = None, end: date | None = None
) -> list[Record]:
    """Fetch the records of the days from `start` to `end` with the values `fields`, by day; None matches any value."""
    with _database() as connection:
        found = connection.execute(
            "SELECT record FROM panthera.feast_metric WHERE kind = %s AND record @> %s::jsonb "
            "AND (%s::date IS NULL OR (record ->> 'metric_date')::date >= %s::date) "
            "AND (%s::date IS NULL OR (record ->> 'metric_date')::date <= %s::date) "
            "ORDER BY record ->> 'metric_date', identity",
            [kind, _filter(fields), start, start, end, end],
        ).fetchall()
    return [record for (record,) in found]


def end_baseline(fields: Mapping[str, Any]) -> None:
    """Unset the baseline flag of the feature records with the values `fields`."""
    with _database() as connection:
        connection.execute(
            "UPDATE panthera.feast_metric SET record = record || '{\"is_baseline\": false}' "
            "WHERE kind = 'feature' AND record @> %s::jsonb",
            [_filter({**fields, "is_baseline": True})],
        )


def _database() -> AbstractContextManager[psycopg.Connection]:
    return connect(ensure_database(feast_settings()))


def _filter(fields: Mapping[str, Any]) -> str:
    return _document(fields, [name for name, value in fields.items() if value is not None])


def _document(record: Mapping[str, Any], names: Sequence[str]) -> str:
    return json.dumps({name: _finite_or_none(record.get(name)) for name in names}, default=_iso_time, allow_nan=False)


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _iso_time(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"a record of Feast's monitoring holds a {type(value).__name__}, which has no form in JSON")
