"""The series of several workers as one: each writes to files of its own, and a scrape adds them up.

The files carry the worker's index, not its process number: a worker that takes the place of a killed one continues its
counters, and the number of files, which a scrape has to read, stays that of the workers.
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
    """Write the series of this process to `folder`, as those of the worker of that index; its gauges begin at zero.

    A file stays locked for as long as this process lives, which tells the others that its gauges hold.
    """
    fcntl.flock(os.open(_lock_of(folder, str(worker)), os.O_CREAT | os.O_RDWR, 0o600), fcntl.LOCK_EX)
    for gauge in folder.glob(f"gauge_*_{worker}.db"):
        gauge.unlink()
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


class WorkersCollector:
    """The sums over the workers of `folder`; the gauges of one that died are left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read the files of all workers."""
        files = [file for file in self._folder.glob("*.db") if not file.name.startswith("gauge_") or _is_live(file)]
        found: Iterable[Metric] = MultiProcessCollector.merge(map(str, files))  # type: ignore[no-untyped-call]
        return found


def scrape(folder: Path) -> bytes:
    """Return the sums over the workers of `folder` in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(WorkersCollector(folder))
    return generate_latest(registry)


def _lock_of(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.alive"


def _is_live(gauge: Path) -> bool:
    """Whether the worker that wrote `gauge` lives: its lock cannot be taken then."""
    try:
        with _lock_of(gauge.parent, gauge.stem.rpartition("_")[2]).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
