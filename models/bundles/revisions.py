"""The data and code revisions of a release, and the name of its author."""

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
    """Return the training set's md5, by which `dvc.lock` names the same file."""
    with training_set.open("rb") as content:
        return f"md5:{hashlib.file_digest(content, 'md5').hexdigest()}"


def lock_revision(checkout: Path) -> str:
    """Return the sha256 of the locked packages of `checkout`; `unknown` without a lock file."""
    lock = checkout / "requirements.lock"
    return f"sha256:{hashlib.sha256(lock.read_bytes()).hexdigest()}" if lock.exists() else "unknown"


def code_revision(checkout: Path) -> str:
    """Return the git commit of `checkout`, with `+changed` if tracked files differ from it; `unknown` outside of git."""
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)dvc.lock")
    return f"git:{commit}{'+changed' if changed else ''}"


def actor(settings: Settings, checkout: Path) -> str:
    """Return who acts: the actor of the settings, otherwise git's user, otherwise the system's user."""
    return harmless(settings.actor or _git(checkout, "config", "user.email") or _system_user())


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return f"uid {os.getuid()}"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Run git and return its output; None if git is missing or fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
