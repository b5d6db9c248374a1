"""Run the service as a child process: start it on a free port, wait until it is ready, and stop it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from core.errors import PantheraError
from core.settings import TLS_CERT_ENV, TLS_KEY_ENV
from serving.workers.processes import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_TO_START = 120
#: Longer than the time that the service gives its workers to finish their requests.
_SECONDS_TO_STOP = 15
_SECONDS_BETWEEN_LOOKS = 0.2


def program(name: str) -> str:
    """Return the path of a program in the running Python environment."""
    return str(Path(sys.executable).with_name(name))


def tool_environment() -> dict[str, str]:
    """Return environment variables in which `python` and the tools are those of the running Python environment."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def free_port() -> int:
    """Return a port of the loopback interface on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running_service(state: Path) -> Iterator[str]:
    """Run the service on a free port for the length of the block; yield its address.

    Raises
    ------
    PantheraError
        If the service exits, or is not ready in time; the message names its log.

    """
    port, log = free_port(), state / "service.log"
    command = [
        program("bentoml"),
        "serve",
        "serving.service:PredictionService",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    # Without TLS, since it is a service for this process on the loopback interface.
    environment = {"BENTOML_HOME": str(state / "bentoml"), **tool_environment(), TLS_CERT_ENV: "", TLS_KEY_ENV: ""}
    with log.open("wb") as output:
        service = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - this process has no threads yet
        )
        try:
            _await_ready(service, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(service)


def _await_ready(service: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    state = "it does not listen"
    while time.monotonic() < deadline:
        if service.poll() is not None:
            last_line = (log.read_text(errors="replace").strip().splitlines() or ["its log is empty"])[-1]
            raise PantheraError(f"the service exited with code {service.returncode}: {last_line}; see its log {log}")
        try:
            response = httpx.get(f"{address}/readyz", timeout=5)
            if response.is_success:
                return
            state = f"/readyz has status {response.status_code}"
        except httpx.TransportError:
            pass
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise PantheraError(f"the service was not ready within {_SECONDS_TO_START} s ({state}); see its log {log}")


def _stop(service: subprocess.Popen[bytes]) -> None:
    """Stop the service and all its workers; kill them if they do not stop in time."""
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(service.pid, stop_signal)
        except ProcessLookupError:
            return
        try:
            service.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
        return
