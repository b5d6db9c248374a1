"""Whose bundles are loaded: Ed25519 signatures (RFC 8032), the key that signs, and the public keys that are trusted.

A key is the base64 of its 32 bytes, so that `openssl rand -base64 32` makes one that signs. It comes from the environment,
or is made on first use in the state folder, beside the list of public keys that are trusted there.
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
    """The key that signs, of which nothing but the public half is ever shown."""

    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> str:
        """The public key, in base64: what a service is told to trust."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    @property
    def trusted(self) -> TrustedKeys:
        """The trust in this key alone."""
        return TrustedKeys((self.public,))

    def sign(self, content: bytes) -> bytes:
        """Sign `content`; the same content always has the same signature of 64 bytes."""
        return self._private.sign(content)


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys whose signatures count; several while one takes over from another."""

    public: tuple[str, ...]

    def verify(self, content: bytes, signature: bytes) -> bool:
        """Say whether one of the keys made `signature` over just these bytes."""
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
    """Read the public keys that are trusted: those of the settings, else those of the state folder; maybe none.

    Raises
    ------
    BundleError
        If one of them is not a key.

    """
    if settings.trusted_key is not None:
        place, words = TRUSTED_KEY_ENV, settings.trusted_key.replace(",", " ").split()
    else:
        file = _trusted_file(settings)
        place, words = str(file), file.read_text().split() if file.exists() else []
    for word in words:
        _decode(word, place)
    return TrustedKeys(tuple(words))


def read_signer(settings: Settings) -> Signer:
    """Read the key that signs, or make it on first use; see that what it signs will be loaded.

    Raises
    ------
    BundleError
        If it is not a key, is open to others, or is not among the trusted ones of the settings.

    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if settings.signing_key is not None:
        secret = _decode(settings.signing_key, SIGNING_KEY_ENV)
    else:
        secret = _own_secret(settings.state / "keys" / "signing")
    signer = Signer(Ed25519PrivateKey.from_private_bytes(secret))
    trusted = read_trusted(settings)
    if signer.public not in trusted.public:
        if settings.trusted_key is not None:
            raise BundleError(
                f"the key that signs has the public key {signer.public}, which is not in {TRUSTED_KEY_ENV}: nothing "
                "that it signs would be loaded; add it there, or sign with a key that is"
            )
        write_whole(_trusted_file(settings), "".join(f"{key}\n" for key in (*trusted.public, signer.public)))
    return signer


def _trusted_file(settings: Settings) -> Path:
    return settings.state / "keys" / "trusted"


def _own_secret(file: Path) -> bytes:
    """Read the secret that the state folder keeps, making it if there is none yet."""
    if not file.exists():
        _make_secret(file)
    if file.stat().st_mode & _OTHERS:
        raise BundleError(f"{file} may be read by others; make it again (delete it) or run `chmod 600 {file}`")
    return _decode(file.read_text(), str(file))


def _make_secret(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished(file)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    try:
        # A link, unlike a renaming, leaves a key alone that another process has made meanwhile.
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _decode(text: str, place: str) -> bytes:
    """Decode a key; what it says never stands in a message."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise BundleError(
            f"{place} holds something that is not the base64 of {_KEY_BYTES} bytes; `openssl rand -base64 32` makes a "
            "key that signs, and `panthera key` shows its public key, which is the one to trust"
        )
    return key
