"""Support tickets: when they open and close, their reasons and moods."""

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Days, Flags, Floats
from worlds.subscription.happenings import EventHistory
from worlds.subscription.months import Month, MonthGrid
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, People
from worlds.subscription.presence import Presence
from worlds.subscription.settings import SHORTEST_MONTH_DAYS
from worlds.subscription.tables import records, strings, utc_timestamps
from worlds.subscription.ticket_text import MOODS, REASONS, draw_texts

CHANNELS = ("email", "chat", "phone")
#: The largest number of tickets of a customer in a month; a ticket's id depends on it.
CHANCES = 2
HIGHEST_CHANCE = 0.9

#: By reason, in the order of `REASONS`: weights, mean days until closed, priorities, and shares of the moods.
REASON_WEIGHTS = np.array([0.33, 0.22, 0.2, 0.08, 0.17])
MEAN_DAYS_OPEN = np.array([2.0, 5.0, 8.0, 4.0, 12.0])
PRIORITIES = np.array([1, 2, 3, 2, 1])
MOOD_SHARES = np.array([[0.8, 0.17, 0.03], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4], [0.4, 0.35, 0.25], [0.85, 0.12, 0.03]])
BILLING, OUTAGE, CANCELLATION = REASONS.index("billing"), REASONS.index("outage"), REASONS.index("cancellation")
ANGRY = MOODS.index("angry")

#: A failed payment or a price rise in the last 31 days multiplies the probability of a ticket, and the weight of `billing`.
MONEY_FACTOR = 2.0
MONEY_BILLING_FACTOR = 4.0
#: Losing interest multiplies the weight of `cancellation`.
SLIDING_CANCELLATION_FACTOR = 4.0


@dataclass(frozen=True)
class Tickets:
    """Tickets, one value for each; `rows` are indices of customers, codes are indices into `REASONS`, `MOODS`, `CHANNELS`."""

    rows: Codes
    ticket_ids: Codes
    open_days: Days
    open_seconds: Codes
    close_days: Days
    close_seconds: Codes
    reasons: Codes
    moods: Codes
    channels: Codes

    def only(self, kept: Flags) -> "Tickets":
        """Return the tickets of a mask."""
        return Tickets(**{name: values[kept] for name, values in vars(self).items()})

    def with_more(self, others: "Tickets") -> "Tickets":
        """Return these tickets followed by `others`."""
        return Tickets(**{name: np.concatenate([values, getattr(others, name)]) for name, values in vars(self).items()})


@dataclass(frozen=True)
class Circumstances:
    """Causes of tickets per customer: a failed payment or price rise within 31 days, loss of interest; and the plan."""

    money_trouble: Flags
    sliding: Flags
    plans: Codes


class Support:
    """The tickets of a chunk: the open ones, and those of the last 90 days by reason and mood."""

    def __init__(self, people: People, ticket_rate: float, plan_names: tuple[str, ...]) -> None:
        self._people = people
        self._plan_names = plan_names
        self._chances = np.minimum(ticket_rate / CHANCES * people.ticket_risk, HIGHEST_CHANCE)
        nothing = np.empty(0, np.int64)
        self._open = Tickets(*[nothing] * len(fields(Tickets)))
        self.by_reason = {reason: EventHistory(len(people)) for reason in (BILLING, OUTAGE, CANCELLATION)}
        self.angry = EventHistory(len(people))

    def open_counts(self) -> Floats:
        """Return each customer's number of tickets that are open when the next month starts."""
        return np.bincount(self._open.rows, minlength=len(self._people)).astype(np.float64)

    def serve(
        self, circumstances: Circumstances, presence: Presence, rng: np.random.Generator, month: Month
    ) -> pa.Table:
        """Draw the tickets that open or close in a month; return them as records of `tickets`."""
        opened = self._open_tickets(rng, circumstances, month)
        opened = opened.only(presence.on(opened.rows, opened.open_days))
        self._remember(opened)
        unresolved = self._open.with_more(opened)
        closing = unresolved.close_days < month.stop
        closed = unresolved.only(closing)
        closed = closed.only(presence.on(closed.rows, closed.close_days))
        self._open = unresolved.only(~closing)
        plans = circumstances.plans[opened.rows]
        texts = draw_texts(rng, opened.reasons, opened.moods, plans, self._plan_names)
        no_texts = pa.nulls(len(closed.rows), pa.string())
        return pa.concat_tables(
            [self._records(opened, "opened", texts, month.grid), self._records(closed, "closed", no_texts, month.grid)]
        )

    def _open_tickets(self, rng: np.random.Generator, circumstances: Circumstances, month: Month) -> Tickets:
        size, trouble = len(self._people), circumstances.money_trouble
        chances = np.minimum(self._chances * np.where(trouble, MONEY_FACTOR, 1.0), HIGHEST_CHANCE)
        rows, numbers = np.nonzero(rng.random((size, CHANCES)) < chances[:, None])
        reasons = _draw_reasons(rng, trouble[rows], circumstances.sliding[rows])
        count = len(rows)
        open_days = month.start + rng.integers(0, SHORTEST_MONTH_DAYS, count)
        return Tickets(
            rows=rows,
            ticket_ids=self._people.customer_id[rows] * 1_000 + month.ordinal * CHANCES + numbers,
            open_days=open_days,
            open_seconds=rng.integers(DAY_STARTS, DAY_ENDS, count),
            close_days=open_days + rng.geometric(1 / MEAN_DAYS_OPEN[reasons]),
            close_seconds=rng.integers(DAY_STARTS, DAY_ENDS, count),
            reasons=reasons,
            moods=_choose(rng, MOOD_SHARES[reasons]),
            channels=rng.choice(len(CHANNELS), count, p=[0.5, 0.35, 0.15]),
        )

    def _remember(self, opened: Tickets) -> None:
        for reason, history in self.by_reason.items():
            chosen = opened.reasons == reason
            history.add(opened.rows[chosen], opened.open_days[chosen])
        angry = opened.moods == ANGRY
        self.angry.add(opened.rows[angry], opened.open_days[angry])

    def _records(self, tickets: Tickets, state: str, texts: pa.Array, grid: MonthGrid) -> pa.Table:
        opened = grid.moments(tickets.open_days, tickets.open_seconds)
        closed = grid.moments(tickets.close_days, tickets.close_seconds)
        return records(
            "tickets",
            customer_id=self._people.customer_id[tickets.rows],
            event_time=opened if state == "opened" else closed,
            ticket_id=tickets.ticket_ids,
            state=pa.repeat(state, len(tickets.rows)),
            opened_at=utc_timestamps(opened),
            channel=strings(CHANNELS, tickets.channels),
            reason=strings(REASONS, tickets.reasons),
            priority=PRIORITIES[tickets.reasons],
            text=texts,
        )


def _draw_reasons(rng: np.random.Generator, money_trouble: Flags, sliding: Flags) -> Codes:
    weights = np.tile(REASON_WEIGHTS, (len(money_trouble), 1))
    weights[:, BILLING] *= np.where(money_trouble, MONEY_BILLING_FACTOR, 1.0)
    weights[:, CANCELLATION] *= np.where(sliding, SLIDING_CANCELLATION_FACTOR, 1.0)
    return _choose(rng, weights / weights.sum(axis=1, keepdims=True))


def _choose(rng: np.random.Generator, shares: Floats) -> Codes:
    """Draw a column for each row of `shares`, whose rows sum to 1; return the indices."""
    passed = rng.random(len(shares))[:, None] >= np.cumsum(shares, axis=1)[:, :-1]
    chosen: Codes = passed.sum(axis=1)
    return chosen
