"""The online half of the feature store's benchmark: Feast's PostgreSQL store and ours, one server, one run, equal values.

The comparisons are: writing every customer's latest row of three views online; reading one customer and a hundred with
Feast's client; and the service's prepared handle with that client and with the same SELECT by the driver alone.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import feast
import numpy as np
import psycopg
import uvicorn
from feast import types as feast_types
from feast.repo_config import RegistryConfig, RepoConfig
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from core.postgres.database import connect
from core.settings import DATABASE_URL_ENV, STATE_ENV
from feature_repo.files.datasets import BUCKETS, bucket_file, snapshot_glob
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.materialize import materialize
from feature_repo.online.handle import HandleView, OnlineHandle
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create
from serving.workers.collector import tune_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from core.contracts import ViewRead

    #: Reads each list of customers; returns the seconds of each read.
    Reader = Callable[[Sequence[list[int]]], list[float]]

AS_OF = datetime(2026, 11, 23, tzinfo=UTC)
TTL = timedelta(days=36_500)
KEY = "customer_id"
#: 24 numbers and a text, in three views.
VIEWS = {
    "account": {f"account_{number}": "int64" if number < 4 else "float64" for number in range(8)},  # noqa: PLR2004
    "usage": {f"usage_{number}": "float64" for number in range(8)},
    "support": {**{f"support_{number}": "float64" for number in range(8)}, "segment": "string"},
}
REFERENCES = [f"{view}:{feature}" for view, features in VIEWS.items() for feature in features]
TABLES = {
    view: OnlineTable(f"{view}__benchmark", ((KEY, "int64"),), tuple(features.items()))
    for view, features in VIEWS.items()
}
_FEAST_TYPES = {"int64": feast_types.Int64, "float64": feast_types.Float64, "string": feast_types.String}
_COMPARED = 2_000
#: The number of timed reads in a block, by the number of customers of a read.
_READS = {1: 100, 100: 25}
_BLOCKS = 8
#: Feast's clients, and how many times as often the other, faster readers read.
_CLIENTS, _FAST_FACTOR = ("stock", "sdk"), 10


@dataclass(frozen=True)
class OnlineMeasures:
    """Seconds of each operation; `reads` has the median of many, by the number of customers and the reader."""

    stock_materialize: float
    materialize: float
    feast_materialize: float
    materialize_large: float
    reads: dict[int, dict[str, float]]

    def ratios(self) -> dict[str, float]:
        """Return the figures that the project promises."""
        return {
            "materialize_speedup": self.stock_materialize / self.materialize,
            "feast_materialize_speedup": self.stock_materialize / self.feast_materialize,
            **{
                f"{reader}_read_{count}_speedup": self.reads[count]["stock"] / self.reads[count][reader]
                for reader in ("sdk", "handle")
                for count in self.reads
            },
            "handle_read_100_vs_raw_select": self.reads[100]["handle"] / self.reads[100]["raw"],
            "materialize_1m_vs_100k": self.materialize_large / self.materialize,
        }


def write_snapshots(folder: Path, customers: int) -> None:
    """Write the latest row of every customer in every view, an hour to a day before `AS_OF`, a tenth of it null."""
    for view, features in VIEWS.items():
        for bucket in range(BUCKETS):
            bucket_file(folder, view, bucket).parent.mkdir(parents=True, exist_ok=True)
            columns = ", ".join(
                f"CASE WHEN hash({KEY}, {number}) % 10 > 0 THEN {_random_value(number, dtype)} END AS {name}"
                for number, (name, dtype) in enumerate(features.items())
            )
            with open_duckdb() as connection:
                connection.execute(
                    f"""COPY (
                        SELECT range AS {KEY}, event AS event_timestamp, event AS created_timestamp, {columns}
                        FROM range({bucket}, {customers}, {BUCKETS}), LATERAL (
                            SELECT range AS {KEY}, TIMESTAMPTZ {literal(AS_OF.isoformat())}
                                - to_seconds(3600 + (hash(range) % 82800)::BIGINT) AS event))
                        TO {literal(bucket_file(folder, view, bucket))} (FORMAT parquet)"""
                )


def _random_value(number: int, dtype: str) -> str:
    integer = f"(hash({KEY}, {number + 100}) % 1000000)::BIGINT"
    return {"int64": integer, "float64": f"{integer} / 7.0", "string": f"'segment ' || ({integer} % 40)"}[dtype]


@contextmanager
def feature_store(
    folder: Path, snapshots: Path, online: dict[str, Any], **options: Any
) -> Iterator[feast.FeatureStore]:
    """Yield a feature store over the snapshots, with the views applied."""
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project=folder.name,
        provider="local",
        registry=RegistryConfig(path=str(folder / "registry.db"), cache_ttl_seconds=3600),
        online_store=online,
        offline_store=_OFFLINE,
        entity_key_serialization_version=3,
        **options,
    )
    store = feast.FeatureStore(config=config)
    customer = feast.Entity(name="customer", join_keys=[KEY], value_type=feast.ValueType.INT64)
    store.apply([customer, *(_view(name, customer, snapshots) for name in VIEWS)])
    yield store


def _view(name: str, customer: feast.Entity, snapshots: Path) -> feast.FeatureView:
    fields = [feast.Field(name=feature, dtype=_FEAST_TYPES[dtype]) for feature, dtype in VIEWS[name].items()]
    return feast.FeatureView(
        name=name,
        entities=[customer],
        ttl=TTL,
        schema=[feast.Field(name=KEY, dtype=feast_types.Int64), *fields],
        source=feast.FileSource(
            name=name,
            path=snapshot_glob(snapshots, name),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )


def stock_online(url: str) -> dict[str, Any]:
    """Return the configuration of Feast's PostgreSQL store for the server at `url`."""
    parts = conninfo_to_dict(url)
    return {
        "type": "postgres",
        "host": parts["host"],
        "port": int(parts.get("port") or 5432),
        "database": parts["dbname"],
        "user": parts["user"],
        "password": parts.get("password") or "",
        "db_schema": "public",
        "sslmode": "disable",
    }


#: Both read the snapshots through the same offline store, so that only the online stores differ.
_OFFLINE = {"type": "feature_repo.stores.offline_store.PantheraOfflineStore"}
_ENGINE = {"type": "feature_repo.stores.compute_engine.PantheraComputeEngine"}


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one call of `work`."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(url: str, folder: Path, customers: int) -> OnlineMeasures:
    """Return the measures of both stores on the server at `url`, with files in `folder`."""
    snapshots = folder / "snapshots"
    write_snapshots(snapshots, customers)
    own = {"type": "feature_repo.stores.online_store.PantheraOnlineStore"}
    environment = {DATABASE_URL_ENV: url, STATE_ENV: str(folder / "state")}
    with (
        mock.patch.dict(os.environ, environment),
        feature_store(folder / "stock", snapshots, stock_online(url)) as stock,
        feature_store(folder / "own", snapshots, own, batch_engine=_ENGINE) as sdk,
    ):
        start, end = AS_OF - timedelta(days=2), AS_OF
        stock_materialize = seconds(lambda: stock.materialize(start, end))
        feast_materialize = seconds(lambda: sdk.materialize(start, end))
        create_tables(url)
        ours = [seconds(lambda: materialize(url, TABLES, snapshots, AS_OF)) for _ in range(5)]
        analyze(url)
        reads = _timed_reads(url, stock, sdk, customers)
    large = folder / "large"
    write_snapshots(large, 10 * customers)
    grown = [seconds(lambda: materialize(url, TABLES, large, AS_OF)) for _ in range(2)]
    return OnlineMeasures(
        stock_materialize=stock_materialize,
        materialize=statistics.median(ours),
        feast_materialize=feast_materialize,
        materialize_large=statistics.median(grown),
        reads=reads,
    )


def create_tables(url: str) -> None:
    """Create our online tables."""
    with connect(url) as connection:
        for table in TABLES.values():
            create(connection, table)


def analyze(url: str) -> None:
    """Run VACUUM ANALYZE, as autovacuum soon would: without statistics, reads of Feast's tables are planned badly."""
    with connect(url) as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def _entities(customers: int, count: int, seed: int) -> list[int]:
    chosen: list[int] = np.random.default_rng(seed).choice(customers, count, replace=False).tolist()
    return chosen


def _read(store: feast.FeatureStore, customers: Sequence[int]) -> dict[str, list[Any]]:
    """Read values as a caller uses them: as Python objects, converted from Feast's messages."""
    rows = [{KEY: customer} for customer in customers]
    values: dict[str, list[Any]] = store.get_online_features(features=REFERENCES, entity_rows=rows).to_dict()
    return values


def _timed_reads(
    url: str, stock: feast.FeatureStore, sdk: feast.FeatureStore, customers: int
) -> dict[int, dict[str, float]]:
    """Compare the values of many customers; return the times of Feast's two clients, the handle and a plain SELECT."""
    compared = _entities(customers, min(_COMPARED, customers), 0)
    if _read(stock, compared) != _read(sdk, compared):
        raise SystemExit("the two stores return different values")
    handle = OnlineHandle(
        [HandleView(view, table.name, TTL, tuple(VIEWS[view])) for view, table in TABLES.items()], KEY, "int64"
    )
    with connect(url) as raw, asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as loop:
        raw.autocommit = True
        served = loop.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        _check_handle(loop.run(handle.read(served, compared, AS_OF)), compared, stock)
        # The service does so; it affects all readers alike.
        tune_collector()
        readers: dict[str, Reader] = {
            "stock": partial(_times, partial(_read, stock)),
            "sdk": partial(_times, partial(_read, sdk)),
            "handle": lambda batches: loop.run(_handle_times(handle, served, batches)),
            "raw": partial(_times, partial(_select, raw, raw_statement())),
        }
        try:
            return {count: _medians(readers, customers, count, repeats) for count, repeats in _READS.items()}
        finally:
            loop.run(served.close())


def _medians(readers: Mapping[str, Reader], customers: int, count: int, repeats: int) -> dict[str, float]:
    """Return the median time of reads of `count` customers, by reader.

    The readers take turns in blocks, so that variations of the machine's speed affect all alike. A block is of one reader,
    since Feast caches its resolution of one registry at a time.
    """
    times: dict[str, list[float]] = {name: [] for name in readers}
    for block in range(_BLOCKS):
        for name, read in readers.items():
            # Fast readers read more often, so that few of their reads find the caches of another reader.
            reads = repeats * (1 if name in _CLIENTS else _FAST_FACTOR)
            times[name].extend(
                read([_entities(customers, count, seed) for seed in range(block * reads, (block + 1) * reads)])
            )
    return {name: statistics.median(of_reader) for name, of_reader in times.items()}


def _times(read: Callable[[list[int]], object], batches: Sequence[list[int]]) -> list[float]:
    read(batches[0])
    return [seconds(partial(read, keys)) for keys in batches]


async def _handle_times(
    handle: OnlineHandle, connection: psycopg.AsyncConnection, batches: Sequence[list[int]]
) -> list[float]:
    """Read in a running event loop, as the service does; return the seconds of each read."""
    await handle.read(connection, batches[0], AS_OF)
    times = []
    for keys in batches:
        began = time.perf_counter()
        await handle.read(connection, keys, AS_OF)
        times.append(time.perf_counter() - began)
    return times


def _select(connection: psycopg.Connection, statement: bytes, keys: list[int]) -> object:
    return connection.cursor().execute(statement, [keys], prepare=True, binary=True).fetchall()


def raw_statement() -> bytes:
    """Compose a SELECT of the columns that the handle reads, as one would write it by hand."""
    views = [sql.Identifier(view) for view in VIEWS]
    columns = [
        sql.SQL("{}.{}").format(sql.Identifier(view), sql.Identifier(column))
        for view, features in VIEWS.items()
        for column in ("event_timestamp", *features)
    ]
    tables = [
        sql.SQL("{} AS {}").format(TABLES[name].identifier, view) for name, view in zip(VIEWS, views, strict=True)
    ]
    joined = sql.SQL(" JOIN ").join(
        [tables[0], *(sql.SQL("{} USING ({})").format(table, sql.Identifier(KEY)) for table in tables[1:])]
    )
    statement = sql.SQL("SELECT {key}, {columns} FROM {joined} WHERE {key} = ANY(%s::int8[])")
    return statement.format(key=sql.Identifier(KEY), columns=sql.SQL(", ").join(columns), joined=joined).as_bytes()


def _check_handle(rows: Sequence[Mapping[str, ViewRead]], keys: Sequence[int], stock: feast.FeatureStore) -> None:
    expected = _read(stock, keys)
    for index, reads in enumerate(rows):
        values = {name: value for view in VIEWS for name, value in zip(VIEWS[view], reads[view].values, strict=True)}
        if any(expected[name][index] != value for name, value in values.items()):
            raise SystemExit(f"the handle reads other values of customer {keys[index]} than Feast's store")
