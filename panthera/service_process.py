"""The service as a child process: started on a free port, waited for, and stopped."""

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
from serving.workers.processes import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_TO_START = 120
#: Longer than the service gives its workers for their last requests.
_SECONDS_TO_STOP = 15
_SECONDS_BETWEEN_LOOKS = 0.2


def program(name: str) -> str:
    """Name a program of the environment that runs us."""
    return str(Path(sys.executable).with_name(name))


def tool_environment() -> dict[str, str]:
    """Give the environment in which `python` and the tools are those of the environment that runs us."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running_service(state: Path) -> Iterator[str]:
    """Serve predictions on a free port for the length of the block; give the address.

    Raises
    ------
    PantheraError
        If the service ends, or is not ready in time; its log is named.

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
    environment = {"BENTOML_HOME": str(state / "bentoml"), **tool_environment()}
    with log.open("wb") as output:
        service = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - nothing here has threads yet
        )
        try:
            _await_ready(service, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(service)


def _await_ready(service: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    answer = "it does not listen"
    while time.monotonic() < deadline:
        if service.poll() is not None:
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise PantheraError(f"the service ended with {service.returncode}: {last}; its log is {log}")
        try:
            found = httpx.get(f"{address}/readyz", timeout=5)
            if found.is_success:
                return
            answer = f"/readyz answers {found.status_code}"
        except httpx.TransportError:
            pass
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise PantheraError(f"the service was not ready within {_SECONDS_TO_START} s ({answer}); its log is {log}")


def _stop(service: subprocess.Popen[bytes]) -> None:
    """End the service with all its workers; kill what does not end in time."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(service.pid, name)
        except ProcessLookupError:
            return
        try:
            service.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
        return
