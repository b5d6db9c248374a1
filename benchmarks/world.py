"""Measure the time and memory to generate the subscription world and to build its plan's features.

Run it as `make bench-world`, or `python -m benchmarks.world --customers 100000`; the last line is one JSON object. All files
are written to a temporary folder and removed afterwards.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from core.plan.file import read_plan
from core.settings import STATE_ENV
from panthera.project_folder import make_project

PLAN = Path(__file__).parent.parent / "worlds" / "subscription" / "plan.yaml"
#: `ru_maxrss` counts KiB on Linux.
RSS_PER_GB = 1e9 / 1024


@dataclass(frozen=True)
class Run:
    """The wall time and the peak memory of one program."""

    seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Measured:
    """The sizes of the written data, and the time and memory to write them.

    Attributes
    ----------
    customers : customers of the world.
    events : records of all tables except `customers`, including duplicates.
    usage_events : records of `usage_daily`.
    generate_seconds, ingest_seconds, validate_seconds, build_features_seconds : wall time of each program.
    feature_events : accepted rows that the views read, up to the end of the plan's extract.
    snapshots : rows of features of all views.
    events_per_second : `feature_events` divided by `build_features_seconds`.
    peak_gb : upper bound of the peak memory of all processes together.

    """

    customers: int
    events: int
    usage_events: int
    generate_seconds: float
    ingest_seconds: float
    validate_seconds: float
    build_features_seconds: float
    feature_events: int
    snapshots: int
    events_per_second: int
    peak_gb: float


def run(program: Sequence[str], folder: Path, workers: int = 1) -> Run:
    """Run a program in `folder`; with `workers`, its peak is multiplied by their number, an upper bound of their sum."""
    print(f"bench-world: {' '.join(program)}", file=sys.stderr)
    environment = {**os.environ, STATE_ENV: str(folder / ".panthera")}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *program], cwd=folder, env=environment, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    return Run(round(time.perf_counter() - started, 1), workers * usage.ru_maxrss / RSS_PER_GB)


def count_rows(folder: Path) -> int:
    """Return the number of rows of all parquet files below `folder`."""
    return sum(pq.read_metadata(file).num_rows for file in folder.rglob("*.parquet"))


def measure(customers: int, folder: Path, workers: int) -> Measured:
    """Write the world to `folder`, run its plan's stages up to the features, and return the measures."""
    make_project(PLAN, folder)
    checkout = PLAN.parents[2]
    size = ("--customers", str(customers), "--workers", str(workers))
    # One more than the workers, for the process that starts them.
    generate = run(("-m", "worlds.subscription", *size, "--out", str(folder / "world")), checkout, workers + 1)
    data = {name: str(folder / "data" / name) for name in ("raw", "accepted", "rejected", "features")}
    ingest = run(("-m", "feature_repo.ingest", "--raw", data["raw"]), folder)
    validate = run(
        ("-m", "feature_repo.validate", *(part for name in list(data)[:3] for part in (f"--{name}", data[name]))),
        folder,
    )
    build = run(
        ("-m", "feature_repo.build_features", "--accepted", data["accepted"], "--features", data["features"]), folder
    )
    views = read_plan(PLAN).build_features.views.values()
    read = {source for view in views for source in view.sources}
    feature_events = sum(count_rows(folder / "data" / "accepted" / source) for source in read)
    events = {table.name: count_rows(table) for table in (folder / "world").iterdir() if table.name != "truth"}
    return Measured(
        customers=customers,
        events=sum(events.values()) - events["customers"],
        usage_events=events["usage_daily"],
        generate_seconds=generate.seconds,
        ingest_seconds=ingest.seconds,
        validate_seconds=validate.seconds,
        build_features_seconds=build.seconds,
        feature_events=feature_events,
        snapshots=count_rows(folder / "data" / "features"),
        events_per_second=round(feature_events / build.seconds),
        peak_gb=round(max(step.peak_gb for step in (generate, ingest, validate, build)), 2),
    )


def main() -> None:
    """Read the arguments, measure, and print the results."""
    parser = argparse.ArgumentParser(description="Measure the subscription world and its plan's features.")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2, help="processes that generate")
    parser.add_argument("--scratch", type=Path, help="folder for the temporary data, some 20 GB for the default")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=parsed.scratch) as scratch:
        measured = measure(parsed.customers, Path(scratch) / "project", parsed.workers)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
