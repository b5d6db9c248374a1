"""Every command of the README and the guides runs, in their order, in a fresh checkout, as it is written there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.shell import Shell, commands_of
from tests.fix_project import ROOT, lend_bytecode

if TYPE_CHECKING:
    from tests.fix_project import Project

pytestmark = pytest.mark.long

#: In an order in which a reader may take them: all speak of the project folder that the README enters.
GUIDES = ("train", "serve", "watch", "release", "features", "operate")
#: Begins in the checkout.
WORLDS = ROOT / "docs/worlds.md"
COMMANDS = [
    *commands_of(ROOT / "README.md"),
    *(line for guide in GUIDES for line in commands_of(ROOT / f"docs/{guide}.md")),
    *("cd ../../..", "bentoml build"),
    *commands_of(WORLDS),
]
#: What runs this very test, and what tests/e2e/test_subscription_live.py runs with fewer customers and days.
RUN_ELSEWHERE = {"make test", "python -m worlds.subscription.live --folder .panthera/live"}


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
        shell.run("make setup")
        lend_packages(project.folder / ".venv")
        printed = {COMMANDS[0]: shell.run(COMMANDS[0]), "git status": shell.run("git status --porcelain")}
        return {**printed, **{line: shell.run(line) for line in COMMANDS[1:] if line not in RUN_ELSEWHERE}}
    finally:
        shell.close()
        shutil.rmtree(project.folder / ".venv", ignore_errors=True)


def lend_packages(environment: Path) -> None:
    """Lend a new environment what Python has compiled of the packages, which takes half a minute."""
    here = Path(sysconfig.get_path("purelib"))
    there = environment / here.relative_to(sys.prefix)
    lend_bytecode(here, there, [str(file.relative_to(here)) for file in here.rglob("*.py")])


def answer(said: dict[str, str], part: str) -> Any:
    return json.loads(next(text for line, text in said.items() if part in line))


def test_the_readme_has_the_two_commands_first() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_the_readme_shows_what_the_demo_prints(said: dict[str, str]) -> None:
    (block,) = re.findall(r"^```text\n(champion .*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    rows = re.split(r"\n(?=\w)", block.strip())[
        1:
    ]  # without the champion, whose name says of which data and code it is
    assert len(rows) > 5
    printed = _without_digits(said["make demo"])
    assert [row for row in rows if _without_digits(row) not in printed] == []


def _without_digits(text: str) -> str:
    return re.sub(r"[+-]?\d", "0", " ".join(text.split()))


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


def test_a_second_repro_only_looks_whether_the_sources_changed(said: dict[str, str]) -> None:
    ran = [line for line in said["dvc repro"].splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'source_versions':"]


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
