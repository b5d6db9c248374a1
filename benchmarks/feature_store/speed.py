"""Compare the feature store with Feast's own stores, in one run on the same data; the last line is one JSON object.

Run it as `make bench-features`, or with `--customers 10000` for a quick look. All values are compared before any timing, and
every figure is a ratio of two times of this run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.scratch_server import scratch_server
from core.settings import silence_telemetry


def main() -> None:
    """Read the arguments, measure, and print the ratios."""
    parser = argparse.ArgumentParser(description="Measure the feature store against Feast's own stores.")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--scratch", type=Path, help="folder for the temporary data, some 3 GB for the default")
    arguments = parser.parse_args()
    silence_telemetry()
    with scratch_server("panthera-bench-", arguments.scratch) as (url, folder):
        measures = online(url, folder / "online", arguments.customers)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="panthera-bench-") as scratch:
        measures |= offline(Path(scratch), arguments.customers)
    print(json.dumps(measures))


def online(url: str, folder: Path, customers: int) -> dict[str, float]:
    """Measure the online half and print its times; return the ratios."""
    from benchmarks.feature_store.online import measure

    measured = measure(url, folder, customers)
    print(f"online, seconds: {measured}")
    return {name: round(ratio, 2) for name, ratio in measured.ratios().items()}


def offline(folder: Path, customers: int) -> dict[str, float]:
    """Measure the offline half and print its seconds and memory; return the ratios."""
    from benchmarks.feature_store.offline import compare

    measured = compare(folder, customers)
    print(f"offline, seconds and MB: {measured}")
    return {name: ratio for name, ratio in measured.items() if name.endswith(("_speedup", "_ratio"))}


if __name__ == "__main__":
    main()
