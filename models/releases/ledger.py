"""The ledger of releases in PostgreSQL: what each was made of, what the gate said of it, and who had which role since when.

Nothing in it is ever changed: a role is held by the newest entry of its history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from core.postgres.advisory_locks import Lock, hold_on_name
from core.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    import psycopg

    from core.roles import Role

Cause = Literal["register", "promote", "rollback", "retire"]
Outcome = Literal["first", "won", "undecided", "lost", "not_comparable"]
FORMAT_VERSION = 1
_COLUMNS = (
    "release_id, format_version, model, candidate, bundle_digest, feature_service, data_revision, code_revision, "
    "registry_version, metrics, created_at, lock, registered_by"
)


@dataclass(frozen=True)
class NewRelease:
    """What is entered of a release.

    Attributes
    ----------
    registry_version : its version in MLflow's registry when it was entered; there, its bundle's digest names it for good.
    lock : sha256 of the locked packages it was made with; empty if that was not kept.
    registered_by : who entered it.

    """

    release_id: str
    model: str
    candidate: str
    bundle_digest: str
    feature_service: str
    data_revision: str
    code_revision: str
    registry_version: str
    metrics: dict[str, float]
    lock: str = ""
    registered_by: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class LedgerRelease(NewRelease):
    """A release as the ledger holds it."""

    format_version: int
    created_at: datetime


@dataclass(frozen=True)
class Act:
    """What brings a change of roles about, who does it, and why."""

    cause: Cause
    actor: str
    reason: str


@dataclass(frozen=True)
class RoleChange:
    """An entry of the history: from `since` on `release_id` has `role` in place of `replaced`; None is nobody."""

    change_id: int
    role: Role
    release_id: str | None
    replaced: str | None
    cause: Cause
    actor: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class Verdict:
    """What the gate said of a release against the champion of then (None: there was none), check by check."""

    release_id: str
    against: str | None
    outcome: Outcome
    reason: str
    checks: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class LedgerVerdict(Verdict):
    """A verdict as the ledger holds it."""

    actor: str
    decided_at: datetime


@dataclass(frozen=True)
class ServedDay:
    """How many predictions a release gave on a day (in UTC) to the entities of an arm."""

    day: date
    arm: str
    predictions: int


def find(connection: psycopg.Connection, release_id: str) -> LedgerRelease | None:
    """Find a release by its id."""
    with connection.cursor(row_factory=class_row(LedgerRelease)) as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM panthera.release WHERE release_id = %s", [release_id])
        return cursor.fetchone()


def newest(connection: psycopg.Connection, model: str | None, limit: int) -> list[LedgerRelease]:
    """List the latest releases of `model`, or of all models, the newest first."""
    with connection.cursor(row_factory=class_row(LedgerRelease)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM panthera.release WHERE model = coalesce(%s, model) "
            "ORDER BY created_at DESC, release_id LIMIT %s",
            [model, limit],
        )
        return cursor.fetchall()


def enter(connection: psycopg.Connection, release: NewRelease) -> bool:
    """Enter `release`; return False, and change nothing, if it stands there already."""
    entered = connection.execute(
        "INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest, feature_service, "
        "data_revision, code_revision, registry_version, metrics, lock, registered_by) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (release_id) DO NOTHING",
        [
            release.release_id,
            FORMAT_VERSION,
            release.model,
            release.candidate,
            release.bundle_digest,
            release.feature_service,
            release.data_revision,
            release.code_revision,
            release.registry_version,
            Jsonb(release.metrics),
            release.lock,
            release.registered_by,
        ],
    )
    return entered.rowcount == 1


def lock_roles(connection: psycopg.Connection, model: str) -> None:
    """Wait until nobody else changes the roles of `model`, and keep others from it until the transaction ends."""
    hold_on_name(connection, Lock.ROLES, model)


def current(connection: psycopg.Connection, model: str, role: str) -> LedgerRelease | None:
    """Find the release that now has `role` for `model`."""
    row = connection.execute(
        "SELECT release_id FROM panthera.release_role WHERE model = %s AND role = %s ORDER BY change_id DESC LIMIT 1",
        [model, role],
    ).fetchone()
    return find(connection, row[0]) if row and row[0] else None


def roles(connection: psycopg.Connection, model: str) -> dict[Role, str | None]:
    """Say which release has each role for `model` now."""
    rows = connection.execute(
        "SELECT DISTINCT ON (role) role, release_id FROM panthera.release_role WHERE model = %s "
        "ORDER BY role, change_id DESC",
        [model],
    ).fetchall()
    held: dict[str, str | None] = dict(rows)
    return {role: held.get(role) for role in ROLES}


def holders(connection: psycopg.Connection, model: str) -> dict[Role, LedgerRelease | None]:
    """Find the release that now has each role for `model`."""
    return {role: current(connection, model, role) for role in ROLES}


def appoint(connection: psycopg.Connection, model: str, role: Role, release_id: str | None, act: Act) -> bool:
    """Give `role` to a release, or to nobody; return False, and write nothing, if that is so already."""
    now = roles(connection, model)[role]
    if now == release_id:
        return False
    connection.execute(
        "INSERT INTO panthera.release_role (model, role, release_id, replaced, cause, actor, reason) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [model, role, release_id, now, act.cause, act.actor, act.reason],
    )
    return True


def history(connection: psycopg.Connection, model: str) -> list[RoleChange]:
    """List every change of the roles of `model`, the oldest first."""
    with connection.cursor(row_factory=class_row(RoleChange)) as cursor:
        cursor.execute(
            "SELECT change_id, role, release_id, replaced, cause, actor, reason, since FROM panthera.release_role "
            "WHERE model = %s ORDER BY change_id",
            [model],
        )
        return cursor.fetchall()


def enter_verdict(connection: psycopg.Connection, model: str, verdict: Verdict, actor: str) -> None:
    """Enter what the gate said."""
    connection.execute(
        "INSERT INTO panthera.verdict (format_version, model, release_id, against, outcome, reason, checks, actor) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            FORMAT_VERSION,
            model,
            verdict.release_id,
            verdict.against,
            verdict.outcome,
            verdict.reason,
            Jsonb(list(verdict.checks)),
            actor,
        ],
    )


def verdicts(connection: psycopg.Connection, release_ids: Sequence[str]) -> list[LedgerVerdict]:
    """List the verdicts about these releases, the oldest first."""
    with connection.cursor(row_factory=class_row(LedgerVerdict)) as cursor:
        cursor.execute(
            "SELECT release_id, against, outcome, reason, checks, actor, decided_at FROM panthera.verdict "
            "WHERE release_id = ANY(%s) ORDER BY verdict_id",
            [list(release_ids)],
        )
        return cursor.fetchall()


def served_days(connection: psycopg.Connection, release: LedgerRelease) -> list[ServedDay]:
    """Count what `release` answered, by day and arm."""
    with connection.cursor(row_factory=class_row(ServedDay)) as cursor:
        cursor.execute(
            "SELECT (logged_at AT TIME ZONE 'UTC')::date AS day, arm, count(*) AS predictions FROM panthera.prediction "
            # The second condition is true of all of them, and lets an index find them.
            "WHERE release_id = %s AND logged_at >= %s GROUP BY day, arm ORDER BY day, arm",
            [release.release_id, release.created_at],
        )
        return cursor.fetchall()
