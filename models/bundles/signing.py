"""Ed25519 signatures (RFC 8032) of bundles: the private key that signs, and the public keys that are trusted.

A key is the base64 text of 32 bytes, so that `openssl rand -base64 32` makes a private one. It comes from the environment, or
is made on first use in the state folder, next to the list of trusted public keys.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import BundleError
from core.files import unfinished, write_whole
from core.settings import SIGNING_KEY_ENV, TRUSTED_KEY_ENV

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from core.settings import Settings

_KEY_BYTES = 32
_OTHERS = 0o077


@dataclass(frozen=True)
class Signer:
    """The private key that signs; only its public key is ever shown."""

    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> str:
        """The public key in base64, for PANTHERA_TRUSTED_KEY of a service."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    @property
    def trusted(self) -> TrustedKeys:
        """The trusted keys with this key alone."""
        return TrustedKeys((self.public,))

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content`, 64 bytes; it is deterministic."""
        return self._private.sign(content)


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys whose signatures are accepted; several during a change of keys."""

    public: tuple[str, ...]

    def verify(self, content: bytes, signature: bytes) -> bool:
        """Return whether one of the keys signed exactly these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        for text in self.public:
            try:
                Ed25519PublicKey.from_public_bytes(_decode(text, "a trusted key")).verify(signature, content)
            except InvalidSignature:
                continue
            return True
        return False


def read_trusted(settings: Settings) -> TrustedKeys:
    """Read the trusted public keys: those of the settings, otherwise those of the state folder; possibly none.

    Raises
    ------
    BundleError
        If one of them is not a key.

    """
    if settings.trusted_key is not None:
        origin, words = TRUSTED_KEY_ENV, settings.trusted_key.replace(",", " ").split()
    else:
        file = _trusted_file(settings)
        origin, words = str(file), file.read_text().split() if file.exists() else []
    for word in words:
        _decode(word, origin)
    return TrustedKeys(tuple(words))


def read_signer(settings: Settings) -> Signer:
    """Read the private key, or make it on first use; its public key must be trusted.

    Raises
    ------
    BundleError
        If it is not a key, its file is readable by others, or its public key is not among the trusted ones of the settings.

    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if settings.signing_key is not None:
        secret = _decode(settings.signing_key, SIGNING_KEY_ENV)
    else:
        secret = _stored_secret(settings.state / "keys" / "signing")
    signer = Signer(Ed25519PrivateKey.from_private_bytes(secret))
    trusted = read_trusted(settings)
    if signer.public not in trusted.public:
        if settings.trusted_key is not None:
            raise BundleError(
                f"the signing key has the public key {signer.public}, which is not in {TRUSTED_KEY_ENV}: its bundles would "
                f"not be loaded; add it to {TRUSTED_KEY_ENV}, or sign with a trusted key"
            )
        write_whole(_trusted_file(settings), "".join(f"{key}\n" for key in (*trusted.public, signer.public)))
    return signer


def _trusted_file(settings: Settings) -> Path:
    return settings.state / "keys" / "trusted"


def _stored_secret(file: Path) -> bytes:
    """Read the private key of the state folder; make it if there is none."""
    if not file.exists():
        _make_secret(file)
    if file.stat().st_mode & _OTHERS:
        raise BundleError(f"{file} is readable by others; run `chmod 600 {file}`, or delete it to make a new key")
    return _decode(file.read_text(), str(file))


def _make_secret(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished(file)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    try:
        # Unlike a rename, a link does not replace a key that another process has made meanwhile.
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _decode(text: str, origin: str) -> bytes:
    """Return the 32 bytes of a key; messages never contain its text."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise BundleError(
            f"{origin} is not the base64 text of {_KEY_BYTES} bytes; `openssl rand -base64 32` makes a private key, and "
            "`panthera key` shows its public key, which a service must trust"
        )
    return key
