"""What Arrow holds arrives in PostgreSQL as it is."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import SourceError
from core.postgres.database import connect
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import copy_rows, create

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
#: By dtype: the Arrow type, and values of it.
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float32": (pa.float32(), st.floats(width=32)),
    "float64": (pa.float64(), st.floats()),
    "string": (pa.string(), TEXTS),
    "text": (pa.large_string(), TEXTS),
    "bool": (pa.bool_(), st.booleans()),
    "timestamp": (UTC_MICROSECONDS, TIMES),
    "bytes": (pa.binary(), st.binary(max_size=40)),
    "uuid": (pa.string(), st.uuids().map(str)),
    "decimal": (pa.decimal128(30, 6), st.decimals(-(10**20), 10**20, places=6)),
    "int64[]": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4)),
    "string[]": (pa.list_(pa.string()), st.lists(st.none() | TEXTS, max_size=4)),
    "timestamp[]": (pa.list_(UTC_MICROSECONDS), st.lists(TIMES, max_size=4)),
}
EVERY = OnlineTable("every__1", (("id", "int64"),), tuple((f"a {dtype}", dtype) for dtype in KINDS))


@pytest.fixture(scope="module")
def connection(module_database_url: str) -> Iterator[psycopg.Connection]:
    with connect(module_database_url) as opened:
        create(opened, EVERY)
        opened.commit()
        opened.autocommit = True
        yield opened


def _comparable(value: object) -> object:
    """Tell apart what `==` does not: NaN equals itself here, and zero has a sign."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return str(value) if type(value).__name__ == "UUID" else value


def _copied(connection: psycopg.Connection, columns: dict[str, pa.Array]) -> list[tuple[Any, ...]]:
    rows = len(next(iter(columns.values())))
    instant = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, UTC_MICROSECONDS)
    table = pa.table({**columns, "id": pa.array(range(rows)), "event_timestamp": instant, "created_timestamp": instant})
    connection.execute("TRUNCATE online.every__1")
    copy_rows(connection, EVERY.identifier, EVERY, table)
    # Binary, for the text form of a float4 has fewer digits.
    cursor = connection.cursor(binary=True)
    return cursor.execute("SELECT * FROM online.every__1 ORDER BY id").fetchall()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(*(st.none() | values for _, values in KINDS.values())), max_size=12))
def test_every_value_arrives_as_it_is(connection: psycopg.Connection, rows: list[tuple[Any, ...]]) -> None:
    columns = {
        f"a {dtype}": pa.array([row[place] for row in rows], kind)
        for place, (dtype, (kind, _)) in enumerate(KINDS.items())
    }
    found = _copied(connection, columns)
    expected = [tuple(map(_comparable, row)) for row in rows]
    assert [tuple(map(_comparable, row[3:])) for row in found] == expected


def test_more_rows_than_are_encoded_at_once_keep_their_order(connection: psycopg.Connection) -> None:
    table = OnlineTable("long__1", (("id", "int64"),), (("text", "string"),))
    rows = 40_000
    texts = ["é" * (place % 7) if place % 5 else None for place in range(rows)]
    instant = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, UTC_MICROSECONDS)
    given_rows = pa.table(
        {"text": texts, "id": range(rows), "created_timestamp": instant, "event_timestamp": instant, "other": texts}
    )
    create(connection, table)
    # A slice, whose buffers begin before its values.
    assert copy_rows(connection, table.identifier, table, given_rows.slice(3)) == rows - 3
    found = connection.execute("SELECT id, text FROM online.long__1 ORDER BY id").fetchall()
    assert found == list(enumerate(texts))[3:]


def test_times_of_any_zone_and_unit_keep_their_instant(connection: psycopg.Connection) -> None:
    table = OnlineTable("zoned__1", (("id", "int64"),), ())
    kolkata = timezone(timedelta(hours=5, minutes=30))
    instant = datetime(1969, 12, 31, 23, 59, 59, 123_000, tzinfo=kolkata)
    create(connection, table)
    rows = pa.table(
        {
            "id": [1],
            "event_timestamp": pa.array([instant], pa.timestamp("ms", tz="Asia/Kolkata")),
            "created_timestamp": pa.array([instant], pa.timestamp("ns", tz="America/New_York")),
        }
    )
    copy_rows(connection, table.identifier, table, rows)
    assert connection.execute("SELECT * FROM online.zoned__1").fetchall() == [(1, instant, instant)]


def _of(column: pa.Array, dtype: str) -> tuple[OnlineTable, pa.Table]:
    table = OnlineTable("refused__1", (("id", "int64"),), (("feature", dtype),))
    instant = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], UTC_MICROSECONDS)
    columns = {"id": [1], "event_timestamp": instant, "created_timestamp": instant, "feature": column}
    return table, pa.table(columns)


@pytest.mark.parametrize(
    ("column", "dtype", "reason"),
    [
        (pa.array([datetime(2026, 1, 1)], pa.timestamp("us")), "timestamp", "time zone"),  # noqa: DTZ001
        (pa.array([[datetime(2026, 1, 1)]], pa.list_(pa.timestamp("us"))), "timestamp[]", "offset-naive"),  # noqa: DTZ001
        (pa.array([2**31]), "int32", "int32"),
        (pa.array(["x"]), "float64", "float64"),
        (pa.array([1.5]), "int64", "int64"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_column(
    database_url: str, column: pa.Array, dtype: str, reason: str
) -> None:
    table, rows = _of(column, dtype)
    with connect(database_url) as connection:
        create(connection, table)
        connection.commit()
        with pytest.raises(SourceError, match=f"'feature' is .* {reason}"):
            copy_rows(connection, table.identifier, table, rows)
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM online.refused__1").fetchone() == (0,)
