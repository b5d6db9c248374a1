"""Run the stages, and bring back what a database or a state folder lost since they ran."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from core.errors import PantheraError
from panthera.service_process import program, tool_environment
from panthera.status import read_status

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan import Plan
    from core.settings import Settings


def _dvc(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603
        [program("dvc"), *arguments], check=False, env=tool_environment(), stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise PantheraError(f"`dvc {' '.join(arguments)}` failed with {done.returncode}; the stage says why above")


def repair() -> None:
    """Run again the stages whose results DVC cannot see, and all that is missing between them.

    Raises
    ------
    PantheraError
        If a stage fails; it has said why.

    """
    _dvc("repro", "--force", "--single-item", "apply")
    _dvc("repro")
    _dvc("repro", "--force", "--single-item", "register", "materialize")


def reproduce(settings: Settings, plan: Plan, data: Path) -> None:
    """Run `dvc repro`, and `repair` where the receipts in `data` say what is no longer there."""
    stale = read_status(settings, plan, data).stale
    if stale:
        print(f"      {stale[0]}: repairing", flush=True)
        repair()
    else:
        _dvc("repro")
