"""One day after the other: records arrive, customers are asked about, offers are made, outcomes mature and are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from panthera.service_client import SentOutcome
from worlds.subscription.live.business import deliver, month_of
from worlds.subscription.live.journal import DAYS, OUTCOMES, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    import pyarrow as pa

    from panthera.service_client import ServiceClient
    from worlds.subscription.live.business import Business
    from worlds.subscription.live.journal import Journal
    from worlds.subscription.settings import SubscriptionSettings

#: Share of the outcomes that are told a second time on the next day, as a sender does that missed the receipt.
_TOLD_TWICE = 0.02
#: The most customers whose scores the support desk looks at on a day.
_DESK_LIMIT = 50
CAMPAIGN, DESK = "campaign", "desk"


@dataclass
class Known:
    """What the business knows, as of a day.

    Attributes
    ----------
    customers : all whose signup is known, those who left included.
    left : when each known cancellation happened.
    exposed : when each customer was first asked about.

    """

    customers: set[int] = field(default_factory=set)
    left: dict[int, datetime] = field(default_factory=dict)
    exposed: dict[int, datetime] = field(default_factory=dict)

    def learn(self, records: Mapping[str, pa.Table]) -> list[int]:
        """Take in records; return the customers whose cancellation is new."""
        self.customers.update(records["customers"]["customer_id"].to_pylist())
        rows = records["cancellations"]
        gone = dict(zip(rows["customer_id"].to_pylist(), rows["event_time"].to_pylist(), strict=True))
        new = [customer for customer in gone if customer not in self.left]
        self.left |= gone
        return new

    @property
    def present(self) -> list[int]:
        """Customers of whom no cancellation is known."""
        return sorted(self.customers - self.left.keys())


class Operation:
    """The business and the service, from one day to the next.

    Parameters
    ----------
    sources : folder of the files that the plan reads.
    refresh : brings the features of all customers online as of an instant.
    expose : counts the predictions of an instant, which replay it, as exposures.
    offer : the decision upon which a customer gets the offer.
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
        self._again: list[SentOutcome] = []
        self.known = Known()

    def day(self, today: datetime) -> dict[str, Any]:
        """Operate at the first instant of `today`, and live the month that begins with it; return what was done."""
        records = self._business.known_before(today)
        delivered = deliver(records, self._sources, today)
        self._refresh(today)
        newly_left = self.known.learn(records)
        done = {"day": today.date(), "records": delivered, **self._tell(self._due(today, newly_left), today)}
        if today.day == 1:
            done[CAMPAIGN], done["offers"] = self._campaign(today)
        done[DESK] = self._ask(self._callers(records), today, DESK)[0]
        self._journal.note(DAYS, [done])
        return done

    def _campaign(self, today: datetime) -> tuple[int, int]:
        """Ask about every customer, offer where the arm's decision says so, and live the month."""
        asked, answers = self._ask(self.known.present, today, CAMPAIGN)
        self._expose(today)
        offered = [answer["customer"] for answer in answers if answer.get("decision") == self._offer]
        month = month_of(self._settings, today)
        self._journal.note_truth(month, self._business.advance(offered))
        return asked, len(offered)

    def _callers(self, records: Mapping[str, pa.Table]) -> list[int]:
        """List the customers with a new ticket, who were asked about before: the desk looks at nobody first."""
        tickets = records["tickets"]
        opened = tickets.filter(pc.equal(tickets["state"], "opened"))["customer_id"].unique().to_pylist()
        seen = [customer for customer in opened if customer in self.known.exposed and customer not in self.known.left]
        return sorted(seen)[:_DESK_LIMIT]

    def _ask(self, customers: Sequence[int], today: datetime, why: str) -> tuple[int, list[dict[str, Any]]]:
        answers = self._client.predict(customers, today)
        entries = [
            {"customer": customer, "as_of": today, "why": why, **_kept(answer)}
            for customer, answer in zip(customers, answers, strict=True)
        ]
        for entry in entries:
            if "prediction_id" in entry:
                self.known.exposed.setdefault(entry["customer"], today)
        self._journal.note(PREDICTIONS, entries)
        return len(entries), entries

    def _due(self, today: datetime, newly_left: Sequence[int]) -> list[SentOutcome]:
        """List the outcomes that can be told today: cancellations that became known, and windows that closed."""
        exposed, left = self.known.exposed, self.known.left
        told = [SentOutcome(f"left-{who}", who, left[who], 1) for who in newly_left if who in exposed]
        closing = [who for who, since in exposed.items() if since + self._horizon == today]
        stayed = [who for who in closing if who not in left or left[who] > today]
        return told + [SentOutcome(f"stayed-{who}-{today:%Y%m%d}", who, today, 0) for who in stayed]

    def _tell(self, due: list[SentOutcome], today: datetime) -> dict[str, int]:
        again, self._again = self._again, [told for told in due if self._rng.random() < _TOLD_TWICE]
        sent = [*due, *again]
        receipt = self._client.send_outcomes(sent)
        self._journal.note(OUTCOMES, [_sent(told, today) for told in sent])
        return {
            "outcomes": len(sent),
            "told_twice": len(again),
            "stored": receipt.stored,
            "duplicates": receipt.duplicates,
        }


def _kept(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what the journal keeps of an answer: everything but the features' states."""
    return {
        name: answer[name]
        for name in ("prediction_id", "release", "arm", "score", "decision", "error")
        if name in answer
    }


def _sent(told: SentOutcome, today: datetime) -> dict[str, Any]:
    """Write down an outcome that was told."""
    return {
        "outcome_id": told.outcome_id,
        "customer": told.entity,
        "observed_at": told.observed_at,
        "value": told.value,
        "sent_on": today,
    }
