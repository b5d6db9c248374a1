"""A histogram that takes many observations at once: a search and a sum in numpy instead of a lock for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence


class BatchedHistogram(Histogram):
    """A histogram with `observe_all`, which has the effect of `observe` for each value."""

    def observe_all(self, values: Sequence[float]) -> None:
        """Observe each of `values`."""
        array = np.asarray(values, dtype=np.float64)
        indices, counts = np.unique(np.searchsorted(self._upper_bounds, array), return_counts=True)
        self._sum.inc(float(array.sum()))
        for index, count in zip(indices.tolist(), counts.tolist(), strict=True):
            self._buckets[index].inc(count)
