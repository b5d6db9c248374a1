"""The record of rounds in PostgreSQL: rows are added to it, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from core.json_text import plain
from monitoring.rounds.rules import Decision, PastRound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import psycopg

FORMAT_VERSION = 1


@dataclass(frozen=True)
class NewRound:
    """A round to record; `findings` has the results of its checks as JSON types, `acted` whether it changed a role."""

    model: str
    champion: str
    challenger: str | None
    began_at: datetime
    as_of: datetime
    decision: Decision
    reasons: Sequence[str]
    findings: Mapping[str, Any]
    has_drift: bool
    target: str | None
    acted: bool
    actor: str


@dataclass(frozen=True)
class RecordedRound:
    """A round as the history shows it."""

    round_id: int
    champion: str
    challenger: str | None
    as_of: datetime
    decision: str
    reasons: list[str]
    target: str | None
    acted: bool
    actor: str
    decided_at: datetime

    def to_dict(self) -> dict[str, object]:
        """Return the round as JSON types."""
        return {"kind": "round", **plain(self)}


def record(connection: psycopg.Connection, new: NewRound) -> int:
    """Insert a round; return its id."""
    row = connection.execute(
        "INSERT INTO panthera.monitor_round (format_version, model, champion, challenger, began_at, as_of, decision, reasons, "
        "findings, has_drift, target, acted, actor) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "RETURNING round_id",
        [
            FORMAT_VERSION,
            new.model,
            new.champion,
            new.challenger,
            new.began_at,
            new.as_of,
            str(new.decision),
            Jsonb(list(new.reasons)),
            Jsonb(dict(new.findings)),
            new.has_drift,
            new.target,
            new.acted,
            new.actor,
        ],
    ).fetchone()
    assert row is not None, "INSERT ... RETURNING returns its row"
    return int(row[0])


def past_rounds(connection: psycopg.Connection, model: str, limit: int = 100) -> list[PastRound]:
    """Fetch the latest rounds of a model, the latest first."""
    rows = connection.execute(
        "SELECT champion, as_of, decision, has_drift FROM panthera.monitor_round WHERE model = %s "
        "ORDER BY round_id DESC LIMIT %s",
        [model, limit],
    )
    return [PastRound(champion, as_of, Decision(decision), drift) for champion, as_of, decision, drift in rows]


def recorded_rounds(connection: psycopg.Connection, model: str, limit: int) -> list[RecordedRound]:
    """Fetch the latest rounds of a model, the latest first."""
    with connection.cursor(row_factory=class_row(RecordedRound)) as cursor:
        return cursor.execute(
            "SELECT round_id, champion, challenger, as_of, decision, reasons, target, acted, actor, decided_at "
            "FROM panthera.monitor_round WHERE model = %s ORDER BY round_id DESC LIMIT %s",
            [model, limit],
        ).fetchall()
