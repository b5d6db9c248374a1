"""Measure the profile of a large table: processor seconds, wall time, memory, and the size of its page.

Run it as `make bench-profile`. It prints one line of JSON. With OTHERS="fg-data-profiling skrub", or one of them, these
packages are installed into an environment that is removed afterwards, and profile the same file: the report of the successor of
ydata-profiling (many minutes), and skrub's TableReport. `speedups` compares processor seconds, which depend less than times on
what else the machine does. Above five million rows the table is a Parquet file, which is what the others then read too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb

from planner.verbs import profile_files, profile_html

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = (
    "i * {n} + {n}",
    "round(hash(i + {n}) % 1000000 / 997.0, 2)",
    "strftime(DATE '2020-01-01' + CAST(i * {n} % 1500 AS INTEGER), '%d/%m/%Y')",
    "['red', 'green', 'blue', 'NA'][1 + CAST((i + {n}) % 4 AS INTEGER)]",
    "'the customer wrote about item ' || hash(i + {n}) % 500000",
)
_MOST_CSV_ROWS = 5_000_000
_READ = """
import sys, time
import pandas
started = time.process_time()
read = pandas.read_parquet if sys.argv[1].endswith("parquet") else pandas.read_csv
frame = read(sys.argv[1])
"""
_DONE = """
print(len(page) / 1e6, time.process_time() - started)
"""
#: The program that profiles a file with another package, by the package; the import of the package is not timed.
_OTHERS = {
    "fg-data-profiling": "from data_profiling import ProfileReport"
    + _READ
    + "page = ProfileReport(frame, progress_bar=False).to_html()"
    + _DONE,
    "skrub": "import skrub" + _READ + "page = skrub.TableReport(frame, verbose=0).html()" + _DONE,
}
_NEEDED = {"fg-data-profiling": ("pyarrow", "setuptools"), "skrub": ("pandas", "pyarrow", "matplotlib")}


def write_table(path: Path, rows: int, columns: int) -> None:
    """Write a csv or Parquet file whose columns are in turn integers, numbers, dates, categories and texts."""
    chosen = ", ".join(
        f"{_KINDS[number % len(_KINDS)].format(n=number + 1)} AS column_{number}" for number in range(columns)
    )
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"COPY (SELECT {chosen} FROM range({rows}) t(i)) TO '{path}'")


def other_measures(package: str, path: Path) -> dict[str, float]:
    """Return the processor seconds and the size of the page of another package, from an environment of its own."""
    with TemporaryDirectory(prefix="panthera-") as folder:
        run = partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True)
        run([sys.executable, "-m", "venv", folder])
        python = Path(folder, "bin", "python")
        run([python, "-m", "pip", "install", "--quiet", package, *_NEEDED[package]])
        megabytes, seconds = run([python, "-c", _OTHERS[package], str(path)]).stdout.split()[-2:]
    return {"cpu_seconds": round(float(seconds), 2), "html_mb": round(float(megabytes), 3)}


def measure(path: Path, rows: int, columns: int, others: Sequence[str]) -> dict[str, object]:
    """Return the measures of the profile of a file and of its page."""
    started, cpu = time.perf_counter(), time.process_time()
    page = profile_html(profile_files([str(path)], None))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    theirs = {package: other_measures(package, path) for package in others}
    speedups = {package: round(found["cpu_seconds"] / cpu, 2) for package, found in theirs.items()}
    return {
        "rows": rows,
        "columns": columns,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(seconds, 2),
        "html_mb": round(len(page.encode()) / 1e6, 3),
        "peak_gb": round(peak, 2),
        "profile_speedup": next(iter(speedups.values()), None),
        "speedups": speedups,
        "others": theirs,
    }


def main() -> None:
    """Print the measures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--others", nargs="*", default=[], choices=list(_OTHERS))
    stated = parser.parse_args()
    with TemporaryDirectory(prefix="panthera-") as folder:
        path = Path(folder, "table.csv" if stated.rows <= _MOST_CSV_ROWS else "table.parquet")
        # In a process of its own, whose memory is not counted.
        writer = get_context("spawn").Process(target=write_table, args=(path, stated.rows, stated.columns))
        writer.start()
        writer.join()
        sys.stdout.write(json.dumps(measure(path, stated.rows, stated.columns, stated.others)) + "\n")


if __name__ == "__main__":
    main()
