"""Progress of a long read: a line every ten seconds, so that a run of many minutes is not mistaken for one that hangs."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

_SECONDS = 10.0
_GIGABYTE = 1_000_000_000


@contextmanager
def shown_progress(
    name: str, connection: duckdb.DuckDBPyConnection, scratch: Path, seconds: float = _SECONDS
) -> Iterator[None]:
    """Print a line every `seconds` of the block: the bytes copied to `scratch` so far, and the finished share of the query."""
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    ended = threading.Event()

    def watch() -> None:
        for lines in count(1):
            if ended.wait(seconds):
                return
            print(f"ingest: {name}: {_progress(lines * seconds, connection, scratch)}", file=sys.stderr, flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _progress(seconds: float, connection: duckdb.DuckDBPyConnection, scratch: Path) -> str:
    copied, percent = _bytes(scratch) / _GIGABYTE, connection.query_progress()
    parts = [f"{seconds:,.0f} s", f"{copied:,.1f} GB copied" if copied else "", f"{percent:.0f} % read"]
    return ", ".join(filter(None, parts if percent > 0 else parts[:2]))


def _bytes(folder: Path) -> int:
    """Return the total size of the files in a folder; a file that is removed meanwhile counts as 0."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total
