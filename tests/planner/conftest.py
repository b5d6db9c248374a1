"""What the tests of the planner share: a workspace, and files that they write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planner.profile.profile import Profile, profile_data
from planner.workspace import Workspace, open_workspace
from tests.planner.drafted import drafted as drafted  # noqa: PLC0414 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A connection with a folder of its own."""
    with open_workspace() as opened:
        yield opened


@pytest.fixture
def profiled(workspace: Workspace, tmp_path: Path) -> Callable[[dict[str, str]], Profile]:
    """Write files and profile them."""

    def run(files: dict[str, str]) -> Profile:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return profile_data(workspace.connection, [str(tmp_path / name) for name in files], workspace.scratch)

    return run
