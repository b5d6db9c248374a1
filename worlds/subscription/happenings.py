"""Count customers' events in a window of days."""

import numpy as np

from worlds.subscription.arrays import Codes, Days, Floats

#: The longest window of the hazard's terms.
LONGEST_WINDOW_DAYS = 90


class EventHistory:
    """Events of the customers of a chunk, with the day and an amount."""

    def __init__(self, customers: int) -> None:
        self._customers = customers
        self._rows: Codes = np.empty(0, np.int64)
        self._days: Days = np.empty(0, np.int64)
        self._amounts: Floats = np.empty(0, np.float64)

    def add(self, rows: Codes, days: Days, amounts: Floats | None = None) -> None:
        """Add events of the customers in `rows`; the default amount is 1."""
        self._rows = np.concatenate([self._rows, rows])
        self._days = np.concatenate([self._days, days])
        self._amounts = np.concatenate([self._amounts, np.ones(len(rows)) if amounts is None else amounts])

    def within(self, window_days: int, day: int) -> Floats:
        """Return each customer's sum of amounts from `day - window_days` to `day - 1`; drop events older than any window."""
        recent = self._days >= day - LONGEST_WINDOW_DAYS
        self._rows, self._days, self._amounts = self._rows[recent], self._days[recent], self._amounts[recent]
        counted = (self._days >= day - window_days) & (self._days < day)
        return np.bincount(self._rows[counted], self._amounts[counted], self._customers).astype(np.float64)
