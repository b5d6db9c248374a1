"""What the tests of drafts and checks share: files, and the draft that is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from core.plan.file import parse_plan
from planner.draft.draft import Draft, draft_plan

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from planner.workspace import Workspace


class Drafted(Protocol):
    """Writes files, drafts a plan of them, and returns both."""

    def __call__(self, files: dict[str, str], predict: str | None, **stated: Any) -> tuple[Plan, Draft]: ...


@pytest.fixture
def drafted(workspace: Workspace, tmp_path: Path) -> Drafted:
    """Draft a plan of files in a folder."""

    def run(files: dict[str, str], predict: str | None, **stated: Any) -> tuple[Plan, Draft]:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        data = [str(tmp_path / name) for name in stated.pop("data", files)]
        words = {"key": None, "time": None, "answers": {}, **stated}
        draft = draft_plan(workspace.connection, data, workspace.scratch, tmp_path, predict=predict, **words)
        return parse_plan(draft.text), draft

    return run
