"""How long the subscription world takes to write, and how much memory; the last line is one JSON object.

Run it as `python benchmarks/world.py --customers 1000000 --workers 2`. The world is written to a temporary folder and
removed afterwards; whatever else is measured on it belongs between the two, in `measure`.
"""

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from worlds.subscription.generate import generate
from worlds.subscription.settings import SubscriptionSettings

#: `ru_maxrss` counts KiB on Linux.
RSS_PER_GB = 1e9 / 1024


@dataclass(frozen=True)
class Measured:
    """What was written and what it took.

    Attributes
    ----------
    customers : customers of the world.
    events : records of all tables but `customers`, doubled ones included.
    usage_events : those of `usage_daily` among them.
    generate_seconds : wall time.
    peak_gb : upper bound of the memory at its peak: this process's own plus, for each worker, the largest worker's.

    """

    customers: int
    events: int
    usage_events: int
    generate_seconds: float
    peak_gb: float


def measure(settings: SubscriptionSettings, folder: Path, workers: int) -> Measured:
    """Write the world into `folder` and say what it took."""
    started = time.perf_counter()
    written = generate(settings, folder, workers, progress=True)
    seconds = time.perf_counter() - started
    return Measured(
        customers=settings.customers,
        events=written.events,
        usage_events=written.records["usage_daily"],
        generate_seconds=round(seconds, 1),
        peak_gb=round(peak_gb(workers), 2),
    )


def peak_gb(workers: int) -> float:
    """Return an upper bound of the peak so far, in GB; with one worker there is no process but this."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else 0
    return (own + workers * largest) / RSS_PER_GB


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the generation of the subscription world.")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="folder for the temporary data, some 2 GB for the default")
    parsed = parser.parse_args()
    settings = SubscriptionSettings(customers=parsed.customers)
    with tempfile.TemporaryDirectory(dir=parsed.scratch) as scratch:
        measured = measure(settings, Path(scratch) / "world", parsed.workers)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
