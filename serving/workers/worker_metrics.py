"""Metrics summed over workers: each worker writes its own files, and a scrape sums them.

The file names have the worker's index, not its process id. A worker that replaces a killed one therefore continues its
counters, and the number of files stays constant.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client.metrics_core import Metric


def join_workers(folder: Path, worker: int) -> None:
    """Set up that this process writes its metrics to files in `folder` under the index `worker`; gauges start at zero.

    A lock file stays locked while this process lives; scrapes include the gauges of live workers only.
    """
    fcntl.flock(os.open(_lock_of(folder, str(worker)), os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    for gauge in folder.glob(f"gauge_*_{worker}.db"):
        gauge.unlink()
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


class WorkersCollector:
    """A collector of the sums over the workers of `folder`, without the gauges of dead workers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read the files of all workers and return the summed metrics."""
        files = [file for file in self._folder.glob("*.db") if not file.name.startswith("gauge_") or _is_live(file)]
        metrics: Iterable[Metric] = MultiProcessCollector.merge(map(str, files))  # type: ignore[no-untyped-call]
        return metrics


def scrape(folder: Path) -> bytes:
    """Return the metrics summed over the workers of `folder`, in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(WorkersCollector(folder))
    return generate_latest(registry)


def _lock_of(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.alive"


def _is_live(gauge: Path) -> bool:
    """Return whether the worker that wrote `gauge` is alive, that is, whether its lock is held."""
    try:
        with _lock_of(gauge.parent, gauge.stem.rpartition("_")[2]).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
