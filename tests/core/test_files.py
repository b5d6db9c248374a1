"""Files are there whole or not at all, and what killed processes left behind goes with the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from core.files import private_folder, unfinished, whole_folder, write_whole

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dead() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_what_dead_processes_left_is_removed_and_what_others_are_at_stays(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".candidates.{dead}" / "trees").mkdir(parents=True)
    (tmp_path / f".lock.{dead}").write_text("half")
    kept = {f".candidates.{os.getppid()}", f".other.{dead}", ".candidates.old", f"candidates.{dead}"}
    for name in kept:
        (tmp_path / name).write_text("whole")
    with whole_folder(tmp_path / "candidates") as fresh:
        (fresh / "model").write_text("new")
    write_whole(tmp_path / "lock", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "candidates", "lock"}


def test_a_name_with_letters_of_a_pattern_is_taken_as_it_is(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".[a].{dead}").write_text("half")
    (tmp_path / f".a.{dead}").write_text("half")
    unfinished(tmp_path / "[a]")
    assert [path.name for path in tmp_path.iterdir()] == [f".a.{dead}"]


def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "\udc80")
    assert list(tmp_path.iterdir()) == []


def test_a_private_folder_is_for_this_user_alone_and_goes(tmp_path: Path) -> None:
    with private_folder(tmp_path / "scratch") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
