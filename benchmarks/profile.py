"""Measure the profile of a large table: processor seconds, wall time, memory, and the size of its page.

Run it as `make bench-profile`. It prints one line of JSON. With SKRUB=PYTHON, the interpreter of another environment that has
skrub and pandas (`python -m venv x && x/bin/pip install skrub pandas`), skrub's TableReport reads the same file for comparison.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from planner.verbs import profile_files, profile_html

_KINDS = (
    "i * {n} + {n}",
    "round(hash(i + {n}) % 1000000 / 997.0, 2)",
    "strftime(DATE '2020-01-01' + CAST(i * {n} % 1500 AS INTEGER), '%d/%m/%Y')",
    "['red', 'green', 'blue', 'NA'][1 + CAST((i + {n}) % 4 AS INTEGER)]",
    "'the customer wrote about item ' || hash(i + {n}) % 500000",
)
_SKRUB = """
import sys, time
import pandas, skrub
started = time.perf_counter()
skrub.TableReport(pandas.read_csv(sys.argv[1]), max_plot_columns=None, max_association_columns=None, verbose=0).html()
print(time.perf_counter() - started)
"""


def write_table(path: Path, rows: int, columns: int) -> None:
    """Write a csv file whose columns are in turn integers, numbers, dates, categories and texts."""
    chosen = ", ".join(
        f"{_KINDS[number % len(_KINDS)].format(n=number + 1)} AS column_{number}" for number in range(columns)
    )
    duckdb.execute(f"COPY (SELECT {chosen} FROM range({rows}) t(i)) TO '{path}' (HEADER)")


def skrub_seconds(python: str | None, path: Path) -> tuple[float | None, str | None]:
    """Return the seconds that skrub takes for its report, or None and the reason why it was not measured."""
    if not python:
        return None, "SKRUB does not name the interpreter of an environment with skrub"
    done = subprocess.run([python, "-c", _SKRUB, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["skrub failed"])[-1]
    return float(done.stdout.split()[-1]), None


def measure(path: Path, rows: int, columns: int, skrub: str | None) -> dict[str, object]:
    """Return the measures of the profile of a file and of its page."""
    started, cpu = time.perf_counter(), time.process_time()
    page = profile_html(profile_files([str(path)], None))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    theirs, reason = skrub_seconds(skrub, path)
    return {
        "rows": rows,
        "columns": columns,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(seconds, 2),
        "html_mb": round(len(page.encode()) / 1e6, 3),
        "peak_gb": round(peak, 2),
        "profile_speedup": round(theirs / seconds, 2) if theirs is not None else None,
        "no_speedup_because": reason,
    }


def main() -> None:
    """Print the measures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--skrub", metavar="PYTHON")
    stated = parser.parse_args()
    with TemporaryDirectory(prefix="panthera-") as folder:
        path = Path(folder, "table.csv")
        write_table(path, stated.rows, stated.columns)
        sys.stdout.write(json.dumps(measure(path, stated.rows, stated.columns, stated.skrub)) + "\n")


if __name__ == "__main__":
    main()
