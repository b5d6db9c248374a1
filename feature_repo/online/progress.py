"""The progress of a materialization: the rows sent to the server, and rows a second."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import TextIO

#: Seconds between two progress lines of one table.
_PAUSE = 1.0


@dataclass
class _TableProgress:
    began: float
    printed: float
    rows: int = 0
    ended: float = 0.0


@dataclass
class Progress:
    """A callback that writes a line about each table to `out`, at most once a second."""

    out: TextIO = field(default_factory=lambda: sys.stderr)
    _tables: dict[str, _TableProgress] = field(default_factory=dict)
    _last: float = field(default_factory=perf_counter)

    def __call__(self, table: str, rows: int) -> None:
        """Record that `rows` rows of `table` have been sent so far."""
        now = perf_counter()
        table_progress = self._tables.setdefault(table, _TableProgress(began=self._last, printed=now))
        table_progress.rows, table_progress.ended, self._last = rows, now, now
        if now - table_progress.printed >= _PAUSE:
            table_progress.printed = now
            print(f"{table}: {rows:,} rows so far, {self.rate(table)}", file=self.out, flush=True)

    def rate(self, table: str) -> str:
        """Return the rows a second of `table`, as text."""
        table_progress = self._tables.get(table)
        if table_progress is None or table_progress.ended <= table_progress.began:
            return "0 rows/s"
        return f"{table_progress.rows / (table_progress.ended - table_progress.began):,.0f} rows/s"
