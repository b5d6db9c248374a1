"""Merge a new draft into a plan that a person has changed since the last draft: what the person changed is kept."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from core.errors import PantheraError, PlanError
from core.plan.file import parse_plan
from core.plan.yaml_text import load_yaml
from planner.diff.values import Change, changes


@dataclass(frozen=True)
class Merged:
    """A merged plan.

    Attributes
    ----------
    touched : the keys that the person changed since the last draft.
    not_taken : the keys of the new draft that the plan does not have, because the person changed them or a line beside them;
        `before` is the value in the plan, `after` that of the draft.

    """

    text: str
    touched: tuple[Change, ...]
    not_taken: tuple[Change, ...]


def merge_drafts(last: str, plan: str, draft: str) -> Merged:
    """Return the changes from the draft `last` to `draft`, applied to `plan`; lines that differ from `last` in `plan` stay.

    Raises
    ------
    PantheraError
        If the result is no valid plan, or git is not installed.

    """
    text = _merged_lines(last, plan, draft)
    try:
        parse_plan(text, "the merged plan")
    except PlanError as error:
        raise PantheraError(
            f"the new draft does not fit the changes of the plan: {error}; write the draft to another file with --out, "
            "and take over by hand what you need"
        ) from None
    values = {
        name: load_yaml(each) for name, each in (("last", last), ("plan", plan), ("draft", draft), ("text", text))
    }
    drafted = {change.path for change in changes(values["last"], values["draft"])}
    return Merged(
        text,
        touched=tuple(changes(values["last"], values["plan"])),
        not_taken=tuple(one for one in changes(values["text"], values["draft"]) if one.path in drafted),
    )


def _merged_lines(last: str, plan: str, draft: str) -> str:
    """Merge by lines; where both sides changed the same lines, return those of the plan."""
    with TemporaryDirectory(prefix="panthera-") as folder:
        files = [Path(folder, name) for name in ("plan", "last", "draft")]
        for file, text in zip(files, (plan, last, draft), strict=True):
            file.write_bytes(text.encode())
        try:
            done = subprocess.run(["git", "merge-file", "-p", "--ours", *files], capture_output=True, check=False)  # noqa: S603, S607
        except FileNotFoundError:
            raise PantheraError("git is not installed, which merges a draft into a changed plan; install it") from None
    if done.returncode:
        raise PantheraError(
            f"git could not merge the draft into the plan: {done.stderr.decode(errors='replace').strip()}"
        )
    return done.stdout.decode()
