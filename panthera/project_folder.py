"""Project folders: another plan, run by the code of this checkout, with data, state and releases of its own."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import PantheraError
from core.plan.file import read_plan
from core.settings import PLAN_ENV, STATE_ENV

#: What runs a plan; a project folder has links to these files, so the code is never there twice.
PACKAGES = ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving")
PIPELINE = ("dvc.yaml", ".dvcignore", "bentofile.yaml", "pyproject.toml", "requirements.lock")
PLAN = "params.yaml"
_DVC_CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n    autostage = false\n"


def code_folder() -> Path:
    """Give the checkout that the running code comes from, also where it runs through a project folder's links."""
    return Path(__file__).resolve().parents[1]


def default_folder(plan: Path, state: Path) -> Path:
    """Name the folder of `plan` if the user names none: by its project, in the state folder."""
    return state / "projects" / read_plan(plan).project.name


def make_project(plan: Path, folder: Path) -> None:
    """Make `folder` a project that runs `plan`, or bring its links up to date; its data and state are left alone.

    Raises
    ------
    PlanError
        If the plan is not sound.
    PantheraError
        If the folder holds something else, or the code runs from an installed package without its pipeline.

    """
    read_plan(plan)
    code = code_folder()
    if not (code / "dvc.yaml").exists():
        raise PantheraError(f"there is no dvc.yaml in {code}; run this from a checkout of the platform")
    if folder.resolve() == code or _is_foreign(folder):
        raise PantheraError(f"{folder} is not an empty folder or a project of ours; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    _link(plan.resolve(), folder / PLAN)
    for file in _code_files(code):
        _link(file, folder / file.relative_to(code))
    for name in PACKAGES:
        for link in (folder / name).rglob("*"):
            if link.is_symlink() and not link.exists():  # its module is gone
                link.unlink()
    config = folder / ".dvc" / "config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(_DVC_CONFIG)


def enter_project(plan: Path, folder: Path) -> None:
    """Make `folder` a project that runs `plan`, and this process one that runs in it."""
    make_project(plan, folder)
    os.chdir(folder)
    # They name the plan and the state of the project that was left.
    for name in (PLAN_ENV, STATE_ENV):
        os.environ.pop(name, None)


def _is_foreign(folder: Path) -> bool:
    ours = (folder / PLAN).is_symlink() or not folder.exists()
    return not ours and (not folder.is_dir() or any(folder.iterdir()))


def _code_files(code: Path) -> list[Path]:
    named = [code / name for name in PIPELINE]
    modules = [file for name in PACKAGES for file in (code / name).rglob("*") if "__pycache__" not in file.parts]
    return [file for file in (*named, *modules) if file.is_file()]


def _link(target: Path, link: Path) -> None:
    """Make `link` point to `target`, whatever it pointed to before."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and Path(os.readlink(link)) == target:  # noqa: PTH115 - the link's own text
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
