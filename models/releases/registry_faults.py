"""Find differences between MLflow's tables in the project's database and the ledger; by SQL, as importing MLflow is slow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psycopg

    from core.roles import Role
    from models.releases.ledger import LedgerRelease

_FETCH_ALIASES = """
SELECT alias.alias AS role, tag.value AS digest, version.source, run.lifecycle_stage
FROM mlflow.registered_model_aliases AS alias
JOIN mlflow.model_versions AS version ON version.name = alias.name AND version.version = alias.version
LEFT JOIN mlflow.model_version_tags AS tag
    ON tag.name = version.name AND tag.version = version.version AND tag.key = 'bundle_digest'
LEFT JOIN mlflow.runs AS run ON run.run_uuid = version.run_id
WHERE alias.name = %s AND version.current_stage <> 'Deleted_Internal'
"""
_NEXT = "run `panthera repair`"


class Alias(NamedTuple):
    """The version that an alias names: its bundle's digest, the URI of its files, and the lifecycle stage of its run."""

    role: str
    digest: str | None
    source: str | None
    lifecycle_stage: str | None


def registry_faults(
    connection: psycopg.Connection, project: str, model: str, holders: Mapping[Role, LedgerRelease | None]
) -> Iterator[str]:
    """Yield what was deleted or moved in MLflow, as sentences: the experiment, a version, its run or files, an alias.

    An MLflow server with its own database is not checked.
    """
    if connection.execute("SELECT to_regclass('mlflow.registered_model_aliases')").fetchone() == (None,):
        return
    stage = connection.execute("SELECT lifecycle_stage FROM mlflow.experiments WHERE name = %s", [project]).fetchone()
    if stage != ("active",):
        yield f"MLflow: the experiment {project!r} was deleted; {_NEXT}"
    with connection.cursor(row_factory=class_row(Alias)) as cursor:
        aliases = {alias.role: alias for alias in cursor.execute(_FETCH_ALIASES, [model])}
    for role, release in holders.items():
        fault = _alias_fault(aliases.get(role), release)
        if fault:
            yield f"MLflow: the alias {role!r} of {model!r} {fault}; {_NEXT}"


def _alias_fault(alias: Alias | None, release: LedgerRelease | None) -> str | None:
    if release is None:
        return "names a version, but no release has that role in the ledger" if alias else None
    if alias is None:
        return f"names no version; the ledger's is release {release.release_id}"
    if alias.digest != release.bundle_digest:
        return f"names another version than that of the ledger's release {release.release_id}"
    if alias.lifecycle_stage != "active":
        return f"names the version of release {release.release_id}, whose run was deleted"
    if not _is_there(alias.source):
        return f"names the version of release {release.release_id}, whose files are gone from {alias.source}"
    return None


def _is_there(source: str | None) -> bool:
    """Return whether the files of a version exist; files on a server are assumed to."""
    parts = urlsplit(source or "")
    return parts.scheme not in {"", "file"} or Path(unquote(parts.path)).is_dir()
