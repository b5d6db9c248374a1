"""Which data and which code a release came from, and who acts."""

from __future__ import annotations

import getpass
import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

from core.terminal import harmless

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings


def data_revision(training_set: Path) -> str:
    """Give the training set's md5, which is how `dvc.lock` names the same file."""
    with training_set.open("rb") as content:
        return f"md5:{hashlib.file_digest(content, 'md5').hexdigest()}"


def lock_revision(checkout: Path) -> str:
    """Give the sha256 of the locked packages of `checkout`; `unknown` where there is no lock."""
    lock = checkout / "requirements.lock"
    return f"sha256:{hashlib.sha256(lock.read_bytes()).hexdigest()}" if lock.exists() else "unknown"


def code_revision(checkout: Path) -> str:
    """Give the git commit that `checkout`, or a folder of it, is at, with `+changed` where tracked files differ from it.

    It is `unknown` outside of git.
    """
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)dvc.lock")
    return f"git:{commit}{'+changed' if changed else ''}"


def actor(settings: Settings, checkout: Path) -> str:
    """Say who acts: whom the settings name, else git's user, else the system's."""
    return harmless(settings.actor or _git(checkout, "config", "user.email") or _system_user())


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Run git, and give what it printed; None if there is no git, or it failed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
