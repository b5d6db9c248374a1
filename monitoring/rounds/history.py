"""The history of a model: rounds of monitoring, retrainings and changes of roles, in the order in which they happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.terminal import terminal_table
from models.releases import ledger
from models.releases.retrainings import RetrainingEvent, latest_events
from monitoring.rounds.record import RecordedRound, recorded_rounds

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import RoleChange


@dataclass(frozen=True)
class History:
    """The latest rounds, retrainings and changes of roles of a model, the earliest first."""

    model: str
    events: tuple[RecordedRound | RetrainingEvent | RoleChange, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the history as JSON types."""
        return {"model": self.model, "events": [_plain_event(each) for each in self.events]}

    def table(self) -> Table:
        """Return a terminal table with a row for each event."""
        table = terminal_table("when (UTC)", "what", "release", "who", "why", title=f"History of {self.model}")
        for event in self.events:
            table.add_row(f"{_when(event):%Y-%m-%d %H:%M:%S}", *_cells(event))
        return table


def _plain_event(event: RecordedRound | RetrainingEvent | RoleChange) -> dict[str, object]:
    if isinstance(event, RecordedRound):
        return event.to_dict()
    return {"kind": "retraining" if isinstance(event, RetrainingEvent) else "role", **plain(event)}


def _when(event: RecordedRound | RetrainingEvent | RoleChange) -> datetime:
    if isinstance(event, RecordedRound):
        return event.decided_at
    return event.happened_at if isinstance(event, RetrainingEvent) else event.since


def _cells(event: RecordedRound | RetrainingEvent | RoleChange) -> tuple[str, str, str, str]:
    if isinstance(event, RecordedRound):
        done = ", done" if event.acted else ""
        reasons = event.reasons[0] if event.reasons else ""
        return f"round: {event.decision}{done}", event.target or event.champion, event.actor, reasons
    if isinstance(event, RetrainingEvent):
        what = f"retraining: {event.event.replace('_', ' ')}"
        return what, event.release_id or "none", event.actor, event.reason
    return f"{event.role} by {event.cause}", event.release_id or "none", event.actor, event.reason


def read_history(settings: Settings, plan: Plan, limit: int) -> History:
    """Return the latest `limit` rounds, retrainings and changes of roles of the plan's model."""
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        events: list[RecordedRound | RetrainingEvent | RoleChange] = [
            *recorded_rounds(connection, model, limit),
            *latest_events(connection, model, limit),
            *ledger.history(connection, model),
        ]
    return History(model, tuple(sorted(events, key=_when)[-limit:]))
