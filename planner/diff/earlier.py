"""An earlier plan: a file, or the plan as it was in a revision of git."""

from __future__ import annotations

import subprocess
from pathlib import Path

from core.errors import PantheraError
from core.plan.text import read_text

_HOW = "name a revision of git (HEAD, a branch, a commit) or the file of an earlier plan"


def read_earlier(rev: str, plan: Path) -> tuple[str, str]:
    """Return what the earlier plan is called and its text: the file `rev`, or `plan` in the revision `rev` of git.

    Raises
    ------
    PantheraError
        If there is neither, or the file cannot be read.

    """
    if Path(rev).is_file():
        return rev, read_text(Path(rev))
    command = ["git", "-C", str(plan.absolute().parent), "show", "--end-of-options", f"{rev}:./{plan.name}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - the revision is no option
    except FileNotFoundError:
        raise PantheraError(f"{rev} is no file, and git is not installed; {_HOW}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise PantheraError(f"{rev} is no file, and git has no {plan.name} of it: {said[-1] if said else 'no'}; {_HOW}")
    return f"{plan.name} of {rev}", done.stdout.decode(errors="replace")
