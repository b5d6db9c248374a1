"""Invoices and payments; all payments of an invoice fall into its month."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Days, Flags, Floats
from worlds.subscription.happenings import EventHistory
from worlds.subscription.months import Month, MonthGrid
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, People
from worlds.subscription.presence import Presence
from worlds.subscription.settings import Behaviour
from worlds.subscription.tables import dates, records, strings

STATUSES = ("paid", "late", "failed", "refunded")
PAID, LATE, FAILED, REFUNDED = range(len(STATUSES))
METHODS = ("card", "debit", "wallet")

#: Days after the invoice. The last billing day is the 12th, so a refund falls on the 28th at the latest.
DUE_DAYS = 7
PAID_WITHIN_DAYS = 3
LATE_FROM_DAYS, LATE_TO_DAYS = 8, 13
RETRY_AFTER_DAYS = 5
REFUND_FROM_DAYS, REFUND_TO_DAYS = 14, 16
#: Upper bound of a customer's probability that a charge fails or is late.
HIGHEST_CHANCE = 0.9
#: Most attempts that one invoice can have: the charge, the second charge, the refund.
ATTEMPTS = 10


@dataclass(frozen=True)
class Invoices:
    """A month's invoices, one value for each; `rows` are indices of customers, amounts are in EUR."""

    rows: Codes
    invoice_ids: Codes
    days: Days
    amounts: Floats


@dataclass(frozen=True)
class Attempts:
    """Attempts to pay or refund, one value for each; `invoices` are indices into the month's invoices."""

    invoices: Codes
    days: Days
    statuses: Codes
    numbers: Codes


@dataclass(frozen=True)
class BillingMonth:
    """The month's records of the tables `invoices` and `payments`."""

    invoices: pa.Table
    payments: pa.Table


class Billing:
    """Draws the invoices and payments of a chunk, and stores failed and late payments for the hazard's terms."""

    def __init__(self, people: People, behaviour: Behaviour) -> None:
        self._people = people
        self._fails = np.minimum(behaviour.payment_failure_rate * people.payment_risk, HIGHEST_CHANCE)
        self._lates = np.minimum(behaviour.late_payment_rate * people.late_risk, HIGHEST_CHANCE)
        self._behaviour = behaviour
        self.failed = EventHistory(len(people))
        self.late = EventHistory(len(people))

    def bill(self, prices: Floats, presence: Presence, rng: np.random.Generator, month: Month) -> BillingMonth:
        """Return a month's invoices and payments at `prices` (EUR per customer) for customers present on the billing day."""
        billing_days = month.start + self._people.billing_day - 1
        rows = np.flatnonzero(presence.on(np.arange(len(self._people)), billing_days))
        invoices = Invoices(
            rows=rows,
            invoice_ids=self._people.customer_id[rows] * 1_000 + month.ordinal,
            days=billing_days[rows],
            amounts=prices[rows],
        )
        attempts = self._collect(rng, rows, invoices.days)
        attempts = _only(attempts, presence.on(rows[attempts.invoices], attempts.days))
        self._remember(rows, attempts)
        return BillingMonth(
            invoices=self._invoice_records(rng, invoices, month.grid),
            payments=self._payment_records(rng, invoices, attempts, month.grid),
        )

    def _collect(self, rng: np.random.Generator, rows: Codes, days: Days) -> Attempts:
        """Draw one charge per invoice, a second one after a failure, and refunds of some paid invoices."""
        size = len(rows)
        draws = rng.random(size)
        fails = self._fails[rows]
        late_edge = fails + (1 - fails) * self._lates[rows]
        first = np.where(draws < fails, FAILED, np.where(draws < late_edge, LATE, PAID))
        soon = rng.integers(0, PAID_WITHIN_DAYS, size)
        first_days = days + np.where(first == LATE, rng.integers(LATE_FROM_DAYS, LATE_TO_DAYS + 1, size), soon)
        again = np.flatnonzero(first == FAILED)
        second = np.where(rng.random(size)[again] < self._behaviour.retry_success_rate, PAID, FAILED)
        back = np.flatnonzero((first == PAID) & (rng.random(size) < self._behaviour.refund_rate))
        return Attempts(
            invoices=np.concatenate([np.arange(size), again, back]),
            days=np.concatenate(
                [
                    first_days,
                    first_days[again] + RETRY_AFTER_DAYS,
                    days[back] + rng.integers(REFUND_FROM_DAYS, REFUND_TO_DAYS + 1, size)[back],
                ]
            ),
            statuses=np.concatenate([first, second, np.full(len(back), REFUNDED)]),
            numbers=np.repeat([0, 1, 2], [size, len(again), len(back)]),
        )

    def _remember(self, rows: Codes, attempts: Attempts) -> None:
        for status, history in ((FAILED, self.failed), (LATE, self.late)):
            chosen = attempts.statuses == status
            history.add(rows[attempts.invoices[chosen]], attempts.days[chosen])

    def _invoice_records(self, rng: np.random.Generator, invoices: Invoices, grid: MonthGrid) -> pa.Table:
        days = invoices.days
        return records(
            "invoices",
            customer_id=self._people.customer_id[invoices.rows],
            event_time=grid.moments(days, rng.integers(DAY_STARTS, DAY_ENDS, len(days))),
            invoice_id=invoices.invoice_ids,
            amount=invoices.amounts,
            due_date=dates(grid.moments(days + DUE_DAYS, np.zeros_like(days))),
        )

    def _payment_records(
        self, rng: np.random.Generator, invoices: Invoices, attempts: Attempts, grid: MonthGrid
    ) -> pa.Table:
        size = len(attempts.invoices)
        invoice_ids = invoices.invoice_ids[attempts.invoices]
        return records(
            "payments",
            customer_id=self._people.customer_id[invoices.rows[attempts.invoices]],
            event_time=grid.moments(attempts.days, rng.integers(DAY_STARTS, DAY_ENDS, size)),
            payment_id=invoice_ids * ATTEMPTS + attempts.numbers,
            invoice_id=invoice_ids,
            amount=invoices.amounts[attempts.invoices],
            status=strings(STATUSES, attempts.statuses),
            method=strings(METHODS, rng.choice(len(METHODS), size, p=[0.6, 0.25, 0.15])),
        )


def _only(attempts: Attempts, kept: Flags) -> Attempts:
    return Attempts(**{name: values[kept] for name, values in vars(attempts).items()})
