"""The ledger of releases in PostgreSQL: what each was made of, and who was champion and challenger since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

Role = Literal["champion", "challenger"]
ROLES: tuple[Role, ...] = ("champion", "challenger")
FORMAT_VERSION = 1
_COLUMNS = (
    "release_id, format_version, model, candidate, bundle_digest, feature_service, data_revision, code_revision, "
    "registry_version, metrics, created_at"
)


@dataclass(frozen=True)
class NewRelease:
    """What is entered of a release; `registry_version` is its version in MLflow's registry."""

    release_id: str
    model: str
    candidate: str
    bundle_digest: str
    feature_service: str
    data_revision: str
    code_revision: str
    registry_version: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class LedgerRelease(NewRelease):
    """A release as the ledger holds it."""

    format_version: int
    created_at: datetime


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


def current(connection: psycopg.Connection, model: str, role: str) -> LedgerRelease | None:
    """Find the release that now has `role` for `model`."""
    row = connection.execute(
        "SELECT release_id FROM panthera.release_role WHERE model = %s AND role = %s ORDER BY change_id DESC LIMIT 1",
        [model, role],
    ).fetchone()
    return find(connection, row[0]) if row else None


def enter(connection: psycopg.Connection, release: NewRelease) -> None:
    """Enter `release`; nothing changes if it stands there already."""
    connection.execute(
        "INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest, feature_service, "
        "data_revision, code_revision, registry_version, metrics) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (release_id) DO NOTHING",
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
        ],
    )


def appoint(connection: psycopg.Connection, model: str, role: Role, release_id: str, reason: str) -> bool:
    """Give `role` to a release; return False, and write nothing, if it has it already."""
    now = current(connection, model, role)
    if now is not None and now.release_id == release_id:
        return False
    connection.execute(
        "INSERT INTO panthera.release_role (model, role, release_id, reason) VALUES (%s, %s, %s, %s)",
        [model, role, release_id, reason],
    )
    return True
