"""The online half of the feature store's benchmark: Feast's PostgreSQL store and ours, one server, one run, equal values.

What is compared: bringing every customer's latest row of three views online; reading one customer and a hundred by Feast's
client; and the prepared handle of the service against that client and against the same select by the driver alone.
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
from feature_repo.online.tables import OnlineTable, create
from serving.workers.collector import tune_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from core.contracts import ViewRead

    #: Reads each of the lists of customers; gives the seconds that each took.
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
#: How many reads of so many customers are timed, in each of the blocks.
_READS = {1: 100, 100: 25}
_BLOCKS = 8
#: Feast's clients; the other readers read so many times as often.
_CLIENTS, _QUICK = ("stock", "sdk"), 10


@dataclass(frozen=True)
class OnlineMeasures:
    """Seconds by what was done; a read, by the number of customers and the reader, is the median of many."""

    stock_materialize: float
    materialize: float
    feast_materialize: float
    materialize_large: float
    reads: dict[int, dict[str, float]]

    def ratios(self) -> dict[str, float]:
        """Give the figures that are promised."""
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
                f"CASE WHEN hash({KEY}, {number}) % 10 > 0 THEN {_drawn(number, dtype)} END AS {name}"
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


def _drawn(number: int, dtype: str) -> str:
    drawn = f"(hash({KEY}, {number + 100}) % 1000000)::BIGINT"
    return {"int64": drawn, "float64": f"{drawn} / 7.0", "string": f"'segment ' || ({drawn} % 40)"}[dtype]


@contextmanager
def feature_store(
    folder: Path, snapshots: Path, online: dict[str, Any], **options: Any
) -> Iterator[feast.FeatureStore]:
    """Open a feature store over the snapshots, with the views applied."""
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
    """Configure Feast's PostgreSQL store for the server at `url`."""
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


#: Both read the snapshots through one offline store, so that what differs is the way online.
_OFFLINE = {"type": "feature_repo.stores.offline_store.PantheraOfflineStore"}
_ENGINE = {"type": "feature_repo.stores.compute_engine.PantheraComputeEngine"}


def seconds(work: Callable[[], object]) -> float:
    """Time `work` once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(url: str, folder: Path, customers: int) -> OnlineMeasures:
    """Measure both stores on the server at `url`, in the folder `folder`."""
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
        _create_tables(url)
        ours = [seconds(lambda: materialize(url, TABLES, snapshots, AS_OF)) for _ in range(5)]
        _tend_tables(url)
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


def _create_tables(url: str) -> None:
    with connect(url) as connection:
        for table in TABLES.values():
            create(connection, table)


def _tend_tables(url: str) -> None:
    """Do what a server does within its next minutes: it plans reads of Feast's tables badly until it knows them."""
    with connect(url) as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def _entities(customers: int, count: int, draw: int) -> list[int]:
    chosen: list[int] = np.random.default_rng(draw).choice(customers, count, replace=False).tolist()
    return chosen


def _read(store: feast.FeatureStore, customers: Sequence[int]) -> dict[str, list[Any]]:
    """Read values as a caller uses them: out of Feast's messages, as Python objects."""
    rows = [{KEY: customer} for customer in customers]
    answer: dict[str, list[Any]] = store.get_online_features(features=REFERENCES, entity_rows=rows).to_dict()
    return answer


def _timed_reads(
    url: str, stock: feast.FeatureStore, sdk: feast.FeatureStore, customers: int
) -> dict[int, dict[str, float]]:
    """Compare the values of many customers, then time Feast's two clients, the handle and a select by the driver alone."""
    compared = _entities(customers, min(_COMPARED, customers), 0)
    if _read(stock, compared) != _read(sdk, compared):
        raise SystemExit("the two stores answer with different values")
    handle = OnlineHandle(
        [HandleView(view, table.name, TTL, tuple(VIEWS[view])) for view, table in TABLES.items()], KEY, "int64"
    )
    with connect(url) as raw, asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as loop:
        raw.autocommit = True
        served = loop.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        _check_handle(loop.run(handle.read(served, compared, AS_OF)), compared, stock)
        # As the service does; it holds for all readers.
        tune_collector()
        readers: dict[str, Reader] = {
            "stock": partial(_times, partial(_read, stock)),
            "sdk": partial(_times, partial(_read, sdk)),
            "handle": lambda asked: loop.run(_handle_times(handle, served, asked)),
            "raw": partial(_times, partial(_select, raw, raw_statement())),
        }
        try:
            return {count: _medians(readers, customers, count, repeats) for count, repeats in _READS.items()}
        finally:
            loop.run(served.close())


def _medians(readers: Mapping[str, Reader], customers: int, count: int, repeats: int) -> dict[str, float]:
    """Time reads of `count` customers by all `readers` in turn, in blocks, so that all meet the machine's good and bad times.

    A block is of one reader, since Feast remembers what it resolved for one registry at a time.
    """
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for block in range(_BLOCKS):
        for name, read in readers.items():
            # Those that are quick read more often: few of their reads shall meet what another reader left in the caches.
            reads = repeats * (1 if name in _CLIENTS else _QUICK)
            taken[name].extend(
                read([_entities(customers, count, draw) for draw in range(block * reads, (block + 1) * reads)])
            )
    return {name: statistics.median(times) for name, times in taken.items()}


def _times(read: Callable[[list[int]], object], asked: Sequence[list[int]]) -> list[float]:
    read(asked[0])
    return [seconds(partial(read, keys)) for keys in asked]


async def _handle_times(
    handle: OnlineHandle, connection: psycopg.AsyncConnection, asked: Sequence[list[int]]
) -> list[float]:
    """Read as the service does, in an event loop that runs."""
    await handle.read(connection, asked[0], AS_OF)
    times = []
    for keys in asked:
        began = time.perf_counter()
        await handle.read(connection, keys, AS_OF)
        times.append(time.perf_counter() - began)
    return times


def _select(connection: psycopg.Connection, statement: bytes, keys: list[int]) -> object:
    return connection.cursor().execute(statement, [keys], prepare=True, binary=True).fetchall()


def raw_statement() -> bytes:
    """Write a select of the same columns as the handle reads, as one would by hand."""
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


def _check_handle(found: Sequence[Mapping[str, ViewRead]], keys: Sequence[int], stock: feast.FeatureStore) -> None:
    expected = _read(stock, keys)
    for place, reads in enumerate(found):
        values = {name: value for view in VIEWS for name, value in zip(VIEWS[view], reads[view].values, strict=True)}
        if any(expected[name][place] != value for name, value in values.items()):
            raise SystemExit(f"the handle reads other values of customer {keys[place]} than Feast's store")
