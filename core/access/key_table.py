"""Create, revoke, rotate and read API keys in the database; every change is recorded with its actor and reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from psycopg.rows import class_row

from core.access.api_key import ADMIN, DEFAULT_ENVIRONMENT, FORM, SCOPES, ApiKey, generate_key, parse_key
from core.errors import PantheraError
from core.settings import ADMIN_KEY_ENV

if TYPE_CHECKING:
    from datetime import timedelta

    import psycopg

    from core.access.api_key import PlainKey

#: All keys, revoked ones too, in the order of their creation; the columns are the attributes of `ApiKey`.
ALL_KEYS: LiteralString = """
SELECT key.key_id, environment, name, digest, scopes, rate, expires_at, replaces,
    created.changed_at AS created_at, created.actor AS created_by, created.reason,
    revoked.changed_at AS revoked_at, revoked.actor AS revoked_by, revoked.reason AS revoked_why
FROM panthera.api_key AS key
JOIN panthera.api_key_change AS created ON created.key_id = key.key_id AND created.cause = 'create'
LEFT JOIN panthera.api_key_change AS revoked ON revoked.key_id = key.key_id AND revoked.cause = 'revoke'
ORDER BY created.change_id
"""
#: Differs after every change. The number of changes grows with each commit; their largest id does not, if they overlap.
VERSION: LiteralString = "SELECT count(*), max(change_id), max(changed_at) FROM panthera.api_key_change"
_INSERT = """
INSERT INTO panthera.api_key (key_id, environment, name, digest, scopes, rate, expires_at, replaces)
VALUES (%s, %s, %s, %s, %s, %s, now() + %s::interval, %s)
"""
_RECORD = "INSERT INTO panthera.api_key_change (key_id, cause, actor, reason) VALUES (%s, %s, %s, %s)"
#: Two changes at once would each see a state without the other; readers do not wait.
_ONE_BY_ONE = "LOCK TABLE panthera.api_key IN SHARE ROW EXCLUSIVE MODE"


@dataclass(frozen=True)
class KeyTerms:
    """What a key allows, and for how long."""

    scopes: tuple[str, ...]
    name: str | None = None
    lifetime: timedelta | None = None
    rate: float | None = None
    environment: str = DEFAULT_ENVIRONMENT


@dataclass(frozen=True)
class Change:
    """Who changes a key, and why."""

    actor: str
    reason: str


def fetch_keys(connection: psycopg.Connection) -> list[ApiKey]:
    """Fetch all keys, revoked ones too, the oldest first."""
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        return cursor.execute(ALL_KEYS).fetchall()


def create_key(connection: psycopg.Connection, terms: KeyTerms, change: Change) -> PlainKey:
    """Create a key and write its hash to the database; the key is returned here only."""
    return _write(connection, generate_key(terms.environment), terms, change)


def revoke_key(connection: psycopg.Connection, key_id: str, change: Change) -> None:
    """Revoke a key.

    Raises
    ------
    PantheraError
        If there is no such key, or it is revoked already.

    """
    connection.execute(_ONE_BY_ONE)
    _refuse_revoked(_find(connection, key_id))
    connection.execute(_RECORD, [key_id, "revoke", change.actor, change.reason])


def rotate_key(connection: psycopg.Connection, key_id: str, change: Change) -> PlainKey:
    """Create a key with the terms of another one and the length of its life; both are live until one is revoked.

    Raises
    ------
    PantheraError
        If there is no such key, it is revoked, or an earlier rotation already made a second live key.

    """
    connection.execute(_ONE_BY_ONE)
    key = _find(connection, key_id)
    _refuse_revoked(key)
    successor = next((k for k in fetch_keys(connection) if k.replaces == key_id and k.revoked_at is None), None)
    if successor:
        raise PantheraError(
            f"the key {key_id} was rotated on {_day(successor)} to {successor.key_id}, which is not revoked; revoke one of "
            "the two with `panthera keys revoke ID --why TEXT` first"
        )
    lifetime = key.expires_at - key.created_at if key.expires_at else None
    terms = KeyTerms(key.scopes, key.name, lifetime, key.rate, key.environment)
    return _write(connection, generate_key(key.environment), terms, change, replaces=key_id)


def adopt_admin_key(connection: psycopg.Connection, text: str, change: Change) -> ApiKey:
    """Write the hash of the admin key from the environment, unless it is stored already; return the stored key.

    A key that was revoked stays revoked.

    Raises
    ------
    PantheraError
        If `text` is not a key, its secret is not random, or another key has its id. The message does not quote it.

    """
    connection.execute(_ONE_BY_ONE)
    key = _checked_admin_key(text)
    if not any(stored.key_id == key.key_id for stored in fetch_keys(connection)):
        _write(connection, key, KeyTerms((ADMIN,), "admin", environment=key.environment), change)
    stored = _find(connection, key.key_id)
    if not stored.matches(key):
        raise PantheraError(
            f"{ADMIN_KEY_ENV} has the id {key.key_id}, which another key in the database has; {_HOW_TO_MAKE}"
        )
    return stored


_HOW_TO_MAKE = 'make another one: `echo "pp_live_$(openssl rand -hex 6)_$(openssl rand -hex 32)"`'


def _checked_admin_key(text: str) -> PlainKey:
    key = parse_key(text)
    if key is None:
        raise PantheraError(f"{ADMIN_KEY_ENV} is not a key; expected {FORM}; {_HOW_TO_MAKE}")
    if key.is_guessable:
        raise PantheraError(f"the secret of {ADMIN_KEY_ENV} is not random; {_HOW_TO_MAKE}")
    return key


def _write(
    connection: psycopg.Connection, key: PlainKey, terms: KeyTerms, change: Change, replaces: str | None = None
) -> PlainKey:
    scopes = [scope for scope in SCOPES if scope in terms.scopes]
    row = [key.key_id, key.environment, terms.name, key.digest, scopes, terms.rate, terms.lifetime, replaces]
    connection.execute(_INSERT, row)
    connection.execute(_RECORD, [key.key_id, "create", change.actor, change.reason])
    return key


def _find(connection: psycopg.Connection, key_id: str) -> ApiKey:
    for key in fetch_keys(connection):
        if key.key_id == key_id:
            return key
    raise PantheraError(f"the database has no key {key_id}; `panthera keys list` shows those that it has")


def _refuse_revoked(key: ApiKey) -> None:
    if key.revoked_at is not None:
        raise PantheraError(
            f"the key {key.key_id} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC by {key.revoked_by} "
            f"({key.revoked_why}); `panthera keys create` makes a new one"
        )


def _day(key: ApiKey) -> str:
    return f"{key.created_at:%Y-%m-%d}"
