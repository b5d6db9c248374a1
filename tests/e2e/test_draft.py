"""The guide to drafts, line by line in this process: from a file and one line about the task to a served prediction."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.stages import run_stages
from panthera.cli import _parser
from tests.e2e.shell import SERVE, commands_of
from tests.e2e.test_flat_table import ask
from tests.fix_project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_project import Project

#: A stage leaves its connections to the end of its process, which is not the end of this one.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

PAGE = ROOT / "docs" / "draft.md"


def run(line: str) -> Any:
    """Run a line of the page; return the answer of a request for predictions."""
    if line.startswith("python "):
        script, _, out = line.removeprefix("python ").partition(" > ")
        Path(out).write_text(
            subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
        )
    elif line.startswith("panthera down"):
        return None
    elif line.startswith("panthera "):
        arguments = _parser().parse_args(shlex.split(line)[1:])
        assert arguments.function(arguments) == 0, line
    elif line == "dvc repro":
        run_stages()
    elif line.startswith("curl "):
        words = shlex.split(line)
        return ask(json.loads(words[words.index("-d") + 1]))[0]
    else:
        assert line.startswith(SERVE), line
    return None


@pytest.fixture(scope="module")
def answers(project: Project) -> Iterator[dict[str, Any]]:
    """What each line of the page gave, in a folder with nothing but the file that the page tells to save."""
    told = re.findall(r"save this as `([^`]+)`.*?^```\w+\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    folder, arguments = project.folder.parent / "mine", list(sys.argv)
    folder.mkdir()
    for name, text in told:
        (folder / name).write_text(text)
    with project.entered():
        os.chdir(folder)
        os.environ["PANTHERA_STATE"] = str(folder / ".panthera")
        yield {line: run(line) for line in commands_of(PAGE)}
    sys.argv[:] = arguments


def test_a_draft_runs_to_a_served_prediction_without_an_edit(answers: dict[str, Any]) -> None:
    (answer,) = [found for line, found in answers.items() if line.startswith("curl")]
    assert answer["http"] == 200, answer
    (prediction,) = answer["predictions"]
    assert 0 < prediction["score"] < 1
    assert prediction["decision"] in {"act", "wait"}
    assert prediction["features"] == {"row": {"status": "FRESH", "event_time": None}}


def test_the_page_of_the_profile_needs_no_network(answers: dict[str, Any]) -> None:
    page = Path("profile.html").read_text()
    assert "<svg" in page
    assert "http" not in page
