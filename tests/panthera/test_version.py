"""`panthera --version`."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from panthera.cli import main


def test_the_version_is_that_of_the_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    monkeypatch.setattr("sys.argv", ["panthera", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"panthera {project['version']}\n"
