"""How far a materialization is: rows that went to the server, and how many a second."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import TextIO

#: Seconds between two lines about one table.
_PAUSE = 1.0


@dataclass
class _Pace:
    began: float
    told: float
    rows: int = 0
    ended: float = 0.0


@dataclass
class Progress:
    """Is called with a table and the number of its rows so far; writes a line about it once a second to `out`."""

    out: TextIO = field(default_factory=lambda: sys.stderr)
    _paces: dict[str, _Pace] = field(default_factory=dict)
    _last: float = field(default_factory=perf_counter)

    def __call__(self, table: str, rows: int) -> None:
        """Take note of `rows`."""
        now = perf_counter()
        pace = self._paces.setdefault(table, _Pace(began=self._last, told=now))
        pace.rows, pace.ended, self._last = rows, now, now
        if now - pace.told >= _PAUSE:
            pace.told = now
            print(f"{table}: {rows:,} rows so far, {self.rate(table)}", file=self.out, flush=True)

    def rate(self, table: str) -> str:
        """Say how many rows a second went to the server."""
        pace = self._paces.get(table)
        if pace is None or pace.ended <= pace.began:
            return "0 rows/s"
        return f"{pace.rows / (pace.ended - pace.began):,.0f} rows/s"
