"""Programs end with one line where the user can act, also when the machine is at fault, and with a traceback where not."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from core.entry import exit_code
from core.errors import PlanError


def ending(work: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def fail() -> int:
        assert isinstance(work, Exception)
        raise work

    code = exit_code(fail)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_that_names_the_file(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ending(OSError(number, os.strerror(number), "data/raw/orders.parquet"), capsys)
    assert code == 1
    assert said.startswith("error: data/raw/orders.parquet: no room is left to write: ")
    assert said.count("\n") == 1


def test_a_full_disk_that_duckdb_meets_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with duckdb.connect() as connection:
        try:
            connection.execute("COPY (SELECT * FROM range(100_000)) TO '/dev/full' (FORMAT csv)")
        except duckdb.Error as error:
            code, said = ending(error, capsys)
    assert (code, said.count("\n")) == (1, 1)
    assert "No space left on device" in said


def test_a_full_disk_that_a_copy_of_a_folder_meets_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    failed = shutil.Error([("bundle/model", "mlflow/model", str(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))])
    code, said = ending(failed, capsys)
    assert (code, said.count("\n")) == (1, 1)
    assert "make room" in said


def test_an_error_of_ours_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(PlanError("two\nlines \x1b[2J\u202e"), capsys) == (1, "error: two\nlines \\x1b[2J\\u202e\n")


def test_a_fault_of_the_code_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError("division"), capsys)


def test_who_stops_reading_ends_the_program_quietly() -> None:
    program = "from core.entry import run; run(lambda: print('x' * 1_000_000))"
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{program}" | head -c 1; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr) == ("x141\n", "")
