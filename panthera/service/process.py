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
    from collections.abc import Iterator, Mapping, Sequence

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


def bentoml_command(service: str, port: int) -> list[str]:
    """Return the command that serves a BentoML service on a port of the loopback interface."""
    return [program("bentoml"), "serve", service, "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def running_service(state: Path) -> Iterator[str]:
    """Run the service on a free port for the length of the block; yield its address; raise as `answering` does."""
    port = free_port()
    command = bentoml_command("serving.service:PredictionService", port)
    home = os.environ.get("BENTOML_HOME", str(state / "bentoml"))
    # Without TLS, since it is a service for this process on the loopback interface.
    environment = {"BENTOML_HOME": home, TLS_CERT_ENV: "", TLS_KEY_ENV: ""}
    with answering(command, port, environment, state / "service.log") as address:
        yield address


@contextmanager
def answering(
    command: Sequence[str],
    port: int,
    environment: Mapping[str, str],
    log: Path,
    ready: str = "/readyz",
    seconds_to_start: float = _SECONDS_TO_START,
) -> Iterator[str]:
    """Run a command that serves on a port for the length of the block; yield its address once the path `ready` answers.

    Raises
    ------
    PantheraError
        If the command exits, or does not answer in time; the message names its log.

    """
    address = f"http://127.0.0.1:{port}"
    with running(command, environment, log) as service:
        _await_ready(service, address + ready, log, seconds_to_start)
        yield address


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block, in a process group that ends with this process."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**tool_environment(), **environment},
            start_new_session=True,
            preexec_fn=partial(end_with_parent, os.getpid()),  # noqa: PLW1509 - this process has no threads yet
        )
        try:
            yield process
        finally:
            _stop(process)


def _await_ready(service: subprocess.Popen[bytes], address: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    state = "it does not listen"
    while time.monotonic() < deadline:
        if service.poll() is not None:
            last_line = (log.read_text(errors="replace").strip().splitlines() or ["its log is empty"])[-1]
            raise PantheraError(f"the service exited with code {service.returncode}: {last_line}; see its log {log}")
        try:
            response = httpx.get(address, timeout=5)
            if response.is_success:
                return
            state = f"{httpx.URL(address).path} has status {response.status_code}"
        except httpx.TransportError:
            pass
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise PantheraError(f"the service was not ready within {seconds} s ({state}); see its log {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all that it started; kill them if they do not stop in time."""
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, stop_signal)
        except ProcessLookupError:
            return
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
        return
