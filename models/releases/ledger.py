"""The ledger of releases in PostgreSQL: the origin of each release, its verdicts, and the history of roles.

The ledger is append-only: the newest entry of a role's history says which release has it.
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
    """A release to insert into the ledger.

    Attributes
    ----------
    registry_version : its version in MLflow's registry at that time; the digest of its bundle identifies it permanently.
    lock : sha256 of the locked packages; empty if unknown.
    registered_by : who registered it.

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
    """A release as a row of the ledger."""

    format_version: int
    created_at: datetime


@dataclass(frozen=True)
class Act:
    """The cause, the actor and the reason of a change of roles."""

    cause: Cause
    actor: str
    reason: str


@dataclass(frozen=True)
class RoleChange:
    """An entry of the history: from `since` on `release_id` has `role` instead of `replaced`; None is no release."""

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
    """The gate's verdict on a release against the champion of that time (None: there was none), with all checks."""

    release_id: str
    against: str | None
    outcome: Outcome
    reason: str
    checks: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class LedgerVerdict(Verdict):
    """A verdict as a row of the ledger."""

    actor: str
    decided_at: datetime


@dataclass(frozen=True)
class ServedDay:
    """The number of predictions of a release on a day (in UTC) for the entities of an arm."""

    day: date
    arm: str
    predictions: int


def find_release(connection: psycopg.Connection, release_id: str) -> LedgerRelease | None:
    """Fetch a release by its id; None if there is none."""
    with connection.cursor(row_factory=class_row(LedgerRelease)) as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM panthera.release WHERE release_id = %s", [release_id])
        return cursor.fetchone()


def newest(connection: psycopg.Connection, model: str | None, limit: int) -> list[LedgerRelease]:
    """Fetch the latest releases of `model`, or of all models, the newest first."""
    with connection.cursor(row_factory=class_row(LedgerRelease)) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM panthera.release WHERE model = coalesce(%s, model) "
            "ORDER BY created_at DESC, release_id LIMIT %s",
            [model, limit],
        )
        return cursor.fetchall()


def enter(connection: psycopg.Connection, release: NewRelease) -> bool:
    """Insert `release`; return False, and change nothing, if it already exists."""
    inserted = connection.execute(
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
    return inserted.rowcount == 1


def lock_roles(connection: psycopg.Connection, model: str) -> None:
    """Acquire the advisory lock on the roles of `model` until the transaction ends."""
    hold_on_name(connection, Lock.ROLES, model)


def current(connection: psycopg.Connection, model: str, role: str) -> LedgerRelease | None:
    """Fetch the release that currently has `role` for `model`, or None."""
    row = connection.execute(
        "SELECT release_id FROM panthera.release_role WHERE model = %s AND role = %s ORDER BY change_id DESC LIMIT 1",
        [model, role],
    ).fetchone()
    return find_release(connection, row[0]) if row and row[0] else None


def roles(connection: psycopg.Connection, model: str) -> dict[Role, str | None]:
    """Fetch the id of the release that currently has each role for `model`; None for a vacant role."""
    rows = connection.execute(
        "SELECT DISTINCT ON (role) role, release_id FROM panthera.release_role WHERE model = %s "
        "ORDER BY role, change_id DESC",
        [model],
    ).fetchall()
    held: dict[str, str | None] = dict(rows)
    return {role: held.get(role) for role in ROLES}


def holders(connection: psycopg.Connection, model: str) -> dict[Role, LedgerRelease | None]:
    """Fetch the release that currently has each role for `model`; None for a vacant role."""
    return {role: current(connection, model, role) for role in ROLES}


def appoint(connection: psycopg.Connection, model: str, role: Role, release_id: str | None, act: Act) -> bool:
    """Write that `release_id` (None: no release) has `role`; return False, and write nothing, if it already has."""
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
    """Fetch every change of the roles of `model`, the oldest first."""
    with connection.cursor(row_factory=class_row(RoleChange)) as cursor:
        cursor.execute(
            "SELECT change_id, role, release_id, replaced, cause, actor, reason, since FROM panthera.release_role "
            "WHERE model = %s ORDER BY change_id",
            [model],
        )
        return cursor.fetchall()


def enter_verdict(connection: psycopg.Connection, model: str, verdict: Verdict, actor: str) -> None:
    """Insert a verdict of the gate."""
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
    """Fetch the verdicts on these releases, the oldest first."""
    with connection.cursor(row_factory=class_row(LedgerVerdict)) as cursor:
        cursor.execute(
            "SELECT release_id, against, outcome, reason, checks, actor, decided_at FROM panthera.verdict "
            "WHERE release_id = ANY(%s) ORDER BY verdict_id",
            [list(release_ids)],
        )
        return cursor.fetchall()


def served_days(connection: psycopg.Connection, release: LedgerRelease) -> list[ServedDay]:
    """Fetch the numbers of predictions of `release` by day and arm."""
    with connection.cursor(row_factory=class_row(ServedDay)) as cursor:
        cursor.execute(
            "SELECT (logged_at AT TIME ZONE 'UTC')::date AS day, arm, count(*) AS predictions FROM panthera.prediction "
            # All rows satisfy the second condition; it enables an index.
            "WHERE release_id = %s AND logged_at >= %s GROUP BY day, arm ORDER BY day, arm",
            [release.release_id, release.created_at],
        )
        return cursor.fetchall()
