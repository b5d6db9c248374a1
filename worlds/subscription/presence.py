"""The days on which each customer is present."""

from dataclasses import dataclass

import numpy as np

from worlds.subscription.arrays import Codes, Days, Flags

#: The day of a cancellation that has not happened.
NEVER = np.int64(2**40)


@dataclass(frozen=True)
class Presence:
    """A customer is present from the day after the signup to the day before the cancellation."""

    signup_day: Days
    cancel_day: Days

    def on(self, rows: Codes, days: Days) -> Flags:
        """Return whether the customers in `rows` are present on `days`."""
        present: Flags = (days > self.signup_day[rows]) & (days < self.cancel_day[rows])
        return present

    def during(self, start: int, stop: int) -> Codes:
        """Return the rows of customers who are present on some day from `start` to `stop - 1`."""
        return np.flatnonzero((self.signup_day < stop - 1) & (self.cancel_day > start))
