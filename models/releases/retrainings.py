"""The record of retrainings in PostgreSQL: rows are added when one begins and when it ends, never changed.

While a retraining is open, the stage `register` gives a release that wins the role of challenger, and the champion stays. A
retraining whose process was killed stays open until the next one, or until `register` ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psycopg.rows import class_row

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

Event = Literal["began", "challenger", "no_role", "unchanged", "failed", "interrupted"]
FORMAT_VERSION = 1


@dataclass(frozen=True)
class RetrainingEvent:
    """The beginning or the end of a retraining; `release_id` is the champion at its beginning, then the new release."""

    event_id: int
    event: Event
    release_id: str | None
    reason: str
    actor: str
    happened_at: datetime


def enter_event(
    connection: psycopg.Connection, model: str, event: Event, release_id: str | None, reason: str, actor: str
) -> None:
    """Insert an event."""
    connection.execute(
        "INSERT INTO panthera.retraining_event (format_version, model, event, release_id, reason, actor) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        [FORMAT_VERSION, model, event, release_id, reason, actor],
    )


def latest_events(connection: psycopg.Connection, model: str, limit: int) -> list[RetrainingEvent]:
    """Fetch the latest events of a model, the latest first."""
    with connection.cursor(row_factory=class_row(RetrainingEvent)) as cursor:
        return cursor.execute(
            "SELECT event_id, event, release_id, reason, actor, happened_at FROM panthera.retraining_event "
            "WHERE model = %s ORDER BY event_id DESC LIMIT %s",
            [model, limit],
        ).fetchall()


def open_retraining(connection: psycopg.Connection, model: str) -> RetrainingEvent | None:
    """Fetch the beginning of the retraining that has not ended; None if there is none."""
    latest = latest_events(connection, model, 1)
    return latest[0] if latest and latest[0].event == "began" else None


def end_if_open(
    connection: psycopg.Connection, model: str, event: Event, release_id: str | None, reason: str, actor: str
) -> None:
    """Insert the end of the open retraining, if there is one."""
    if open_retraining(connection, model):
        enter_event(connection, model, event, release_id, reason, actor)
