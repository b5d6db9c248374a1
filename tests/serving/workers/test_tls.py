"""TLS by settings: what is refused at the start, and a server that speaks it to who checks its certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from core.errors import DatabaseError, PantheraError
from core.postgres.database import connect
from serving.workers import tls
from serving.workers.http_protocol import BoundedConfig
from serving.workers.tls import bentoml_options, check_tls, limit_handshakes
from tests.fix_certificate import CertificateFiles, write_certificate
from tests.serving.faults import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return write_certificate(tmp_path_factory.mktemp("tls"))


def test_a_certificate_with_its_key_is_taken_and_none_is_no_tls(files: CertificateFiles) -> None:
    check_tls(files.certificate, files.key)
    check_tls(None, None)
    assert bentoml_options(None, None) == {}
    paths = {"certfile": str(files.certificate), "keyfile": str(files.key)}
    assert bentoml_options(files.certificate, files.key) == {"ssl": {"enabled": True, **paths}}


def test_what_cannot_be_served_with_is_refused_at_the_start_and_named(files: CertificateFiles, tmp_path: Path) -> None:
    other, nothing = write_certificate(tmp_path, "other"), tmp_path / "nothing.pem"
    with pytest.raises(PantheraError, match="PANTHERA_TLS_CERT is set and PANTHERA_TLS_KEY is not"):
        check_tls(files.certificate, None)
    with pytest.raises(PantheraError, match="PANTHERA_TLS_KEY is set and PANTHERA_TLS_CERT is not"):
        check_tls(None, files.key)
    with pytest.raises(PantheraError, match=r"PANTHERA_TLS_KEY names .*nothing\.pem, which cannot be read"):
        check_tls(files.certificate, nothing)
    for key in (other.key, files.encrypted_key, files.certificate):
        with pytest.raises(PantheraError, match="cannot be used together"):
            check_tls(files.certificate, key)


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Limit handshakes at the start, as a worker does, and answer with the scheme."""
    if scope["type"] == "lifespan":
        await receive()
        limit_handshakes(asyncio.get_running_loop())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = scope["scheme"].encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


@contextmanager
def _listening(files: CertificateFiles | None) -> Iterator[int]:
    options = {"ssl_certfile": files.certificate, "ssl_keyfile": files.key} if files else {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(BoundedConfig(_app, log_config=None, **options))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_the_service_speaks_tls_to_who_checks_its_certificate(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "SECONDS_FOR_HANDSHAKE", 0.3)
    with _listening(files) as port:
        trusting = ssl.create_default_context(cafile=str(files.certificate))
        with httpx.Client(verify=trusting) as client:
            assert client.get(f"https://127.0.0.1:{port}/").text == "https"
        with httpx.Client() as stranger, pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            stranger.get(f"https://127.0.0.1:{port}/")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            began = time.monotonic()
            assert silent.recv(1) == b""
            assert time.monotonic() - began < 5


def test_a_server_without_tls_is_as_before() -> None:
    with _listening(None) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "http"


def test_a_database_without_tls_is_refused_if_its_address_asks_for_it(database_url: str) -> None:
    async def run() -> None:
        async with Proxy(database_url).running() as url:
            with pytest.raises(DatabaseError, match="does not support SSL"):
                await asyncio.to_thread(_select, f"{url}?sslmode=verify-full&sslrootcert=system")

    asyncio.run(run())


def _select(url: str) -> None:
    with connect(url) as connection:
        connection.execute("SELECT 1")
