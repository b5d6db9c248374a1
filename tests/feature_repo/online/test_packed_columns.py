"""Tables of more features than a row has room for: stored in arrays, and read like any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import feast
import pyarrow as pa
import pytest
from feast import types as feast_types

from core.contracts import Freshness
from core.errors import SourceError
from core.postgres.database import connect
from feature_repo.files.datasets import bucket_file, snapshot_glob, write_table
from feature_repo.files.duck import open_duckdb
from feature_repo.materialize import materialize
from feature_repo.online import joint_tables
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.online.packed_columns import needs_packing, reading
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, exists, merge, merge_values
from feature_repo.upkeep.diff import ViewDiff, diff_view
from tests.feature_repo.online.online_rows import SPENDING, UTC_MICROSECONDS, arrow, at, row
from tests.feature_repo.stores.feast_shop import CUSTOMER, read, source, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg

KEYS = (("customer", "int64"),)
TTL = timedelta(days=100)
NUMBERS = 1_200
WIDE = OnlineTable(
    "wide__1",
    KEYS,
    (
        ("plan", "string"),
        *((f"n_{number}", "float64") for number in range(NUMBERS)),
        ("whole", "int64"),
        ("small", "int32"),
        ("single", "float32"),
        ("is_new", "bool"),
        ("renewed", "timestamp"),
        ("note", "text"),
    ),
)
ARROW = {
    "string": pa.string(),
    "text": pa.string(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "bool": pa.bool_(),
    "timestamp": UTC_MICROSECONDS,
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as opened:
        opened.autocommit = True
        create(opened, WIDE)
        yield opened


def wide_row(customer: int, day: float, plan: str | None = "plus") -> tuple[Any, ...]:
    """Compose a row in which every third number is missing."""
    numbers = [None if number % 3 == 2 else customer * 1_000.5 + number for number in range(NUMBERS)]
    return (customer, at(day), at(day), plan, *numbers, 2**40, -7, 0.5, True, at(1.5), 'a "b", {c}')


def in_arrow(*rows: tuple[Any, ...]) -> pa.Table:
    columns = zip(WIDE.columns, WIDE.dtypes, zip(*rows, strict=True), strict=True)
    return pa.table({name: pa.array(values, ARROW[dtype]) for name, dtype, values in columns})


def bring(connection: psycopg.Connection, *rows: tuple[Any, ...]) -> None:
    with connection.transaction():
        merge(connection, WIDE, in_arrow(*rows))


def values_of(connection: psycopg.Connection, *views: HandleView, customer: int = 1) -> list[tuple[Any, ...]]:
    (found,) = OnlineHandle(views, "customer", "int64").read_blocking(connection, [customer], at(50))
    assert {each.status for each in found.values()} == {Freshness.FRESH}
    return [found[each.name].values for each in views]


def wide_view(*names: str, link: HandleLink | None = None) -> HandleView:
    return HandleView("wide", WIDE.name, TTL, names or tuple(dict(WIDE.features)), link, WIDE.packed_features)


def test_a_row_is_read_as_it_was_written_by_rows_of_arrow_and_by_values(connection: psycopg.Connection) -> None:
    bring(connection, wide_row(1, 1), wide_row(2, 1))
    merge_values(connection, WIDE, [wide_row(2, 2), wide_row(3, 2, None), wide_row(1, 0.5, "older")])
    for customer, expected in ((1, wide_row(1, 1)), (2, wide_row(2, 2)), (3, wide_row(3, 2, None))):
        assert values_of(connection, wide_view(), customer=customer) == [expected[3:]]


def test_some_features_are_read_in_the_order_that_is_asked_for(connection: psycopg.Connection) -> None:
    bring(connection, wide_row(1, 1))
    (found,) = values_of(connection, wide_view("whole", "n_4", "renewed", "n_2", "plan"))
    assert found == (2**40, 1_004.5, at(1.5), None, "plus")
    assert reading(WIDE.packed_features, ("n_4", "n_2")).columns == ("packed.float64",)


def test_an_entity_without_a_row_is_missing(connection: psycopg.Connection) -> None:
    (found,) = OnlineHandle([wide_view("plan", "n_1")], "customer", "int64").read_blocking(connection, [9], at(50))
    assert found["wide"] == (None, Freshness.MISSING, (None, None))


def test_a_packed_table_stands_in_a_joint_one_and_holds_links(
    connection: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    plans = OnlineTable("plans__1", (("plan_name", "string"),), (("members", "int64"),))
    create(connection, SPENDING)
    create(connection, plans)
    merge_values(connection, plans, [("plus", at(1), at(1), 70)])
    with open_duckdb() as duckdb:
        for name, rows in {"wide": in_arrow(wide_row(1, 1)), "spending": arrow([row(1, 1, 3.0)])}.items():
            duckdb.register("snapshots", rows)
            write_table(duckdb, "FROM snapshots", bucket_file(tmp_path, name, 0))
    materialize(database_url, {"wide": WIDE, "spending": SPENDING}, tmp_path, at(2))
    joint = joint_tables.JointTable((SPENDING, WIDE))
    assert exists(connection, joint.name)
    merge_values(connection, WIDE, [wide_row(1, 3)])
    connection.execute(f'UPDATE online.{joint.name} SET "0.spend" = 4')
    views = [
        wide_view("n_1", "plan"),
        HandleView("spending", SPENDING.name, TTL, ("spend",)),
        HandleView("plans", plans.name, TTL, ("members",), HandleLink("wide", "plan", "plan_name")),
    ]
    assert values_of(connection, *views) == [(1_001.5, "plus"), (4.0,), (70,)]


def test_online_is_compared_with_offline_value_by_value(database_url: str, tmp_path: Path) -> None:
    with connect(database_url) as opened:
        create(opened, WIDE)
    with open_duckdb() as duckdb:
        duckdb.register("snapshots", in_arrow(wide_row(1, 1), wide_row(2, 1, None)))
        write_table(duckdb, "FROM snapshots", bucket_file(tmp_path, "wide", 0))
    materialize(database_url, {"wide": WIDE}, tmp_path, at(2))
    files = snapshot_glob(tmp_path, "wide")
    assert diff_view(database_url, "wide", WIDE, files, at(2), at(9), at(9)) == ViewDiff("wide", at(2), 2, 2, {}, {})
    with connect(database_url) as opened:
        opened.execute(f'UPDATE online.{WIDE.name} SET "packed.int64"[1] = 3 WHERE customer = 2')
    assert diff_view(database_url, "wide", WIDE, files, at(2), at(9), at(9)).features == {"whole": 1}


@pytest.mark.parametrize(("numbers", "packed"), [(984, False), (985, True)])
def test_features_are_packed_where_a_row_of_all_might_not_fit(
    connection: psycopg.Connection, numbers: int, packed: bool
) -> None:
    """The key, the two times and 984 numbers of 8 bytes each are 7,896 bytes; a page has room for 7,900."""
    table = OnlineTable(f"numbers_{numbers}__1", KEYS, tuple((f"n_{number}", "float64") for number in range(numbers)))
    assert needs_packing(table.keys, table.features) == packed
    create(connection, table)
    assert merge_values(connection, table, [(1, at(1), at(1), *(0.1 for _ in range(numbers)))]) == 1


def test_a_view_of_feast_with_1_200_numbers_is_materialized_and_read(store: feast.FeatureStore, tmp_path: Path) -> None:
    names = [f"n_{number}" for number in range(NUMBERS)]
    time = [datetime(2026, 1, 1, tzinfo=UTC)] * 2
    columns = {name: [float(number), -float(number)] for number, name in enumerate(names)}
    wide = view(
        "wide",
        dict.fromkeys(names, feast_types.Float64),
        source(tmp_path, "wide", {"customer_id": [1, 2], "event_timestamp": time, "created": time, **columns}),
    )
    store.apply([CUSTOMER, wide])
    store.materialize(datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    found = read(store, [f"wide:{name}" for name in names], customer_id=[2, 1])
    assert [found[name] for name in names] == [[-float(number), float(number)] for number in range(NUMBERS)]


def test_a_view_of_feast_beyond_the_limits_is_refused_when_it_is_applied(
    store: feast.FeatureStore, tmp_path: Path
) -> None:
    time = [datetime(2026, 1, 1, tzinfo=UTC)]
    rows = source(tmp_path, "lists", {"customer_id": [1], "event_timestamp": time, "created": time})
    lists = view("lists", {f"l_{number}": feast_types.Array(feast_types.Int64) for number in range(321)}, rows)
    with pytest.raises(
        SourceError, match="'lists' has 321 features, 321 of them lists; expected at most 5,000, and at"
    ):
        store.apply([CUSTOMER, lists])
