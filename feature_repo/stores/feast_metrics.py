"""What Feast's monitoring (`feast monitor run`) measures and keeps: statistics of features, in a table of the database.

Feast asks an offline store to keep them. Its records are documents whose fields it may add to, so they are kept as such.
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
    """Describe the columns of `rows` as Feast does: counts, moments, quantiles and a histogram, or the most frequent values.

    Parameters
    ----------
    kinds : the name of each column with "numeric" or "categorical".

    A number that is none, or infinite, counts as missing: it has no place in a histogram.

    """
    from feast.monitoring.metrics_calculator import MetricsCalculator

    finite = pa.table({name: _finite(rows.column(name)) for name, _ in kinds})
    measured: list[Record] = MetricsCalculator(histogram_bins, top_values).compute_all(finite, list(kinds))
    return measured


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def keep(kind: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Keep records in place of those about the same thing."""
    from feast.monitoring.monitoring_utils import monitoring_table_meta

    _, columns, identity = monitoring_table_meta(kind)
    rows = [(kind, _document(record, identity), _document(record, columns)) for record in records]
    with _database() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO panthera.feast_metric (kind, identity, record) VALUES (%s, %s::jsonb, %s::jsonb) "
            "ON CONFLICT (kind, identity) DO UPDATE SET record = excluded.record",
            rows,
        )


def kept(kind: str, fields: Mapping[str, Any], start: date | None = None, end: date | None = None) -> list[Record]:
    """Read the records of the days from `start` to `end` that have all of `fields`, by day; one that is None may be any."""
    with _database() as connection:
        found = connection.execute(
            "SELECT record FROM panthera.feast_metric WHERE kind = %s AND record @> %s::jsonb "
            "AND (%s::date IS NULL OR (record ->> 'metric_date')::date >= %s::date) "
            "AND (%s::date IS NULL OR (record ->> 'metric_date')::date <= %s::date) "
            "ORDER BY record ->> 'metric_date', identity",
            [kind, _asked(fields), start, start, end, end],
        ).fetchall()
    return [record for (record,) in found]


def end_baseline(fields: Mapping[str, Any]) -> None:
    """Let no record of a feature that has all of `fields` be its baseline any more."""
    with _database() as connection:
        connection.execute(
            "UPDATE panthera.feast_metric SET record = record || '{\"is_baseline\": false}' "
            "WHERE kind = 'feature' AND record @> %s::jsonb",
            [_asked({**fields, "is_baseline": True})],
        )


def _database() -> AbstractContextManager[psycopg.Connection]:
    return connect(ensure_database(feast_settings()))


def _asked(fields: Mapping[str, Any]) -> str:
    return _document(fields, [name for name, value in fields.items() if value is not None])


def _document(record: Mapping[str, Any], names: Sequence[str]) -> str:
    return json.dumps({name: _or_none(record.get(name)) for name in names}, default=_written, allow_nan=False)


def _or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _written(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"a record of Feast's monitoring holds a {type(value).__name__}, which has no form in JSON")
