"""Measure how fast the stage `ingest` reads a csv.gz and a parquet file, beside DuckDB, and the memory that it takes.

Run it as `make bench-ingest`, with ROWS=100000000 for more rows than the default; it prints one JSON line. DuckDB does the
same work in one statement: it reads every column and writes it to a parquet file of the same format, but guesses the types of
a csv, numbers no row, and does not check that a packed file is whole. Both run in processes of their own, in turn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from core.plan.ingest import Source
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.ingest import ingest

if TYPE_CHECKING:
    from collections.abc import Callable

#: The rows of a file are blocks of so many, which are written once and repeated.
BLOCK = 1_000_000
TIMES = 3
COLUMNS = {"customer_id": "string", "bought": "timestamp", "amount": "float64", "items": "int64", "colour": "string"}
ROWS = f"""SELECT 'c' || lpad(CAST(i * 7919 % 1000003 AS VARCHAR), 7, '0') AS customer_id,
    TIMESTAMP '2024-01-01' + to_seconds(i % 20000000) AS bought, round((i * 2654435761 % 100000) / 100.0, 2) AS amount,
    CAST(i * 40503 % 97 AS INTEGER) AS items, ['red', 'green', 'blue', 'black'][i % 4 + 1] AS colour
    FROM range({BLOCK}) AS rows(i)"""


@dataclass(frozen=True)
class Speed:
    """What reading a file costs: rows per second of the stage and of DuckDB, and the peak memory of each."""

    rows_per_second: int
    duckdb_rows_per_second: int
    ratio: float
    peak_gb: float
    duckdb_peak_gb: float


def write_csv(file: Path, blocks: int) -> None:
    """Write a packed csv of a header and `blocks` times the same rows, each a member of its own, as `cat` joins them."""
    plain = file.with_suffix("")
    with open_duckdb() as connection:
        connection.execute(f"COPY ({ROWS}) TO {literal(plain)} (FORMAT csv, HEADER)")
    header, _, rows = plain.read_bytes().partition(b"\n")
    plain.unlink()
    packed = gzip.compress(rows, 6)
    with file.open("wb") as out:
        out.write(gzip.compress(header + b"\n"))
        for _ in range(blocks):
            out.write(packed)


def write_parquet(file: Path, blocks: int) -> None:
    """Write a parquet file of `blocks` times the same rows."""
    block = file.with_name("block.parquet")
    with open_duckdb(spill=file.parent) as connection:
        connection.execute(f"COPY ({ROWS}) TO {literal(block)} (FORMAT parquet)")
        files = ", ".join([literal(block)] * blocks)
        connection.execute(f"COPY (FROM read_parquet([{files}])) TO {literal(file)} (FORMAT parquet)")
    block.unlink()


def ingest_it(kind: str, file: Path, out: Path) -> None:
    """Read a file as the stage does."""
    source = Source.model_validate(
        {
            "reader": {"kind": kind, "path": str(file)},
            "entity": "customer",
            "event_time": {"column": "bought", "zone": "UTC"},
            "observed_until": "2026-01-01",
            "columns": {name: {"dtype": dtype} for name, dtype in COLUMNS.items()},
        }
    )
    ingest("orders", source, out, out / "downloads")


def copy_it(kind: str, file: Path, out: Path) -> None:
    """Have DuckDB read a file, with its own settings, into a parquet file as the stage writes it."""
    import duckdb

    out.mkdir()
    with duckdb.connect(config={"memory_limit": "3GB", "temp_directory": str(out)}) as connection:
        connection.execute(
            f"COPY (FROM read_{kind}({literal(file)})) TO {literal(out / 'orders.parquet')} "
            "(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION lz4_raw)"
        )


READS: dict[str, Callable[[str, Path, Path], None]] = {"ingest": ingest_it, "duckdb": copy_it}


def measured(read: str, kind: str, file: Path) -> tuple[float, float]:
    """Read a file in a process of its own; return the seconds without those of imports, and the peak memory in GB."""
    with TemporaryDirectory(dir=file.parent) as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.feature_store.ingest",
            "--read",
            read,
            kind,
            str(file),
            f"{folder}/out",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        seconds = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            raise SystemExit(f"reading {file} by {read} failed")
        return float(seconds), usage.ru_maxrss / 1e6


def speed(kind: str, file: Path, rows: int, times: int) -> Speed:
    """Measure both readers `times` times in turn; the speed is that of the fastest, the memory that of the largest."""
    runs: dict[str, list[tuple[float, float]]] = {read: [] for read in READS}
    for _ in range(times):
        for read, results in runs.items():
            results.append(measured(read, kind, file))
    rates = {read: rows / min(seconds for seconds, _ in results) for read, results in runs.items()}
    peaks = {read: round(max(peak for _, peak in results), 2) for read, results in runs.items()}
    ratio = round(rates["ingest"] / rates["duckdb"], 2)
    return Speed(int(rates["ingest"]), int(rates["duckdb"]), ratio, peaks["ingest"], peaks["duckdb"])


def compared(rows: int, times: int) -> dict[str, Any]:
    """Write both files, measure them, and remove them."""
    blocks = max(rows // BLOCK, 1)
    found: dict[str, Speed] = {}
    for kind, name, write in (("csv", "orders.csv.gz", write_csv), ("parquet", "orders.parquet", write_parquet)):
        with TemporaryDirectory() as folder:
            write(Path(folder) / name, blocks)
            found[name.removeprefix("orders.")] = speed(kind, Path(folder) / name, blocks * BLOCK, times)
    return {
        "rows": blocks * BLOCK,
        "ratio": min(each.ratio for each in found.values()),
        "peak_gb": max(each.peak_gb for each in found.values()),
        **{name: asdict(each) for name, each in found.items()},
    }


def main() -> None:
    """Print one JSON line; with `--read`, read a file and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5 * BLOCK, help="rounded down to millions")
    parser.add_argument("--times", type=int, default=TIMES, help="how often each reader reads each file")
    parser.add_argument("--read", nargs=4, metavar=("READER", "KIND", "FILE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read, kind, file, out = arguments.read
        began = time.perf_counter()
        READS[read](kind, Path(file), Path(out))
        print(time.perf_counter() - began)
    else:
        print(json.dumps(compared(arguments.rows, arguments.times)))


if __name__ == "__main__":
    main()
