"""Pseudonyms of direct identifiers: a keyed hash, which only the holder of the key can link to a person."""

from __future__ import annotations

import hmac
import os
import secrets
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.settings import PII_KEY_ENV

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

_KEY_FILE = "pii.key"
_SHORTEST_KEY = 16
#: 128 bits: among a billion people, two share a pseudonym with a probability of about 1e-21.
_HEX_DIGITS = 32


def pii_key(settings: Settings) -> bytes:
    """Return the key of the pseudonyms: from the environment or, with the embedded database, from a file made on first use.

    Raises
    ------
    PantheraError
        If the environment names a database but no key, or the key is shorter than 16 characters.

    """
    if settings.pii_key is not None:
        if len(settings.pii_key) < _SHORTEST_KEY:
            raise PantheraError(
                f"{PII_KEY_ENV} has {len(settings.pii_key)} characters; expected at least {_SHORTEST_KEY}: "
                "create a key with `openssl rand -hex 32`"
            )
        return settings.pii_key.encode()
    if settings.database_url is not None:
        raise PantheraError(
            f"the plan hashes personal columns, but {PII_KEY_ENV} is not set; set it to a secret and keep it: "
            "another key yields other pseudonyms"
        )
    return _stored_key(settings.state / _KEY_FILE)


def _stored_key(path: Path) -> bytes:
    """Read the key in `path`; write a random one first if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return path.read_bytes()


def pseudonym(value: str, key: bytes) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of `value`, truncated to 32 hexadecimal digits.

    >>> pseudonym("Hi There", bytes([11]) * 20)  # RFC 4231, test case 1
    'b0344c61d8db38535ca8afceaf0bf12b'
    """
    return hmac.digest(key, value.encode(), "sha256").hex()[:_HEX_DIGITS]
