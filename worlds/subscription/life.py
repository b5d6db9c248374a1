"""Simulate one chunk of customers, month by month.

`advance` takes the customers who received the offer for the month. The same code thus writes a history without offers, and
lets a driver act on the world: score the customers by the records so far, decide, advance, and replay the records in the
order of `created_time`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Flags, Floats
from worlds.subscription.backdated import backdated_tickets
from worlds.subscription.billing import Billing
from worlds.subscription.changes import BackdatedTickets, CovariateShift
from worlds.subscription.contracts import Contracts, plan_records
from worlds.subscription.feed import as_recorded
from worlds.subscription.hazard import Hazards, Terms, hazards, wave
from worlds.subscription.months import LEAD_IN_MONTHS, Month, month_grid
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, People, customer_records, draw_people
from worlds.subscription.presence import NEVER, Presence
from worlds.subscription.settings import SubscriptionSettings
from worlds.subscription.streams import Streams, Topic
from worlds.subscription.support import BILLING, CANCELLATION, OUTAGE, Circumstances, Support
from worlds.subscription.tables import HAZARD_SCHEMA, TABLES, records, strings, utc_timestamps
from worlds.subscription.usage import Interest, Usage, daily_probabilities

CANCEL_REASONS = ("price", "service", "not_using", "other")
LONGEST_NOTICE_DAYS = 14
#: A cancelling customer states `not_using` as the reason if the share of active days was below this.
LITTLE_USE = 0.15


@dataclass(frozen=True)
class MonthOfLife:
    """The records and the truth of one month.

    Attributes
    ----------
    month : 0 is the first of the history; negative in the lead-in.
    tables : the records, by table; `created_time` may lie after the month.
    hazard : the truth in `HAZARD_SCHEMA`, a row for each customer at risk; empty in the lead-in.

    """

    month: int
    tables: Mapping[str, pa.Table]
    hazard: pa.Table


class Life:
    """The simulation of one chunk of customers, from the lead-in on."""

    def __init__(self, settings: SubscriptionSettings, chunk: int) -> None:
        self.settings = settings
        self.grid = month_grid(settings.start_date, settings.months)
        self.streams = Streams(settings.seed, chunk)
        self.people: People = draw_people(settings, self.streams, self.grid)
        self.month = -LEAD_IN_MONTHS
        self._plan_names = tuple(plan.name for plan in settings.plans)
        self._cancel_day = np.full(len(self.people), NEVER)
        self._contracts = Contracts(self.people, settings)
        self._billing = Billing(self.people, settings.behaviour)
        self._interest = Interest(self.people, settings.behaviour)
        self._usage = Usage(self.people, self.grid.days)
        self._support = Support(self.people, settings.behaviour.ticket_rate, self._plan_names)

    def customers(self) -> pa.Table:
        """Return the records of the table `customers`, including those who sign up later."""
        happened = customer_records(self.people, self.settings, self.streams, self.grid)
        rng = self.streams.of(Topic.FEED, part=len(TABLES))
        return as_recorded("customers", happened, rng, self.settings.faults, ())

    def at_risk(self) -> Flags:
        """Return the mask of customers who may cancel in the next month: signed up before it, and not cancelled."""
        start = self.grid.start_day(self.month)
        return (self.people.signup_day < start) & (self._cancel_day >= start) & (self.month >= 0)

    def terms(self) -> Terms:
        """Return the hazard's terms at the start of the next month; they are undefined for customers not at risk."""
        day = self.grid.start_day(self.month)
        by_reason = {reason: seen.within(90, day) for reason, seen in self._support.by_reason.items()}
        return Terms(
            log_tenure=np.log1p(np.maximum(day - self.people.signup_day, 0) / 30),
            annual_locked=self._contracts.locked(day).astype(np.float64),
            annual_ending=self._contracts.ending(day).astype(np.float64),
            price_rise_90d=self._contracts.price_rises.within(90, day),
            downgrades_90d=self._contracts.downgrades.within(90, day),
            **vars(self._usage.terms(day)),
            failed_payments_90d=np.minimum(self._billing.failed.within(90, day), 3),
            late_payments_90d=np.minimum(self._billing.late.within(90, day), 3),
            open_tickets=np.minimum(self._support.open_counts(), 2),
            billing_tickets_90d=np.minimum(by_reason[BILLING], 2),
            outage_tickets_90d=np.minimum(by_reason[OUTAGE], 2),
            cancellation_tickets_90d=np.minimum(by_reason[CANCELLATION], 2),
            angry_tickets_90d=np.minimum(self._support.angry.within(90, day), 2),
        )

    def advance(self, offered: Flags | None = None) -> MonthOfLife:
        """Simulate the next month; return its records and hazards.

        Parameters
        ----------
        offered : for each customer, whether the offer was received for this month; by default none was.

        """
        month, hazard, happened = self.grid.month(self.month), HAZARD_SCHEMA.empty_table(), {}
        cancelled = np.empty(0, np.int64)
        if month.number >= 0:
            terms = self.terms()
            truth = hazards(terms, self.people, self.settings, month)
            cancelled, happened["cancellations"] = self._cancel(terms, truth, offered)
            hazard = self._hazard_records(truth, cancelled)
        happened |= self._live(Presence(self.people.signup_day, self._cancel_day), month)
        recorded = self._record(happened, month.number)
        recorded["tickets"] = pa.concat_tables([recorded["tickets"], *self._backdated(month, cancelled, happened)])
        self.month += 1
        return MonthOfLife(month.number, recorded, hazard)

    def _cancel(self, terms: Terms, truth: Hazards, offered: Flags | None) -> tuple[Codes, pa.Table]:
        """Draw the cancellations of the month; return the customers' rows and the records."""
        rng = self.streams.of(Topic.HAZARD, self.month)
        size = len(self.people)
        probabilities = truth.hazard if offered is None else np.where(offered, truth.hazard_with_offer, truth.hazard)
        # Values are drawn for all customers, at risk or not, so that an offer to one does not change another's draws.
        draws, days = rng.random(size), rng.integers(0, self.settings.horizon_days, size)
        seconds, notice = rng.integers(DAY_STARTS, DAY_ENDS, size), rng.integers(0, LONGEST_NOTICE_DAYS + 1, size)
        rows = np.flatnonzero(self.at_risk() & (draws < probabilities))
        self._cancel_day[rows] = self.grid.start_day(self.month) + days[rows]
        return rows, records(
            "cancellations",
            customer_id=self.people.customer_id[rows],
            event_time=self.grid.moments(self._cancel_day[rows], seconds[rows]),
            reason=strings(CANCEL_REASONS, _cancel_reasons(terms)[rows]),
            notice_days=notice[rows],
        )

    def _live(self, presence: Presence, month: Month) -> dict[str, pa.Table]:
        """Simulate billing, usage, tickets and contract changes of the customers who are present; return their events."""
        billed = self._billing.bill(self._contracts.price, presence, self._stream(Topic.BILLING), month)
        self._interest.pass_month(self._stream(Topic.INTEREST))
        used = self._use(presence, month)
        asked = self._support.serve(self._circumstances(month), presence, self._stream(Topic.SUPPORT), month)
        return {
            "plan_changes": self._change_plans(presence, month),
            "invoices": billed.invoices,
            "payments": billed.payments,
            "usage_daily": used,
            "tickets": asked,
        }

    def _stream(self, topic: Topic) -> np.random.Generator:
        return self.streams.of(topic, self.month)

    def _circumstances(self, month: Month) -> Circumstances:
        failed = self._billing.failed.within(31, month.start) > 0
        risen = self._contracts.price_rises.within(31, month.start) > 0
        return Circumstances(failed | risen, self._interest.sliding, self._contracts.plan)

    def _use(self, presence: Presence, month: Month) -> pa.Table:
        seasonality = self.settings.seasonality
        season = wave(seasonality.usage_amplitude, seasonality.usage_peak_month, month.of_year)
        probabilities = daily_probabilities(self._interest, season)
        return self._usage.use(probabilities, self._minutes_factors(), presence, self._stream(Topic.USAGE), month)

    def _minutes_factors(self) -> Floats:
        """Return the product of the factors of the active covariate shifts, per customer."""
        factors = np.ones(len(self.settings.segments))
        for change in self.settings.changes:
            if isinstance(change, CovariateShift) and change.active(self.month):
                factors *= [change.minutes_factor if s.name in change.segments else 1.0 for s in self.settings.segments]
        return factors[self.people.segment]

    def _change_plans(self, presence: Presence, month: Month) -> pa.Table:
        """Return signups and contract changes, drawn after the month's billing: a new price is billed from the next month."""
        rng = self._stream(Topic.PLANS)
        signed = self._contracts.signups(self.people, self._signed_up_in(month))
        changed = self._contracts.change(rng, presence, month)
        return pa.concat_tables(
            plan_records(moves, self.people, self._plan_names, rng, self.grid) for moves in (signed, changed)
        )

    def _signed_up_in(self, month: Month) -> Codes:
        """Return the rows of customers who sign up in the month; in the first month of the lead-in, also of earlier ones."""
        signup = self.people.signup_day
        since = signup.min() if month.ordinal == 0 else month.start
        return np.flatnonzero((signup >= since) & (signup < month.stop))

    def _hazard_records(self, truth: Hazards, cancelled: Codes) -> pa.Table:
        # Customers who cancel during this month are still at risk at its start.
        rows = np.flatnonzero(self.at_risk())
        protected = np.array([g.name == self.settings.protected.gender for g in self.settings.genders])
        return pa.table(
            [
                pa.array(self.people.customer_id[rows]),
                utc_timestamps(np.full(len(rows), self.grid.month(self.month).begins)),
                strings(tuple(s.name for s in self.settings.segments), self.people.segment[rows]),
                pa.array(protected[self.people.gender[rows]]),
                pa.array(truth.hazard[rows]),
                pa.array(truth.hazard_with_offer[rows]),
                pa.array(np.isin(rows, cancelled)),
            ],
            schema=HAZARD_SCHEMA,
        )

    def _backdated(self, month: Month, cancelled: Codes, happened: Mapping[str, pa.Table]) -> Iterator[pa.Table]:
        """Yield the backdated tickets of the month, if the world has that leak."""
        for change in self.settings.changes:
            if isinstance(change, BackdatedTickets) and change.active(month.number) and len(cancelled):
                when = happened["cancellations"]["event_time"].to_numpy()
                rng = self._stream(Topic.BACKDATED)
                yield backdated_tickets(change, rng, self.people, month, cancelled, when)

    def _record(self, happened: Mapping[str, pa.Table], month: int) -> dict[str, pa.Table]:
        active = [change for change in self.settings.changes if change.active(month)]
        return {
            table: as_recorded(
                table, rows, self.streams.of(Topic.FEED, month, list(TABLES).index(table)), self.settings.faults, active
            )
            for table, rows in happened.items()
        }


def _cancel_reasons(terms: Terms) -> Codes:
    """Return each customer's reason to cancel as a code into `CANCEL_REASONS`; the first that applies."""
    tickets = terms.open_tickets + terms.outage_tickets_90d + terms.angry_tickets_90d
    return np.select(
        [terms.price_rise_90d > 0, tickets > 0, terms.active_share_30d < LITTLE_USE],
        [CANCEL_REASONS.index("price"), CANCEL_REASONS.index("service"), CANCEL_REASONS.index("not_using")],
        CANCEL_REASONS.index("other"),
    )
