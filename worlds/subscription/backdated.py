"""Backdated tickets: written after a customer has cancelled, and dated before the month of the cancellation."""

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Moments
from worlds.subscription.changes import BackdatedTickets
from worlds.subscription.feed import PROMPT_SECONDS
from worlds.subscription.months import Month
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, People
from worlds.subscription.support import CHANNELS, PRIORITIES
from worlds.subscription.tables import TABLES, records, strings, utc_timestamps
from worlds.subscription.ticket_text import REASONS

#: A backdated ticket is dated at most this many days before the month.
EARLIEST_DAYS = 28
#: Above the numbers of real tickets, of which a customer has at most two a month; a customer cancels once.
TICKET_NUMBER = 999


def backdated_tickets(
    change: BackdatedTickets,
    rng: np.random.Generator,
    people: People,
    month: Month,
    rows: Codes,
    cancelled: Moments,
) -> pa.Table:
    """Return the backdated tickets of a month in the schema of `tickets`.

    Parameters
    ----------
    rows, cancelled : the customers who cancel in the month, and the instants.

    """
    draws = rng.random(len(rows))
    days = month.start - 1 - rng.integers(0, EARLIEST_DAYS, len(rows))
    seconds, prompt = rng.integers(DAY_STARTS, DAY_ENDS, len(rows)), rng.integers(1, PROMPT_SECONDS + 1, len(rows))
    channels = rng.integers(0, len(CHANNELS), len(rows))
    days = np.maximum(days, people.signup_day[rows] + 1)
    chosen = np.flatnonzero((draws < change.share) & (days < month.start))
    opened = month.grid.moments(days, seconds)[chosen]
    written = opened if change.dated == "back" else cancelled[chosen]
    reason = np.full(len(chosen), REASONS.index("cancellation"))
    happened = records(
        "tickets",
        customer_id=people.customer_id[rows[chosen]],
        event_time=opened,
        ticket_id=people.customer_id[rows[chosen]] * 1_000 + TICKET_NUMBER,
        state=pa.repeat("opened", len(chosen)),
        opened_at=utc_timestamps(opened),
        channel=strings(CHANNELS, channels[chosen]),
        reason=strings(REASONS, reason),
        priority=PRIORITIES[reason],
        text=pa.nulls(len(chosen), pa.string()),
    )
    schema = TABLES["tickets"].schema
    known = written + (prompt[chosen] * 1_000_000).astype("timedelta64[us]")
    return happened.add_column(2, schema.field("created_time"), utc_timestamps(known)).cast(schema)
