"""What a worker measures of a model: calls that succeeded and failed, and calls by duration."""

from __future__ import annotations

from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from core.experiment.running.limits import CALL_SECONDS, Measured

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Measure:
    """The counts of one model in one worker since the last `take`."""

    scored: int = 0
    failed: int = 0
    calls: list[int] = field(default_factory=lambda: [0] * (len(CALL_SECONDS) + 1))

    def fail(self) -> None:
        """Count a call that failed, or a vector that does not fit the model's contract."""
        self.failed += 1

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Count the block as one call; the vectors of a call succeed or fail together, so they are no events of their own."""
        began = perf_counter()
        try:
            yield
        except Exception:
            self.fail()
            raise
        finally:
            self.calls[bisect_left(CALL_SECONDS, perf_counter() - began)] += 1
        self.scored += 1

    def take(self) -> Measured:
        """Return the counts and begin new ones."""
        taken = Measured(self.scored, self.failed, tuple(self.calls))
        self.scored = self.failed = 0
        self.calls = [0] * len(self.calls)
        return taken
