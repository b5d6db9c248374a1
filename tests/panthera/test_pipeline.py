"""Whoever changes the stages' tables and DVC keep out of each other's way."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from panthera.pipeline import changing_tables


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which DVC's commands say what they read and write, in a project of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path / ".dvc" / "tmp" / "rwlock"


def test_dvc_finds_the_tables_taken_while_they_are_changed(lock: Path) -> None:
    with changing_tables(Path("data")):
        taken = json.loads(lock.read_text())["write"]
        assert taken[str(Path("data/accepted").absolute())]["cmd"] == "panthera catch-up"
    assert not json.loads(lock.read_text()).get("write")


def test_the_tables_are_changed_when_dvc_has_finished(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with changing_tables(Path("data")):  # imports what the wait needs
        pass
    with subprocess.Popen(["sleep", "60"]) as command:
        holder = {"pid": command.pid, "cmd": "dvc repro"}
        lock.write_text(json.dumps({"write": {str(Path("data/features").absolute()): holder}, "read": {}}))

        def end() -> None:
            command.kill()
            command.wait()

        began = time.monotonic()
        threading.Timer(0.7, end).start()
        with changing_tables(Path("data")):
            assert time.monotonic() - began >= 0.7
    assert "waiting for DVC to finish" in capsys.readouterr().err


def test_without_dvc_there_is_nothing_to_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with changing_tables(Path("data")):
        pass
    assert list(tmp_path.iterdir()) == []
