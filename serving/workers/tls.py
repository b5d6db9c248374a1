"""TLS of the service: certificate and key from the settings, checked at the start, and a time limit for handshakes."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError
from core.settings import TLS_CERT_ENV, TLS_KEY_ENV

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

#: As long as the time for the headers of a request; asyncio's own limit is a minute.
SECONDS_FOR_HANDSHAKE = 5.0


def bentoml_options(certificate: Path | None, key: Path | None) -> dict[str, Any]:
    """Return BentoML's options for a certificate with its key; none for a service without TLS."""
    if certificate is None or key is None:
        return {}
    return {"ssl": {"enabled": True, "certfile": str(certificate), "keyfile": str(key)}}


def check_tls(certificate: Path | None, key: Path | None) -> None:
    """Check that the service can serve with this certificate and key; nothing is checked without both.

    Raises
    ------
    PantheraError
        If one is missing, cannot be read or is not PEM, the key has a passphrase, or it is not the certificate's.

    """
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        absent, present = (TLS_CERT_ENV, TLS_KEY_ENV) if certificate is None else (TLS_KEY_ENV, TLS_CERT_ENV)
        raise PantheraError(f"{present} is set and {absent} is not; set both, or none for a service without TLS")
    for name, path in ((TLS_CERT_ENV, certificate), (TLS_KEY_ENV, key)):
        _check_readable(name, path)
    try:
        # With an empty passphrase, OpenSSL refuses an encrypted key; without one it would ask on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise PantheraError(
            f"{TLS_CERT_ENV} ({certificate}) and {TLS_KEY_ENV} ({key}) cannot be used together ({_reason(error)}); expected a "
            "certificate in PEM, with its chain, and its private key in PEM without a passphrase"
        ) from None


def _check_readable(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise PantheraError(
            f"{name} names {path}, which cannot be read ({error.strerror}); name a file in PEM"
        ) from None


def _reason(error: ssl.SSLError | ValueError) -> str:
    return getattr(error, "reason", None) or str(error)


def limit_handshakes(loop: asyncio.AbstractEventLoop) -> None:
    """Close connections of servers that `loop` creates from now on if their handshake takes longer than the limit."""
    create: Any = loop.create_server

    def create_server(*arguments: Any, **options: Any) -> Any:
        limit = {"ssl_handshake_timeout": SECONDS_FOR_HANDSHAKE} if options.get("ssl") else {}
        return create(*arguments, **limit, **options)

    loop.create_server = create_server  # type: ignore[method-assign]
