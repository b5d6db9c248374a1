"""Project folders: each runs another plan with the code of this checkout, and has its own data, state and releases."""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import PantheraError
from core.plan.file import read_plan
from core.settings import PLAN_ENV, STATE_ENV

#: The code that runs a plan; a project folder has links to these files instead of copies.
PACKAGES = ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving")
PIPELINE = ("dvc.yaml", ".dvcignore", "bentofile.yaml", "pyproject.toml", "requirements.lock")
PLAN = "params.yaml"
_DVC_CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n    autostage = false\n"


def code_folder() -> Path:
    """Return the checkout of the running code, also if it runs through the links of a project folder."""
    return Path(__file__).resolve().parents[1]


def default_folder(plan: Path, state: Path) -> Path:
    """Return the default project folder of `plan`: in the state folder, under the project's name."""
    return state / "projects" / read_plan(plan).project.name


def make_project(plan: Path, folder: Path) -> None:
    """Create a project in `folder` that runs `plan`, or update its links; its data and state are not changed.

    Raises
    ------
    PlanError
        If the plan is invalid.
    PantheraError
        If the folder has other content or a plan of its own, or the code runs from an installed package without dvc.yaml.

    """
    read_plan(plan)
    code = code_folder()
    if not (code / "dvc.yaml").exists():
        raise PantheraError(f"there is no dvc.yaml in {code}; run this from a checkout of the platform")
    if folder.resolve() == code or _is_foreign(folder):
        raise PantheraError(f"{folder} is neither empty nor a project folder; choose another folder")
    own = folder / PLAN
    if own.exists() and not own.is_symlink() and not own.samefile(plan):
        raise PantheraError(
            f"{folder} has a plan of its own, {own}; run it (`panthera project {own} {folder}`), or another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not own.exists() or own.is_symlink():
        _link(plan.resolve(), own)
    _link_all(code, folder)


def code_stands_in(folder: Path) -> bool:
    """Return whether the stages can run in `folder`: it is a checkout, or a project folder."""
    return (folder / "dvc.yaml").exists()


def link_code(folder: Path) -> bool:
    """Make a folder that has a plan a project folder; return whether the code could be linked there."""
    code = code_folder()
    is_taken = any(
        (folder / name).exists() and not (folder / name).is_symlink() for name in (*PACKAGES, *PIPELINE, ".dvc")
    )
    if is_taken or not (code / "dvc.yaml").exists():
        return False
    _link_all(code, folder)
    return True


def _link_all(code: Path, folder: Path) -> None:
    for file in _code_files(code):
        _link(file, folder / file.relative_to(code))
    for name in PACKAGES:
        for link in (folder / name).rglob("*"):
            if link.is_symlink() and not link.exists():  # its module was removed
                link.unlink()
    config = folder / ".dvc" / "config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(_DVC_CONFIG)


def enter_project(plan: Path, folder: Path) -> None:
    """Create a project in `folder` that runs `plan`, and change this process's working folder to it."""
    make_project(plan, folder)
    os.chdir(folder)
    # These variables name the plan and the state of the previous project.
    for name in (PLAN_ENV, STATE_ENV):
        os.environ.pop(name, None)


def _is_foreign(folder: Path) -> bool:
    is_project = (folder / PLAN).is_symlink() or (folder / "dvc.yaml").is_symlink() or not folder.exists()
    return not is_project and (not folder.is_dir() or any(folder.iterdir()))


def _code_files(code: Path) -> list[Path]:
    pipeline = [code / name for name in PIPELINE]
    modules = [file for name in PACKAGES for file in (code / name).rglob("*") if "__pycache__" not in file.parts]
    return [file for file in (*pipeline, *modules) if file.is_file()]


def _link(target: Path, link: Path) -> None:
    """Create or replace `link` so that it points to `target`."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and Path(os.readlink(link)) == target:  # noqa: PTH115 - the link's own text
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
