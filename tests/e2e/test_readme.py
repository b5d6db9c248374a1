"""Every command of the README runs, in its order, in a fresh checkout, as it is written there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fix_project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_project import Project

pytestmark = pytest.mark.long

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
#: What runs this very test, and what tests/e2e/test_subscription_live.py runs with fewer customers and days.
RUN_ELSEWHERE = {"make test", "python -m worlds.subscription.live --folder .panthera/live"}
SERVE = "bentoml serve serving.service:PredictionService"
SECONDS_TO_START = 60


class Shell:
    """Runs the README's lines; the service runs beside the lines that follow it."""

    def __init__(self, project: Project) -> None:
        self._folder, self._environment = project.folder, dict(project.environment)
        # A reader has named no state folder: that of the project folder is taken.
        del self._environment["PANTHERA_STATE"]
        self._activate = f". {shlex.quote(str(project.folder / '.venv/bin/activate'))}; "
        self._service: subprocess.Popen[bytes] | None = None

    def run(self, line: str) -> str:
        if line == SERVE:
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
        with (self._folder / "service.log").open("wb") as log:
            self._service = subprocess.Popen(
                ["bash", "-c", f"{self._activate}exec {line}"],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline and self._service.poll() is None:
            try:
                if httpx.get("http://localhost:3000/readyz", timeout=5).is_success:
                    return ""
            except httpx.TransportError:
                time.sleep(0.2)
        pytest.fail((self._folder / "service.log").read_text())

    def close(self) -> None:
        if self._service is not None:
            os.killpg(self._service.pid, signal.SIGTERM)
            self._service.wait(30)


@pytest.fixture(scope="module")
def demo_folder(project: Project) -> Path:
    """The project folder in which the demo runs."""
    return project.folder / ".panthera" / "projects" / "cdnow-repeat-purchase"


@pytest.fixture(scope="module")
def said(project: Project) -> dict[str, str]:
    """What each command printed; between them, what git says of the checkout after the demo."""
    shell = Shell(project)
    committing = ["add .", "-c user.name=reader -c user.email=reader@localhost commit --quiet --message checkout"]
    for command in committing:
        subprocess.run(["git", *command.split()], cwd=project.folder, check=True)
    try:
        printed = {COMMANDS[0]: shell.run(COMMANDS[0]), "git status": shell.run("git status --porcelain")}
        return {**printed, **{line: shell.run(line) for line in COMMANDS[1:] if line not in RUN_ELSEWHERE}}
    finally:
        shell.close()
        shutil.rmtree(project.folder / ".venv", ignore_errors=True)


def answer(said: dict[str, str], part: str) -> Any:
    return json.loads(next(text for line, text in said.items() if part in line))


def test_the_readme_has_the_two_commands_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_make_test_runs_the_tests() -> None:
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    shared = "--numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder"
    assert f".venv/bin/python -m pytest {shared}" in done.stdout.splitlines()


def test_the_demo_leaves_the_checkout_as_git_has_it(said: dict[str, str]) -> None:
    assert said["git status"] == ""


def test_the_demo_tells_what_it_found(said: dict[str, str], demo_folder: Path) -> None:
    found = json.loads((demo_folder / ".panthera" / "demo.json").read_text())
    assert found["predictions"] == found["acknowledged"] == found["stored"] == found["outcomes"] == 23_570
    assert 0.80 < found["baseline_auc"] < found["test_auc"] < 0.85
    assert found["parity_compared"] > 50_000
    assert found["parity_mismatches"] == 0
    assert found["sample_ratio_p"] > 0.001
    arms = found["cohorts"]["arms"]
    assert sum(arm["with_outcome"] for arm in arms.values()) == 23_570
    # Counted in the raw file: 3,302 of the 23,570 customers bought within the 90 days after 31 March 1998.
    assert sum(arm["rate"] * arm["with_outcome"] for arm in arms.values()) / 23_570 == pytest.approx(0.859907, abs=1e-5)
    assert len(found["psi"]) == 17
    assert "Next, with" in said["make demo"]
    assert (demo_folder / "reports" / "drift.html").stat().st_size > 100_000


def test_a_second_repro_runs_nothing(said: dict[str, str]) -> None:
    assert "Running stage" not in said["dvc repro"]


def test_a_prediction_names_its_release_arm_score_decision_and_features(said: dict[str, str]) -> None:
    predictions = answer(said, "/v1/predict")["predictions"]
    assert [prediction["customer_id"] for prediction in predictions] == [1, 2]
    for prediction in predictions:
        assert 0 < prediction["score"] < 1
        assert prediction["decision"] in {"win_back", "leave_alone"}
        assert prediction["arm"] in {"champion", "challenger"}
        assert {view["status"] for view in prediction["features"].values()} == {"FRESH"}


def test_the_other_routes_answer(said: dict[str, str]) -> None:
    assert answer(said, "/v1/outcomes") == {"stored": 1, "duplicates": 0}
    assert answer(said, "/v1/cohorts")["verdict"]
    assert answer(said, "/v1/status")["releases"]
    assert "panthera" in next(text for line, text in said.items() if "/metrics" in line)
