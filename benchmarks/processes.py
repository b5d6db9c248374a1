"""Start services of the serving benchmark and soak as processes of their own, and stop them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from panthera.service.process import tool_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from core.settings import Settings

ROOT = Path(__file__).parents[1]
_SECONDS_TO_START, _SECONDS_TO_STOP = 600, 20


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that give a process these settings."""
    return {
        "PANTHERA_PLAN": str(settings.plan),
        "PANTHERA_STATE": str(settings.state),
        "PANTHERA_DATABASE_URL": settings.database_url or "",
        "BENTOML_HOME": str(settings.state / "bentoml"),
    }


def bentoml_command(service: str, port: int) -> list[str]:
    """Return the command that serves a BentoML service."""
    return [str(Path(sys.executable).with_name("bentoml")), "serve", service, "--port", str(port)]


def uvicorn_command(port: int) -> list[str]:
    """Return the command that serves our application by uvicorn alone."""
    return [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "serving.app:create_app",
        "--port",
        str(port),
        "--no-access-log",
    ]


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of the block, in a process group of its own."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**tool_environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            _stop(started)


def _stop(started: subprocess.Popen[bytes]) -> None:
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(started.pid, stop_signal)
            started.wait(_SECONDS_TO_STOP)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


@contextmanager
def service(
    command: Sequence[str], port: int, environment: Mapping[str, str], log: Path, ready: str = "/readyz"
) -> Iterator[str]:
    """Run a service for the length of the block, and yield its address once the path `ready` answers."""
    with process(command, environment, log) as started:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + _SECONDS_TO_START
        while not _is_ready(address + ready):
            if started.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{command[-3:]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield address


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.TransportError:
        return False
