"""The history of a model: rounds of monitoring and changes of roles, in the order in which they happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.terminal import terminal_table
from models.releases import ledger
from monitoring.rounds.record import RecordedRound, recorded_rounds

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import RoleChange


@dataclass(frozen=True)
class History:
    """The latest rounds and changes of roles of a model, the earliest first."""

    model: str
    events: tuple[RecordedRound | RoleChange, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the history as JSON types."""
        events = [
            each.to_dict() if isinstance(each, RecordedRound) else {"kind": "role", **plain(each)}
            for each in self.events
        ]
        return {"model": self.model, "events": events}

    def table(self) -> Table:
        """Return a terminal table with a row for each event."""
        table = terminal_table("when (UTC)", "what", "release", "who", "why", title=f"History of {self.model}")
        for event in self.events:
            table.add_row(f"{_when(event):%Y-%m-%d %H:%M:%S}", *_cells(event))
        return table


def _when(event: RecordedRound | RoleChange) -> datetime:
    return event.decided_at if isinstance(event, RecordedRound) else event.since


def _cells(event: RecordedRound | RoleChange) -> tuple[str, str, str, str]:
    if isinstance(event, RecordedRound):
        done = ", done" if event.acted else ""
        reasons = event.reasons[0] if event.reasons else ""
        return f"round: {event.decision}{done}", event.target or event.champion, event.actor, reasons
    return f"{event.role} by {event.cause}", event.release_id or "none", event.actor, event.reason


def read_history(settings: Settings, plan: Plan, limit: int) -> History:
    """Return the latest `limit` rounds and changes of roles of the plan's model."""
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        events: list[RecordedRound | RoleChange] = [
            *recorded_rounds(connection, model, limit),
            *ledger.history(connection, model),
        ]
    return History(model, tuple(sorted(events, key=_when)[-limit:]))
