"""When each customer is there."""

from dataclasses import dataclass

import numpy as np

from worlds.subscription.arrays import Codes, Days, Flags

#: The day of a cancellation that has not happened.
NEVER = np.int64(2**40)


@dataclass(frozen=True)
class Presence:
    """From the day after signup to the day before the cancellation a customer is there all day."""

    signup_day: Days
    cancel_day: Days

    def on(self, rows: Codes, days: Days) -> Flags:
        """Say whether the customers in `rows` are there on `days`."""
        there: Flags = (days > self.signup_day[rows]) & (days < self.cancel_day[rows])
        return there

    def during(self, start: int, stop: int) -> Codes:
        """Rows of the customers who are there on some day from `start` to `stop - 1`."""
        return np.flatnonzero((self.signup_day < stop - 1) & (self.cancel_day > start))
