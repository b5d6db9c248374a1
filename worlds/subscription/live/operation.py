"""Operate day by day: deliver records, request predictions, make offers, and send mature outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from panthera.service.client import SentOutcome
from worlds.subscription.live.business import deliver, month_of
from worlds.subscription.live.journal import DAYS, OUTCOMES, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    import pyarrow as pa

    from panthera.service.client import ServiceClient
    from worlds.subscription.live.business import Business
    from worlds.subscription.live.journal import Journal
    from worlds.subscription.settings import SubscriptionSettings

#: Share of the outcomes that are sent again on the next day, as by a sender that missed the receipt.
_SENT_TWICE = 0.02
#: The largest number of customers whose scores the support desk requests on a day.
_DESK_LIMIT = 50
CAMPAIGN, DESK = "campaign", "desk"


@dataclass
class Known:
    """The knowledge of the business as of a day.

    Attributes
    ----------
    customers : all customers with a known signup, including those who cancelled.
    left : the instant of each known cancellation by customer.
    exposed : the instant of each customer's first prediction.

    """

    customers: set[int] = field(default_factory=set)
    left: dict[int, datetime] = field(default_factory=dict)
    exposed: dict[int, datetime] = field(default_factory=dict)

    def learn(self, records: Mapping[str, pa.Table]) -> list[int]:
        """Add records; return the customers whose cancellation is new."""
        self.customers.update(records["customers"]["customer_id"].to_pylist())
        rows = records["cancellations"]
        gone = dict(zip(rows["customer_id"].to_pylist(), rows["event_time"].to_pylist(), strict=True))
        new = [customer for customer in gone if customer not in self.left]
        self.left |= gone
        return new

    @property
    def present(self) -> list[int]:
        """The customers without a known cancellation, in ascending order."""
        return sorted(self.customers - self.left.keys())


class Operation:
    """Operates the business against the service, one day at a time.

    Parameters
    ----------
    sources : folder of the files that the plan reads.
    refresh : materializes the features of all customers as of an instant.
    expose : records the replayed predictions of an instant as exposures.
    offer : the decision for which a customer gets the offer.
    horizon : length of the label's window.

    """

    def __init__(
        self,
        settings: SubscriptionSettings,
        business: Business,
        client: ServiceClient,
        journal: Journal,
        *,
        sources: Path,
        refresh: Callable[[datetime], object],
        expose: Callable[[datetime], object],
        offer: str,
        horizon: timedelta,
    ) -> None:
        self._settings, self._business, self._client, self._journal = settings, business, client, journal
        self._sources, self._refresh, self._expose = sources, refresh, expose
        self._offer, self._horizon = offer, horizon
        self._rng = np.random.default_rng([settings.seed, len("operation")])
        self._resend: list[SentOutcome] = []
        self.known = Known()

    def day(self, today: datetime) -> dict[str, Any]:
        """Operate at the first instant of `today`, and simulate a month that begins with it; return the counts of the day."""
        records = self._business.known_before(today)
        delivered = deliver(records, self._sources, today)
        self._refresh(today)
        newly_left = self.known.learn(records)
        done = {"day": today.date(), "records": delivered, **self._send_outcomes(self._due(today, newly_left), today)}
        if today.day == 1:
            done[CAMPAIGN], done["offers"] = self._campaign(today)
        done[DESK] = self._request_predictions(self._callers(records), today, DESK)[0]
        self._journal.note(DAYS, [done])
        return done

    def _campaign(self, today: datetime) -> tuple[int, int]:
        """Score every customer, make offers by the arms' decisions, and simulate the month; return both counts."""
        asked, answers = self._request_predictions(self.known.present, today, CAMPAIGN)
        self._expose(today)
        offered = [answer["customer"] for answer in answers if answer.get("decision") == self._offer]
        month = month_of(self._settings, today)
        self._journal.note_truth(month, self._business.advance(offered))
        return asked, len(offered)

    def _callers(self, records: Mapping[str, pa.Table]) -> list[int]:
        """Return the customers with a new ticket and an earlier prediction: the desk never makes a first exposure."""
        tickets = records["tickets"]
        opened = tickets.filter(pc.equal(tickets["state"], "opened"))["customer_id"].unique().to_pylist()
        seen = [customer for customer in opened if customer in self.known.exposed and customer not in self.known.left]
        return sorted(seen)[:_DESK_LIMIT]

    def _request_predictions(
        self, customers: Sequence[int], today: datetime, why: str
    ) -> tuple[int, list[dict[str, Any]]]:
        answers = self._client.predict(customers, today)
        entries = [
            {"customer": customer, "as_of": today, "why": why, **_answer_entry(answer)}
            for customer, answer in zip(customers, answers, strict=True)
        ]
        for entry in entries:
            if "prediction_id" in entry:
                self.known.exposed.setdefault(entry["customer"], today)
        self._journal.note(PREDICTIONS, entries)
        return len(entries), entries

    def _due(self, today: datetime, newly_left: Sequence[int]) -> list[SentOutcome]:
        """Return the outcomes that are known today: new cancellations, and label windows that closed without one."""
        exposed, left = self.known.exposed, self.known.left
        cancelled = [SentOutcome(f"left-{who}", who, left[who], 1) for who in newly_left if who in exposed]
        closing = [who for who, since in exposed.items() if since + self._horizon == today]
        stayed = [who for who in closing if who not in left or left[who] > today]
        return cancelled + [SentOutcome(f"stayed-{who}-{today:%Y%m%d}", who, today, 0) for who in stayed]

    def _send_outcomes(self, due: list[SentOutcome], today: datetime) -> dict[str, int]:
        repeated, self._resend = self._resend, [outcome for outcome in due if self._rng.random() < _SENT_TWICE]
        sent = [*due, *repeated]
        receipt = self._client.send_outcomes(sent)
        self._journal.note(OUTCOMES, [_outcome_entry(outcome, today) for outcome in sent])
        return {
            "outcomes": len(sent),
            "told_twice": len(repeated),
            "stored": receipt.stored,
            "duplicates": receipt.duplicates,
        }


def _answer_entry(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an answer for the journal: all except the features' states."""
    return {
        name: answer[name]
        for name in ("prediction_id", "release", "arm", "score", "decision", "error")
        if name in answer
    }


def _outcome_entry(outcome: SentOutcome, today: datetime) -> dict[str, Any]:
    """Return the journal's entry for an outcome that was sent."""
    return {
        "outcome_id": outcome.outcome_id,
        "customer": outcome.entity,
        "observed_at": outcome.observed_at,
        "value": outcome.value,
        "sent_on": today,
    }
