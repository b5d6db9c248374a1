"""Point-in-time joins by Feast's DuckDB offline store and by ours, on the same files; the last line is one JSON object.

Run it as `python -m benchmarks.feature_store.offline`. The stores take turns in fresh processes, with the same call of Feast's
client: every customer as of three instants, and 25 features of three views with six monthly snapshots. A row counts from its
created time on. All values are compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import types
import warnings
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Sequence

    import feast
    import numpy.typing as npt

STORES = {"stock": "duckdb", "ours": "feature_repo.stores.offline_store.PantheraOfflineStore"}
VIEWS = {"orders": 8, "visits": 8, "profile": 9}
SNAPSHOTS, INSTANTS = 6, 3
INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Joined:
    """The measures of one process: the seconds of its fastest join, and its peak memory after the first join."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def write_world(folder: Path, customers: int) -> None:
    """Write three views of 8, 8 and 9 features and the entity rows, all from one seed, to parquet files in `folder`."""
    rng = np.random.default_rng(2024)
    for name, features in VIEWS.items():
        pq.write_table(_snapshots(rng, customers, features), folder / f"{name}.parquet")
    entity_rows = {
        "customer_id": np.tile(np.arange(customers), INSTANTS),
        "event_timestamp": _months(np.repeat(np.arange(SNAPSHOTS - 2, SNAPSHOTS - 2 + INSTANTS), customers)),
    }
    pq.write_table(pa.table(entity_rows), folder / "entity_rows.parquet")


def _months(numbers: npt.NDArray[np.int64]) -> pa.Array:
    starts = np.array([np.datetime64("2024-01", "us") + np.timedelta64(30 * month, "D") for month in range(12)])
    return pa.array(starts[numbers]).cast(INSTANT)


def _snapshots(rng: np.random.Generator, customers: int, features: int) -> pa.Table:
    """Return a row for each customer and month; one in fifty arrives up to two months late, the others within hours."""
    rows = customers * SNAPSHOTS
    delay = rng.exponential(6 * 3600e6, rows)
    delay += np.where(rng.random(rows) < 0.02, rng.uniform(0, 60 * 86400e6, rows), 0)  # noqa: PLR2004
    event = _months(np.tile(np.arange(SNAPSHOTS), customers))
    created = pa.array(event.cast(pa.int64()).to_numpy() + delay.astype(np.int64)).cast(INSTANT)
    columns = {"customer_id": np.repeat(np.arange(customers), SNAPSHOTS), "event_timestamp": event, "created": created}
    kinds = (
        lambda: rng.poisson(20, rows),
        lambda: np.round(rng.gamma(2, 30, rows), 2),
        lambda: rng.normal(size=rows),
    )
    for number in range(min(features, 8)):
        columns[f"f{number}"] = kinds[number % 3]()
    if features > 8:  # noqa: PLR2004 - the ninth is text
        columns["f8"] = pa.array([f"segment {number}" for number in range(20)]).take(
            pa.array(rng.integers(0, 20, rows))
        )
    return pa.table(columns)


def open_store(folder: Path, kind: str, scratch: Path) -> feast.FeatureStore:
    """Return a feature store with an offline store of the given kind, over the files in `folder`."""
    import feast
    from feast import types as feast_types
    from feast.data_format import ParquetFormat
    from feast.repo_config import RegistryConfig

    config = feast.RepoConfig(
        project="benchmark",
        provider="local",
        registry=RegistryConfig(path=str(scratch / "registry.db")),
        offline_store={"type": kind},
        online_store={"type": "sqlite", "path": str(scratch / "online.db")},
        entity_key_serialization_version=3,
    )
    customer = feast.Entity(name="customer", join_keys=["customer_id"], value_type=feast.ValueType.INT64)
    numbers = [feast_types.Int64, feast_types.Float64, feast_types.Float64]
    dtypes = [*(numbers[number % 3] for number in range(8)), feast_types.String]
    views = [
        feast.FeatureView(
            name=name,
            entities=[customer],
            ttl=timedelta(days=365),
            schema=[
                feast.Field(name="customer_id", dtype=feast_types.Int64),
                *(feast.Field(name=f"f{number}", dtype=dtypes[number]) for number in range(features)),
            ],
            source=feast.FileSource(
                name=name,
                path=str(folder / f"{name}.parquet"),
                file_format=ParquetFormat(),
                timestamp_field="event_timestamp",
                created_timestamp_column="created",
            ),
        )
        for name, features in VIEWS.items()
    ]
    store = feast.FeatureStore(config=config)
    store.apply([customer, *views])
    return store


def join(folder: Path, store: str, repeats: int, answer: Path | None) -> Joined:
    """Measure joins in this process, after a join of a few rows that loads all imports; write the table to `answer`."""
    # Ibis' extra for DuckDB would install this module; since pyarrow 14.0.1 it has no effect.
    sys.modules.setdefault("pyarrow_hotfix", types.ModuleType("pyarrow_hotfix"))
    warnings.simplefilter("ignore")
    entity_rows = pq.read_table(folder / "entity_rows.parquet").to_pandas()
    references = [f"{view}:f{number}" for view, features in VIEWS.items() for number in range(features)]
    with tempfile.TemporaryDirectory() as scratch:
        opened = open_store(folder, STORES[store], Path(scratch))

        def retrieve(rows: object) -> pa.Table:
            job = opened.get_historical_features(
                rows, references, full_feature_names=True, filter_by_created_timestamp=True
            )
            return job.to_arrow()

        retrieve(entity_rows.head(10))
        table = retrieve(entity_rows)
        peak = peak_mb()
        if answer is not None:
            pq.write_table(table, answer)
        del table
        times = []
        for _ in range(repeats):
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            retrieve(entity_rows)
            times.append((time.perf_counter() - wall_start, time.process_time() - cpu_start))
    return Joined(min(wall for wall, _ in times), min(cpu for _, cpu in times), round(peak, 1))


def peak_mb() -> float:
    """Return this process's peak memory in MB; `ru_maxrss` would start from the parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].removesuffix("kB")) * 1024 / 1e6


def _join_in_process(folder: Path, store: str, repeats: int, answer: Path | None) -> Joined:
    module = [sys.executable, "-m", "benchmarks.feature_store.offline"]
    command = [*module, "--store", store, "--folder", str(folder), "--repeats", str(repeats)]
    done = subprocess.run(
        [*command, *(["--answer", str(answer)] if answer else [])], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the join by {store} failed: {done.stderr[-2000:]}")
    return Joined(**json.loads(done.stdout.splitlines()[-1]))


def require_equal(one: Path, other: Path) -> int:
    """Raise AssertionError unless two answers have the same values for the same entity rows; return their number.

    Raises
    ------
    AssertionError
        If a column differs.

    """
    order = [("customer_id", "ascending"), ("event_timestamp", "ascending")]
    first, second = (pq.read_table(path).sort_by(order) for path in (one, other))
    for name in first.column_names:
        ours, theirs = (table.column(name).combine_chunks() for table in (first, second))
        if name == "event_timestamp":
            ours, theirs = ours.cast(INSTANT), theirs.cast(INSTANT)
        if not ours.equals(theirs.cast(ours.type)):
            raise AssertionError(f"the stores return different values of {name}")
    return int(first.num_rows * (first.num_columns - 2))


def compare(folder: Path, customers: int, rounds: int = 5, repeats: int = 5) -> dict[str, float]:
    """Join with both stores in turn on the same data, which is written to `folder`; return the measures.

    Returns
    -------
    `pit_join_speedup` (stock to ours) and `pit_join_rss_ratio` (ours to stock), and their inputs: the seconds of a join of
    each store, and its process's peak memory in MB. Each is the median of the rounds; a process counts with its fastest
    join.

    """
    write_world(folder, customers)
    answers = {store: folder / f"{store}.answer" for store in STORES}
    runs_of: dict[str, list[Joined]] = {store: [] for store in STORES}
    for number in range(rounds):
        for store in STORES:
            runs_of[store].append(_join_in_process(folder, store, repeats, None if number else answers[store]))
    values = require_equal(answers["ours"], answers["stock"])
    rounds_of_both = list(zip(runs_of["stock"], runs_of["ours"], strict=True))
    return {
        "pit_join_speedup": round(median(stock.seconds / ours.seconds for stock, ours in rounds_of_both), 1),
        "pit_join_rss_ratio": round(median(ours.peak_mb / stock.peak_mb for stock, ours in rounds_of_both), 2),
        "pit_join_cpu_ratio": round(median(stock.cpu_seconds / ours.cpu_seconds for stock, ours in rounds_of_both), 1),
        "pit_join_values_equal": values,
        **{
            f"pit_join_seconds_{store}": round(median(run.seconds for run in runs), 3)
            for store, runs in runs_of.items()
        },
        **{f"pit_join_peak_mb_{store}": median(run.peak_mb for run in runs) for store, runs in runs_of.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, measure, and print the results."""
    parser = argparse.ArgumentParser(description="Measure point-in-time joins.")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5, help="processes for each store")
    parser.add_argument("--repeats", type=int, default=5, help="joins in each process")
    parser.add_argument("--store", choices=STORES, help="join in this process only")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--answer", type=Path)
    parsed = parser.parse_args(arguments)
    if parsed.store:
        print(json.dumps(asdict(join(parsed.folder, parsed.store, parsed.repeats, parsed.answer))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(compare(Path(scratch), parsed.customers, parsed.rounds, parsed.repeats)))


if __name__ == "__main__":
    main()
