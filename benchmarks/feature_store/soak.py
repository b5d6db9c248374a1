"""Check the feature store under faults: each check prints a summary, and the run fails with the first that does not hold.

Run it as `make soak-features`, or with `--times 3` for a quick look. The size of each check is a parameter, so that the tests
run small ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from benchmarks.feature_store.held import holds
from benchmarks.scratch_server import scratch_server
from core.postgres.database import connect, sqlalchemy_url
from core.settings import silence_telemetry
from feature_repo.files.datasets import bucket_file, snapshot_glob, write_table
from feature_repo.files.duck import open_duckdb
from feature_repo.materialize import increment
from feature_repo.online.handle import HandleView, OnlineHandle
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, merge_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from core.contracts import ViewRead

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TABLES = {
    view: OnlineTable(f"{view}__soak", (("customer", "int64"),), (("run", "float64"), ("text", "string")))
    for view in ("first", "second")
}
#: The programs of separate processes: the stage's function, and an apply under its lock. The first imports what DuckDB needs
#: for its first rows beforehand, so that a kill interrupts the work and not the imports.
_MATERIALIZE = """
import sys
from datetime import datetime
from pathlib import Path
import pandas, pyarrow.dataset
from benchmarks.feature_store.soak import TABLES
from feature_repo.materialize import materialize
from feature_repo.stores.registry import changing_features
url, features, as_of = sys.argv[1:]
print("begins", flush=True)
with changing_features(url):
    materialize(url, TABLES, Path(features), datetime.fromisoformat(as_of))
print("ends", flush=True)
"""
_APPLY = """
import sys
from benchmarks.feature_store.soak import apply_view
apply_view(sys.argv[1], sys.argv[2], sys.argv[3])
"""
_ZONES = {"TZ": "Asia/Kolkata", "PGTZ": "America/New_York"}


def write_run(features: Path, day: int, customers: int) -> None:
    """Write snapshots of both views in which every customer has the number of the day."""
    time_of_day = pa.array([START + day * DAY] * customers, pa.timestamp("us", tz="UTC"))
    rows = pa.table(
        {
            "customer": range(customers),
            "event_timestamp": time_of_day,
            "created_timestamp": time_of_day,
            "run": pa.array([float(day)] * customers),
            "text": [None if customer % 7 == 0 else f"{customer} {day}" for customer in range(customers)],
        }
    )
    for view in TABLES:
        with open_duckdb() as duckdb:
            duckdb.register("rows", rows)
            write_table(duckdb, "FROM rows", bucket_file(features, view, day))


def recreate_tables(url: str) -> None:
    """Drop and create the online tables, and delete the history of their runs."""
    with connect(url) as connection:
        for table in TABLES.values():
            connection.execute(f"DROP TABLE IF EXISTS online.{table.name}".encode())
            create(connection, table)
        connection.execute("DELETE FROM panthera.materialization")


def start(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python program in a separate process with a pipe for its output; return the process."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def start_materialization(
    url: str, folder: Path, as_of: datetime, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a materialization, which prints a line when its work begins and ends; return the process."""
    return start(_MATERIALIZE, url, str(folder), as_of.isoformat(), environment=environment)


def checksum(url: str) -> list[tuple[object, ...]]:
    """Return the number of rows and a hash of the content of both tables."""
    with connect(url) as connection:
        return [
            row
            for table in TABLES.values()
            for row in connection.execute(
                f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY customer)) FROM online.{table.name} AS t".encode()
            )
        ]


@dataclass
class Readers:
    """A thread that reads both tables in one statement all the time, and records which runs it saw together."""

    url: str
    seen: set[tuple[float, ...]] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        query = " UNION ALL ".join(f"SELECT run FROM online.{table.name}" for table in reversed(TABLES.values()))
        with connect(self.url) as connection:
            connection.autocommit = True
            while not self._done.is_set():
                rows = connection.execute(f"SELECT DISTINCT run FROM ({query}) AS rows".encode(), prepare=True)
                self.seen.add(tuple(sorted(run for (run,) in rows)))


def killed_materializations(url: str, folder: Path, times: int, customers: int) -> str:
    """Kill a materialization at a random moment, many times; after each, run it to its end and compare with a clean run."""
    rng, killed, mixed = random.Random(1), 0, set[tuple[float, ...]]()  # noqa: S311
    recreate_tables(url)
    write_run(folder, 0, customers)
    usual_seconds = run_materialization(url, folder, START)
    for day in itertools.count(1):
        write_run(folder, day, customers)
        as_of = START + day * DAY
        with Readers(url) as readers:
            killed += kill_materialization(url, folder, as_of, rng.uniform(0, usual_seconds))
            run_materialization(url, folder, as_of)
        mixed |= {runs for runs in readers.seen if len(runs) != 1}
        with connect(url) as connection:
            left = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'fresh\\_%' AND relkind = 'r'")
            holds(not left.fetchall(), "a killed run left a table behind")
        after_kill = checksum(url), served(url, customers, as_of)
        recreate_tables(url)
        run_materialization(url, folder, as_of)
        holds((checksum(url), served(url, customers, as_of)) == after_kill, "the tables are not those of a clean run")
        if killed == times:
            break
    holds(not mixed, f"a reader saw rows of several runs at once: {mixed}")
    return f"{killed} of {day} runs were killed; each time the tables equal a clean run, and no reader saw a mix"


def run_materialization(url: str, folder: Path, as_of: datetime, environment: Mapping[str, str] | None = None) -> float:
    """Materialize in a separate process, to the end; return the seconds of its work."""
    with start_materialization(url, folder, as_of, environment) as run:
        output = read_line(run)
        began = time.perf_counter()
        output += read_line(run)
        seconds = time.perf_counter() - began
    holds((run.returncode, output) == (0, "beginsends"), "a materialization that was not killed failed")
    return seconds


def kill_materialization(url: str, folder: Path, as_of: datetime, after: float) -> bool:
    """Kill a materialization `after` seconds of its work; return whether it had not ended before."""
    with start_materialization(url, folder, as_of) as run:
        read_line(run)
        time.sleep(after)
        run.kill()
        return not read_line(run)


def read_line(run: subprocess.Popen[bytes]) -> str:
    """Read the next line of a process's output; empty if the process has ended."""
    return run.stdout.readline().decode().strip() if run.stdout else ""


def served(url: str, customers: int, as_of: datetime) -> list[dict[str, ViewRead]]:
    """Read all customers with a handle, as the service does: from the joint table."""
    views = [HandleView(view, table.name, timedelta.max, tuple(dict(table.features))) for view, table in TABLES.items()]
    with connect(url) as connection:
        connection.autocommit = True
        return OnlineHandle(views, "customer", "int64").read_blocking(connection, range(customers), as_of)


def random_orders(url: str, orders: int) -> str:
    """Write the same ten rows of a customer in many random orders; the latest must win every time."""
    rng, table = random.Random(2), TABLES["first"]  # noqa: S311
    recreate_tables(url)
    batch = 500
    for begin in range(0, orders, batch):
        customers = range(begin, min(begin + batch, orders))
        rows = [
            (customer, START + day * DAY, START + day * DAY, float(day), "")
            for customer in customers
            for day in range(10)
        ]
        rng.shuffle(rows)
        with connect(url) as connection:
            for part in (rows[:40], rows[40 : len(rows) // 2], rows[len(rows) // 2 :]):
                merge_values(connection, table, part)
    with connect(url) as connection:
        wrong = connection.execute(f"SELECT count(*) FROM online.{table.name} WHERE run <> 9".encode()).fetchone()
        total = connection.execute(f"SELECT count(*) FROM online.{table.name}".encode()).fetchone()
    holds(wrong == (0,), f"{wrong} customers have an older row than their latest")
    holds(total == (orders,), f"{total} customers are online, expected {orders}")
    return f"{orders:,} random orders: the latest row stayed in each"


def later_then_earlier(url: str, folder: Path, customers: int) -> str:
    """Materialize a later instant, then an earlier one."""
    recreate_tables(url)
    for day in (1, 2):
        write_run(folder, day, customers)
    for day in (2, 1):
        run_materialization(url, folder, START + day * DAY)
    with connect(url) as connection:
        runs = [
            connection.execute(f"SELECT DISTINCT run FROM online.{t.name}".encode()).fetchall() for t in TABLES.values()
        ]
    holds(runs == [[(2.0,)], [(2.0,)]], f"an older run replaced a newer one: {runs}")
    return "the later instant stayed"


def late_rows(url: str, folder: Path, runs: int, customers: int) -> str:
    """Add rows day after day, most with long past event times, and run an increment each day; no row may be lost."""
    rng, table, late = random.Random(7), TABLES["first"], 0  # noqa: S311
    recreate_tables(url)
    latest: dict[int, tuple[datetime, datetime, float, str]] = {}
    for day in range(1, runs + 1):
        created = START + day * DAY
        rows = {}
        for customer in rng.sample(range(customers), customers // 3):
            event = created - rng.choice([0, 0, 1, 5, 30, 300]) * DAY
            rows[customer] = (event, created, float(day), f"{customer} {day}")
            late += event < created
        columns = ("event_timestamp", "created_timestamp", "run", "text")
        values = dict(zip(columns, map(list, zip(*rows.values(), strict=True)), strict=True))
        with open_duckdb() as duckdb:
            duckdb.register("rows", pa.table({"customer": list(rows), **values}))
            write_table(duckdb, "FROM rows", bucket_file(folder, "first", day))
        increment(url, "first", table, snapshot_glob(folder, "first"), created)
        latest.update({who: row for who, row in rows.items() if who not in latest or row[:2] >= latest[who][:2]})
        with connect(url) as connection:
            found = connection.execute(f"SELECT customer, {', '.join(columns)} FROM online.{table.name}".encode())
            online = {who: tuple(row) for who, *row in found}
        holds(online == latest, f"after day {day} the table is not that of the rows known by then")
    return f"{late:,} late rows in {runs} increments: each was online after the next run, unless a later event was"


def other_zones(url: str, folder: Path, customers: int) -> str:
    """Materialize in a process whose clock and server session have other time zones."""
    write_run(folder, 1, customers)
    sums = []
    for environment in ({}, _ZONES):
        recreate_tables(url)
        run_materialization(url, folder, START + DAY, environment)
        sums.append(checksum(url))
    holds(sums[0] == sums[1], "a time moved with the zone")
    return "no time moved with TZ and PGTZ"


def apply_view(url: str, registry: str, name: str) -> None:
    """Apply one Feast view, as `apply` does: under the lock, to the registry in the database."""
    from feature_repo.stores.registry import changing_features

    with changing_features(url):
        store, customer, source = _feast(registry)
        import feast

        view = feast.FeatureView(
            name=name, entities=[customer], schema=[feast.Field(name="run", dtype=feast.types.Float64)], source=source
        )
        store.apply([customer, view])


def _feast(registry: str) -> tuple[Any, ...]:
    import feast
    from feast.repo_config import RepoConfig

    store = feast.FeatureStore(
        config=RepoConfig(
            project="soak",
            provider="local",
            registry={"registry_type": "sql", "path": registry},
            offline_store={"type": "feature_repo.stores.offline_store.PantheraOfflineStore"},
            online_store={"type": "feature_repo.stores.online_store.PantheraOnlineStore"},
            batch_engine={"type": "feature_repo.stores.compute_engine.PantheraComputeEngine"},
            entity_key_serialization_version=3,
        )
    )
    customer = feast.Entity(name="customer", join_keys=["customer"], value_type=feast.ValueType.INT64)
    source = feast.FileSource(
        name="snapshots",
        path="first/*.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    return store, customer, source


def parallel_applies(url: str, folder: Path, applies: int, customers: int) -> str:
    """Apply views and materialize in concurrent processes, and kill an apply; nothing may be lost."""
    recreate_tables(url)
    write_run(folder, 1, customers)
    registry = sqlalchemy_url(url, "feast")
    environment = {"PANTHERA_DATABASE_URL": url, "PANTHERA_STATE": str(folder / "state")}
    killed = start(_APPLY, url, registry, "killed", environment=environment)
    names = [f"view_{number}" for number in range(applies)]
    running = [start(_APPLY, url, registry, name, environment=environment) for name in names]
    running += [start_materialization(url, folder, START + DAY) for _ in range(2)]
    time.sleep(random.Random(3).uniform(3, 8))  # noqa: S311
    killed.kill()
    for run in (killed, *running):
        run.communicate()
    holds([run.returncode for run in running] == [0] * len(running), "an apply or a materialization failed")
    store = _feast(registry)[0]
    found = {view.name for view in store.list_feature_views()} - {"killed"}
    store.registry.write_engine.dispose()
    store.registry.read_engine.dispose()
    holds(found == set(names), f"the registry has {sorted(found)}, expected {names}")
    return f"{applies} applies and 2 materializations at once, and a killed apply: nothing is lost"


def checks(url: str, folder: Path, times: int) -> Iterator[str]:
    """Run every check at a size in proportion to `times`, 30 for the full size; yield the summaries."""
    # Imported here, since the processes that are killed import this module and need no models.
    from benchmarks.feature_store.soak_catch_up import catch_up_steps
    from benchmarks.feature_store.soak_served import expired_values, refused_times

    yield killed_materializations(url, folder / "killed", times, 1000 * times)
    yield later_then_earlier(url, folder / "later", 1000)
    yield random_orders(url, 100_000 * times // 30)
    yield late_rows(url, folder / "late", times, 50 * times)
    yield expired_values(url, folder / "expired", 10 * times)
    yield refused_times(url, folder / "refused", 10 * times)
    yield other_zones(url, folder / "zones", 1000)
    yield parallel_applies(url, folder / "applies", max(times // 3, 2), 1000)
    yield catch_up_steps(url, folder / "catch-up", 10_000 * times // 30)


def main() -> None:
    """Read the arguments, run the checks, and print their summaries."""
    parser = argparse.ArgumentParser(description="Check the feature store under faults.")
    parser.add_argument("--times", type=int, default=30, help="kills; the other checks grow with it")
    arguments = parser.parse_args()
    silence_telemetry()
    held = 0
    with scratch_server("panthera-soak-") as (url, folder):
        for summary in checks(url, folder, arguments.times):
            print(f"held: {summary}", flush=True)
            held += 1
    print(json.dumps({"held": held}))


if __name__ == "__main__":
    main()
