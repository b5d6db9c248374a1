"""A reader at a terminal: runs the lines of a page in their order, with the service beside those that follow it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_project import Project

SERVE = "bentoml serve serving.service:PredictionService"
_SECONDS_TO_START = 60


def commands_of(page: Path) -> list[str]:
    """List the lines of the page's blocks of commands."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Shell:
    """Runs lines in a project's folder and environment, as a reader does who has named no state folder."""

    def __init__(self, project: Project, *, activates: bool = True) -> None:
        self._folder, self._environment = project.folder, dict(project.environment)
        del self._environment["PANTHERA_STATE"]
        self._activate = f". {shlex.quote(str(project.folder / '.venv/bin/activate'))}; " if activates else ""
        self._service: subprocess.Popen[bytes] | None = None

    def run(self, line: str) -> str:
        """Run a line, and return what it printed."""
        if line.startswith(SERVE):
            return self._serve(line)
        if line.startswith("cd ") and "&&" not in line:
            self._folder = (self._folder / line.removeprefix("cd ")).resolve(strict=True)
            return ""
        activate = "" if line.startswith("make ") else self._activate
        done = subprocess.run(
            ["bash", "-c", activate + line],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _serve(self, line: str) -> str:
        port = line.partition("--port ")[2] or "3000"
        with (self._folder / "service.log").open("wb") as log:
            self._service = subprocess.Popen(
                ["bash", "-c", f"{self._activate}exec {line}"],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < deadline and self._service.poll() is None:
            try:
                if httpx.get(f"http://localhost:{port}/readyz", timeout=5).is_success:
                    return ""
            except httpx.TransportError:
                time.sleep(0.2)
        pytest.fail((self._folder / "service.log").read_text())

    def close(self) -> None:
        """Stop the service."""
        if self._service is not None:
            os.killpg(self._service.pid, signal.SIGTERM)
            self._service.wait(30)
