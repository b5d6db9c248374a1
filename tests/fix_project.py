"""A checkout of its own for the tests that run the pipeline: the tracked files, another plan, its own database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.settings import TELEMETRY_OFF

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Project:
    """A copied checkout in `folder`, and the environment in which its tools run."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the test's environment in the checkout; its output is kept, its exit code not judged."""
        program = Path(sys.executable).with_name(command[0])
        return subprocess.run(
            [str(program), *command[1:]],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make the checkout and its environment this process's own for the length of the block."""
        here, environment = Path.cwd(), dict(os.environ)
        os.chdir(self.folder)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(environment)

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro` and list the stages that it ran."""
        done = self.run("dvc", "repro", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]

    def replace(self, old: str, new: str) -> None:
        """Change the one place of the plan that says `old`."""
        plan = self.folder / "params.yaml"
        text = plan.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the plan"
        plan.write_text(text.replace(old, new))


def copy_checkout(folder: Path) -> None:
    """Copy what git has of this checkout, with what is new and not ignored, and make it a git repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if name.startswith(("tests/", "benchmarks/", "docs/")) or name == "dvc.lock" or not (ROOT / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    lend_bytecode(ROOT, folder, listed.stdout.splitlines())
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)


def lend_bytecode(owner: Path, borrower: Path, names: Iterable[str]) -> None:
    """Link what Python has compiled of the files `names` in one folder to equal files in the other; Python checks them."""
    for name in names:
        compiled = Path(cache_from_source(name)) if name.endswith(".py") else None
        if compiled and (owner / compiled).exists() and (borrower / name).exists():
            (borrower / compiled).parent.mkdir(exist_ok=True)
            with suppress(OSError):  # on another device, or there already
                os.link(owner / compiled, borrower / compiled)


@pytest.fixture(scope="module")
def checkout_name() -> str:
    """The name of the folder of a copied checkout, which a module may choose otherwise."""
    return "checkout"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, module_database_url: str, checkout_name: str) -> Project:
    """A copied checkout for the tests of one module."""
    folder = tmp_path_factory.mktemp("of-module") / checkout_name
    folder.mkdir()
    copy_checkout(folder)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PANTHERA_")},
        **TELEMETRY_OFF,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PANTHERA_STATE": str(folder / ".panthera"),
        "PANTHERA_DATABASE_URL": module_database_url,
        "BENTOML_HOME": str(folder / ".panthera" / "bentoml"),
    }
    return Project(folder, environment)
