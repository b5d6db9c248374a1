"""The month grid: calendar months in UTC, days counted from the first day of the lead-in.

The lead-in is the three months before `start_date`. Existing customers use the service, pay and open tickets in it, but do not
cancel (they exist because they did not), so that 90-day windows are complete in month 0.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from worlds.subscription.arrays import Codes, Days, Moments

LEAD_IN_MONTHS = 3


@dataclass(frozen=True)
class MonthGrid:
    """The first days of the months.

    Attributes
    ----------
    first : first day of the lead-in, which is day 0, as datetime64[D].
    starts : first day of each month, lead-in included, and the day after the last month.

    """

    first: np.datetime64
    starts: Days

    @property
    def months(self) -> int:
        """Number of months of the history, without the lead-in."""
        return len(self.starts) - 1 - LEAD_IN_MONTHS

    @property
    def days(self) -> int:
        """Number of days, lead-in included."""
        return int(self.starts[-1])

    @property
    def history_days(self) -> int:
        """Number of days of the history, without the lead-in."""
        return self.days - self.start_day(0)

    def start_day(self, month: int) -> int:
        """Return the first day of `month`; -3 to -1 are the lead-in, `months` is the one after the history."""
        return int(self.starts[month + LEAD_IN_MONTHS])

    def moments(self, days: Days, seconds: Codes) -> Moments:
        """Return the instants at these seconds of these days, as datetime64[us] in UTC."""
        micros = (days * 86_400 + seconds) * 1_000_000
        moments: Moments = self.first.astype("datetime64[us]") + micros.astype("timedelta64[us]")
        return moments

    def month(self, number: int) -> "Month":
        """Return one month; -3 to -1 are the lead-in."""
        return Month(self, number)


@dataclass(frozen=True)
class Month:
    """One month of a grid: the days `start` to `stop - 1`; `number` 0 is the first of the history."""

    grid: MonthGrid
    number: int

    @property
    def start(self) -> int:
        """First day."""
        return self.grid.start_day(self.number)

    @property
    def stop(self) -> int:
        """The day after the last."""
        return self.grid.start_day(self.number + 1)

    @property
    def ordinal(self) -> int:
        """Number of months since the lead-in began."""
        return self.number + LEAD_IN_MONTHS

    @property
    def begins(self) -> np.datetime64:
        """First instant, UTC, as datetime64[us]."""
        begins: np.datetime64 = (self.grid.first + np.timedelta64(self.start, "D")).astype("datetime64[us]")
        return begins

    @property
    def of_year(self) -> int:
        """Calendar month, 1 = January."""
        return int(self.begins.astype("datetime64[M]").astype(np.int64) % 12) + 1


def month_grid(start_date: date, months: int) -> MonthGrid:
    """Return the grid of `months` months from `start_date`, the first of a month, with the lead-in before it."""
    start = np.datetime64(start_date, "M")
    edges = (start + np.arange(-LEAD_IN_MONTHS, months + 1)).astype("datetime64[D]")
    return MonthGrid(first=edges[0], starts=(edges - edges[0]).astype(np.int64))
