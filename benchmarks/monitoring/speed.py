"""Drift, parity, cohorts and the report of drift beside the stock way; the last line is one JSON object.

Run it as `make bench-monitoring`. Each side runs in a process of its own, so that its memory can be measured.

- `drift_speedup_1m`: processor seconds of Evidently's DataDriftPreset over two data frames in memory, divided by ours with the
  server's. Evidently reads every value of both sides each time. Ours reads the reference's counts from the bundle, passes over
  the rows of the log in PostgreSQL to see that they are the ones that were counted, and adds up the kept counts of their hours,
  as each round of monitoring after the first does.
- `drift_first_speedup_1m`: the same for the first look, which reads every logged vector (JSON). Reading a log into data
  frames is not counted against Evidently.
- `drift_peak_ratio`: peak memory of both looks with the server's process, divided by Evidently's.
- `parity_values_per_second`: values compared and classified in a second of one processor, from logged rows and offline rows
  to the result.
- `cohorts_1m_seconds`: the comparison of two arms of a million exposures with outcomes, from the database to the verdict.
- `report_html_mb`: the HTML report of drift of the same columns, on the plan's default number of rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.monitoring.cohorts import cohorts_seconds
from benchmarks.scratch_server import scratch_server
from core.contracts import ContractFeature
from core.postgres.database import connect
from core.reference import Reference, build_reference
from core.settings import silence_telemetry
from models.releases.ledger import NewRelease, enter
from monitoring.drift import columns_drift
from monitoring.logged_predictions import LoggedPrediction
from monitoring.offline_values import OfflineRow
from monitoring.parity import check_parity
from monitoring.report import write_report
from monitoring.served_counts import SCORE, fetch_served_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitoring.drift import ColumnDrift

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
NUMBERS, LEVELS = 24, ("web", "shop", "phone", "partner")
FEATURES = tuple(
    ContractFeature("profile", name, dtype)
    for name, dtype in {**{f"n_{number}": "float64" for number in range(NUMBERS)}, "channel": "string"}.items()
)
_MISSING = 0.05
#: Length of the window in hours.
_HOURS = 720
_MILLION = 1_000_000
_PARITY_ROWS, _REPORT_ROWS, _ALARM = 20_000, 10_000, 0.1
_MEGABYTE, _KILOBYTES_OF_MEGABYTE = 1e6, 1024


def table(rows: int, seed: int) -> pa.Table:
    """Return rows of 24 numbers and a text, of which a twentieth is missing, and a score."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for number in range(NUMBERS):
        columns[f"profile__n_{number}"] = pa.array(
            np.round(rng.gamma(2.0, 10.0, rows), 3), mask=rng.random(rows) < _MISSING
        )
    columns["profile__channel"] = rng.choice(LEVELS, rows)
    columns[SCORE] = rng.random(rows)
    return pa.table(columns)


def fill_log(url: str, file: Path, scratch: Path) -> None:
    """Write the rows of `file` into the prediction log as the service would."""
    lines = scratch / "log.csv"
    names = ", ".join(f'"{feature.column}"' for feature in FEATURES)
    duckdb.sql(
        f"""COPY (SELECT uuid() AS id, row_number() OVER () AS entity,
            TIMESTAMP '{NOON:%Y-%m-%d %H:%M}' - to_hours(row_number() OVER () % {_HOURS}) AS as_of, 'r1' AS release,
            'trial' AS experiment, 'champion' AS arm, score, 'act' AS decision,
            to_json(struct_pack({", ".join(f'"{f.column}" := "{f.column}"' for f in FEATURES)})) AS features,
            '{{}}' AS event_times, '{{}}' AS statuses FROM (SELECT score, {names} FROM '{file}')) TO '{lines}' (HEADER false)"""
    )
    with connect(url) as connection:
        release = NewRelease("r1", "bench", "c", "digest", "all", "md5:1", "git:1", "1", {})
        enter(connection, release)
        with (
            connection.cursor().copy(
                "COPY panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
                "features, event_times, statuses) FROM STDIN (FORMAT csv)"
            ) as copy,
            lines.open("rb") as source,
        ):
            while chunk := source.read(1 << 20):
                copy.write(chunk)
    lines.unlink()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE panthera.prediction")


@dataclass(frozen=True)
class Cost:
    """Processor seconds of each look, and the megabytes that other processes took at most."""

    seconds: list[float]
    other_megabytes: float = 0.0


def stock_drift(reference: Path, current: Path) -> Cost:
    """Run Evidently's preset over two data frames."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [f"profile__n_{number}" for number in range(NUMBERS)] + [SCORE]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=["profile__channel"])
    sides = [
        Dataset.from_pandas(pq.read_table(file).to_pandas(), data_definition=definition)
        for file in (current, reference)
    ]
    began = time.process_time()
    Report([DataDriftPreset()]).run(*sides).dict()
    return Cost([time.process_time() - began])


def own_drift(url: str, reference: Path) -> Cost:
    """Count the log in the bins of the reference that the release keeps, and judge every column."""
    kept = Reference.from_json(reference.read_text())
    looks = [_look(url, kept) for _ in range(2)]
    assert looks[0].columns == looks[1].columns
    assert not [column.name for column in looks[0].columns if column.alarm]
    return Cost([look.seconds for look in looks], max(look.server_megabytes for look in looks))


@dataclass(frozen=True)
class _Look:
    """The drift of every column, and what it cost: processor seconds of both processes, peak memory of the server's."""

    columns: tuple[ColumnDrift, ...]
    seconds: float
    server_megabytes: float


def _look(url: str, kept: Reference) -> _Look:
    began = time.process_time()
    with connect(url) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")  # else other processes do a part
        counts = fetch_served_counts(connection, "r1", kept, NOON - timedelta(hours=_HOURS), NOON)
        pid = connection.info.backend_pid
        server, megabytes = _seconds_of(pid), _peak_of(pid)
    columns = columns_drift(kept, counts, _ALARM, {})
    return _Look(columns, time.process_time() - began + server, megabytes)


def _seconds_of(pid: int) -> float:
    """Return the processor seconds of a server's process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _peak_of(pid: int) -> float:
    """Return the peak memory of a server's process in megabytes, without what it shares."""
    memory = _memory_of(str(pid))
    return memory["VmHWM"] - memory["RssShmem"]


def _memory_of(process: str) -> dict[str, float]:
    """Return the measures of a process's memory in megabytes; `getrusage` would count what the parent had when it forked."""
    lines = [line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines()]
    return {words[0].rstrip(":"): float(words[1]) / _KILOBYTES_OF_MEGABYTE for words in lines if words[-1] == "kB"}


def _run(target: Callable[..., Cost], result: Path, arguments: tuple[Any, ...]) -> None:
    silence_telemetry()
    cost = target(*arguments)
    result.write_text(json.dumps([cost.seconds, _memory_of("self")["VmHWM"] + cost.other_megabytes]))


def measured(scratch: Path, target: Callable[..., Cost], *arguments: Any) -> tuple[list[float], float]:
    """Run `target` in a new process; return the processor seconds of its looks and its peak memory in megabytes."""
    result = scratch / "result.json"
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(target, result, arguments))
    process.start()
    process.join()
    assert process.exitcode == 0, target.__name__
    seconds, megabytes = json.loads(result.read_text())
    return seconds, megabytes


def logged_rows(rows: int) -> list[LoggedPrediction]:
    """Return predictions that read one row of the view `profile` each."""
    event = (NOON - timedelta(days=1)).isoformat()
    return [
        LoggedPrediction(UUID(int=number), str(number), NOON, NOON, row.pop(SCORE), row, {"profile": event}, {})
        for number, row in enumerate(table(rows, 3).to_pylist())
    ]


def parity_rate(rows: int) -> float:
    """Return values compared per second; one row in a hundred was restated, and one value is a defect."""
    logged = logged_rows(rows)
    offline = []
    for number, each in enumerate(logged):
        values = {name.removeprefix("profile__"): value for name, value in each.features.items()}
        offline.append(OfflineRow({**values, "n_0": -1.0} if number % 100 == 0 else values, values))
    offline[0] = OfflineRow(offline[0].recomputed, offline[0].recomputed)
    scores = [each.score for each in logged]
    began = time.process_time()
    result = check_parity("r1", logged, FEATURES, {"profile": offline}, scores, stale_is_missing=False)
    seconds = time.process_time() - began
    assert (result.defects, result.values_compared) == (1, rows * len(FEATURES))
    return result.values_compared / seconds


def report_megabytes(reference: Path, folder: Path) -> float:
    """Return the size of the HTML report of drift."""
    path, training = folder / "drift.html", pq.read_table(reference).slice(0, _REPORT_ROWS)
    kept = build_reference(training)
    write_report(kept, training, logged_rows(_REPORT_ROWS), alarm=_ALARM, rows=_REPORT_ROWS, path=path)
    return path.stat().st_size / _MEGABYTE


def cohort_seconds(exposures: int) -> float:
    """Return the seconds of comparing two arms with so many exposures, in a database of their own."""
    with scratch_server("panthera-cohorts-") as (url, _):
        return cohorts_seconds(url, exposures)["cohorts_1m_seconds"]


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each side, and exposures")
    rows = parser.parse_args().rows
    size = f"{rows // _MILLION}m" if rows >= _MILLION else f"{rows // 1000}k"
    silence_telemetry()
    with scratch_server("panthera-monitoring-") as (url, scratch):
        reference, current, kept = scratch / "reference.parquet", scratch / "current.parquet", scratch / "kept.json"
        for file, seed in ((reference, 1), (current, 2)):
            pq.write_table(table(rows, seed), file)
        kept.write_text(build_reference(pq.read_table(reference)).to_json())
        fill_log(url, current, scratch)
        print(f"{rows:,} predictions are in the log", flush=True)
        (first_seconds, own_seconds), own_peak = measured(scratch, own_drift, url, kept)
        print(f"drift: {first_seconds:.2f} s, then {own_seconds:.2f} s, {own_peak:.0f} MB", flush=True)
        results = {
            "parity_values_per_second": round(parity_rate(_PARITY_ROWS)),
            f"cohorts_{size}_seconds": cohort_seconds(rows),
            "report_html_mb": round(report_megabytes(reference, scratch), 2),
        }
        print(json.dumps(results), flush=True)
        (stock_seconds,), stock_peak = measured(scratch, stock_drift, reference, current)
        print(f"Evidently's DataDriftPreset: {stock_seconds:.2f} s, {stock_peak:.0f} MB", flush=True)
    results = {
        f"drift_speedup_{size}": round(stock_seconds / own_seconds, 1),
        f"drift_first_speedup_{size}": round(stock_seconds / first_seconds, 1),
        "drift_peak_ratio": round(own_peak / stock_peak, 3),
        "drift_seconds": round(own_seconds, 2),
        "drift_first_seconds": round(first_seconds, 2),
        "stock_drift_seconds": round(stock_seconds, 2),
        **results,
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
