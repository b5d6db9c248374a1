"""Which data and which code a release came from."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603, S607
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)dvc.lock")
    return f"git:{commit}{'+changed' if changed else ''}"
