"""The quickstart, line by line: a file and a plan are saved as it says, and its commands lead to a served prediction."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from models.evaluation.evaluation import read_evaluation
from tests.e2e.shell import Shell, commands_of
from tests.fix_project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_project import Project

pytestmark = pytest.mark.long

PAGE = ROOT / "docs" / "quickstart.md"
#: The environment of the tests stands for the one that these make.
SET_UP = ["make setup", ". .venv/bin/activate"]


def save_files(folder: Path) -> list[str]:
    """Write each block that the page tells to save, and list their names."""
    told = re.findall(r"[Ss]ave this\s+as `([^`]+)`.*?^```\w+\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    blocks = dict(told)
    for name, text in blocks.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return list(blocks)


@pytest.fixture(scope="module")
def said(project: Project) -> dict[str, str]:
    """What each command printed."""
    assert save_files(project.folder) == ["mine/orders.py", "mine/plan.yaml"]
    commands, shell = commands_of(PAGE), Shell(project, activates=False)
    assert commands[: len(SET_UP)] == SET_UP
    try:
        return {line: shell.run(line) for line in commands[len(SET_UP) :]}
    finally:
        shell.close()


def test_the_answer_has_a_score_a_decision_a_release_and_fresh_features(said: dict[str, str]) -> None:
    answer: dict[str, Any] = json.loads(next(text for line, text in said.items() if "/v1/predict" in line))
    assert [found.get("customer") for found in answer.get("predictions", [answer])] == ["c001", "c002"], answer
    for found in answer["predictions"]:
        assert 0 < found["score"] < 1
        assert found["decision"] in {"call", "wait"}
        assert found["release"]
        assert {view["status"] for view in found["features"].values()} == {"FRESH"}


def test_the_candidates_know_something(said: dict[str, str], project: Project) -> None:
    evaluation = read_evaluation(project.folder / ".panthera/projects/orders/data/evaluation.json")
    assert all(result.test["roc_auc"] > 0.6 for result in evaluation.results)
