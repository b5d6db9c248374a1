"""Read the entity rows of a retrieval, from pandas, Arrow or SQL, as Arrow with times in UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from feast.errors import EntityTimestampInferenceException

from core.errors import SourceError
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.join.time_line import INSTANT

if TYPE_CHECKING:
    from pathlib import Path

#: Feast's name of the as-of column.
AS_OF = "event_timestamp"


def read_entity_frame(frame: pd.DataFrame | pa.Table | str, folder: Path) -> tuple[pa.Table, str]:
    """Return entity rows in Arrow, and the name of their as-of column, which is in microseconds of UTC.

    Times of any unit and zone are converted. Times without a zone are UTC, by Feast's convention.

    Parameters
    ----------
    frame : a table, or a DuckDB query in which relative file names are resolved against `folder`.

    Raises
    ------
    EntityTimestampInferenceException
        If there is neither a column `event_timestamp` nor exactly one timestamp column.
    SourceError
        If the query or the conversion fails.

    """
    if isinstance(frame, str):
        return _in_utc(_query(frame, folder))
    if isinstance(frame, pd.DataFrame):
        return _in_utc(_from_pandas(frame))
    if isinstance(frame, pa.Table):
        return _in_utc(frame)
    raise SourceError(
        f"the entity rows are a {type(frame).__name__}; expected is a pandas or Arrow table, or an SQL query"
    )


def _query(query: str, folder: Path) -> pa.Table:
    import duckdb

    with open_duckdb() as connection:
        connection.execute(f"SET file_search_path = {literal(folder)}")
        try:
            return connection.sql(query).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:  # `sql` returns None for a statement that is no query
            raise SourceError(f"the query of the entity rows fails: {error}") from None


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    # Times in several zones are a column of objects. Arrow would use the zone of the first value for all.
    if AS_OF in frame and frame[AS_OF].dtype == object:
        frame = frame.assign(**{AS_OF: pd.to_datetime(frame[AS_OF], utc=True)})
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except pa.ArrowException as error:
        raise SourceError(f"the entity rows have a column of mixed types: {error}") from None


def _in_utc(rows: pa.Table) -> tuple[pa.Table, str]:
    times = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    if AS_OF not in rows.column_names and len(times) != 1:
        raise EntityTimestampInferenceException(AS_OF)
    as_of = AS_OF if AS_OF in rows.column_names else times[0]
    column = rows.column(as_of)
    try:
        if getattr(column.type, "tz", None) is None:
            column = column.cast(pa.timestamp("us"), safe=False)
        column = column.cast(INSTANT, safe=False)
    except pa.ArrowException as error:
        raise SourceError(f"the column {as_of!r} of the entity rows holds no times: {error}") from None
    return rows.set_column(rows.column_names.index(as_of), as_of, column), as_of
