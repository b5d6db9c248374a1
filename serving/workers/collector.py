"""Settings of Python's garbage collector for a process with many requests."""

from __future__ import annotations

import gc

#: Allocations between two collections; the default of 700 traverses the objects of live requests too often.
_COLLECT_AFTER = 50_000


def tune_collector() -> None:
    """Exclude all present objects from garbage collection, and collect the others less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)
