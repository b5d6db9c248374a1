"""Run the stages by DVC, and restore what was lost from the database or the state folder since they ran."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError
from panthera.service.process import program, tool_environment
from panthera.status import read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.plan.plan import Plan
    from core.settings import Settings


#: Outputs of stages that a catch-up changes, in the folder of the tables.
_CHANGED_TABLES = ("accepted", "rejected", "features", "ledger/rows", "ledger/snapshots")
_SECONDS_BETWEEN_ATTEMPTS = 0.5


def _dvc(*arguments: str, output: int | None = None) -> None:
    done = subprocess.run(  # noqa: S603
        [program("dvc"), *arguments],
        check=False,
        env=tool_environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
    )
    if done.returncode:
        raise PantheraError(
            f"`dvc {' '.join(arguments)}` failed with exit code {done.returncode}; see the stage's error above"
        )


@contextmanager
def changing_tables(data: Path) -> Iterator[None]:
    """Hold DVC's lock on the stages' tables for the length of the block; wait for a running DVC command first.

    DVC refuses commands on these tables meanwhile, with an error that names this process.
    """
    if not Path(".dvc").is_dir():
        yield
        return
    from dvc.fs import localfs
    from dvc.rwlock import rwlock

    lock_folder = Path(".dvc/tmp").absolute()
    lock_folder.mkdir(exist_ok=True)
    tables = [str((data / table).absolute()) for table in _CHANGED_TABLES]
    read = [str((data / "raw").absolute())]
    with ExitStack() as stack:
        lock = partial(rwlock, str(lock_folder), localfs, "panthera catch-up", read, tables, hardlink=False)
        _wait_for(lambda: stack.enter_context(lock()))
        yield


def _wait_for(enter: Callable[[], object]) -> None:
    from dvc.lock import LockError

    is_reported = False
    while True:
        try:
            enter()
        except LockError as error:
            if not is_reported:
                print(f"waiting for DVC to finish: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            is_reported = True
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            return


def repair(output: int | None = None) -> None:
    """Run the stages again whose results DVC cannot see, and all missing stages between them.

    `output` is the file descriptor for DVC's standard output; None is that of this process.

    Raises
    ------
    PantheraError
        If a stage fails; the stage has printed its error.

    """
    _dvc("repro", "--force", "--single-item", "apply", output=output)
    _dvc("repro", output=output)
    _dvc("repro", "--force", "--single-item", "register", "materialize", output=output)


def reproduce(settings: Settings, plan: Plan, data: Path, output: int | None = None) -> None:
    """Run `dvc repro`, or `repair` if something in the receipts in `data` no longer exists; `output` as in `repair`."""
    stale = read_status(settings, plan, data).stale
    if stale:
        print(f"      {stale[0]}: repairing", file=sys.stderr, flush=True)
        repair(output)
    else:
        _dvc("repro", output=output)
