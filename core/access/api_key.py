"""An API key: its format, and what the database stores of it.

A key is `pp_<environment>_<id>_<secret>`. The id is public and finds the stored row; the secret is 256 random bits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from datetime import datetime

KeyScope: TypeAlias = Literal["predict", "features", "outcomes", "push", "read", "admin"]
#: The scope `admin` includes all others.
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
ADMIN: KeyScope = "admin"
DEFAULT_ENVIRONMENT = "live"
#: The form of a key, for messages.
FORM = "pp_<environment>_<id, 12 hexadecimal digits>_<secret, 64 hexadecimal digits>"

_ID_BYTES = 6
_SECRET_BYTES = 32
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9]{0,15}")
_ID = re.compile(r"[0-9a-f]{12}")
_KEY = re.compile(rf"pp_({_ENVIRONMENT.pattern})_({_ID.pattern})_([0-9a-f]{{64}})")
#: A random secret has fewer distinct digits with a probability below 1e-11; a placeholder such as 000… has.
_FEWEST_DIGITS = 10


@dataclass(frozen=True)
class PlainKey:
    """A key as its holder has it; its text is never stored and never logged."""

    environment: str
    key_id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the whole key.

        A slow hash protects secrets that can be guessed, such as passwords. 256 random bits cannot be, so a fast hash is as
        safe, and costs a request a microsecond.
        """
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def is_guessable(self) -> bool:
        """Whether the secret is evidently not random."""
        return len({*self.text.rpartition("_")[2]}) < _FEWEST_DIGITS


def generate_key(environment: str = DEFAULT_ENVIRONMENT) -> PlainKey:
    """Return a new random key."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    return PlainKey(environment, key_id, f"pp_{environment}_{key_id}_{secret}")


def parse_key(text: str) -> PlainKey | None:
    """Return the key that `text` is, or None if it does not have the form of a key."""
    match = _KEY.fullmatch(text)
    return PlainKey(match[1], match[2], text) if match else None


def holds_key(text: str) -> bool:
    """Return whether a key stands anywhere in `text`, which must then not be stored or shown."""
    return _KEY.search(text) is not None


def is_environment(text: str) -> bool:
    """Return whether `text` can be the environment of a key."""
    return _ENVIRONMENT.fullmatch(text) is not None


def id_in(text: str) -> str | None:
    """Return the id that `text` is, or the id of the key that it is; None for anything else."""
    key = parse_key(text)
    if key:
        return key.key_id
    return text if _ID.fullmatch(text) else None


@dataclass(frozen=True)
class ApiKey:
    """A stored key.

    Attributes
    ----------
    digest : SHA-256 of the key.
    rate : maximum number of requests per second on one machine; None without a limit.
    expires_at : from this instant on the key is refused; None without one.
    replaces : the id of the key that this one was made from by a rotation.
    created_at, created_by, reason : the audit of its creation.
    revoked_at, revoked_by, revoked_why : the audit of its revocation; None while it is not revoked.

    """

    key_id: str
    environment: str
    name: str | None
    digest: bytes = field(repr=False)
    scopes: tuple[str, ...]
    rate: float | None
    expires_at: datetime | None
    replaces: str | None
    created_at: datetime
    created_by: str
    reason: str
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_why: str | None

    def matches(self, key: PlainKey) -> bool:
        """Return whether `key` is this key; the time of the comparison does not depend on where they differ."""
        return hmac.compare_digest(self.digest, key.digest)

    def allows(self, scope: KeyScope) -> bool:
        """Return whether the key has the scope, or the scope `admin`."""
        return scope in self.scopes or ADMIN in self.scopes

    def is_expired(self, now: datetime) -> bool:
        """Return whether the key has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def state(self, now: datetime) -> Literal["live", "expired", "revoked"]:
        """Return whether the key is accepted, or why not."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.is_expired(now) else "live"
