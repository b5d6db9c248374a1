"""What has one home: opening a connection, asking the time, reading the environment; and examples that show the truth."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import ENVIRONMENT_NAMES

ROOT = Path(__file__).parents[2]
PACKAGES = [name for name in ("core", "feature_repo", "models", "monitoring", "panthera", "planner", "serving")
            if (ROOT / name / "__init__.py").exists()]  # fmt: skip
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
HEAVY = {"bentoml", "duckdb", "evidently", "feast", "lightgbm", "mlflow", "pandas", "pyarrow", "scipy", "sklearn"}


def _named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _opens(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return bool(re.fullmatch(r"psycopg\.(\w*Connection\.)?connect", called)) or called.endswith("ConnectionPool")


def test_only_the_database_modules_open_connections() -> None:
    found = {_named(file) for file in SOURCES if any(map(_opens, ast.walk(ast.parse(file.read_text()))))}
    assert found == {"core/postgres/pool.py", "core/postgres/database.py"}


def test_no_module_below_an_entry_point_asks_what_time_it_is() -> None:
    asked = re.compile(r"\b(?:datetime\.now|datetime\.utcnow|date\.today|time\.time)\(")
    layers = [file for file in SOURCES if file.relative_to(ROOT).parts[0] in {"core", "feature_repo", "models"}]
    # Feast calls its online store without a time: there, the store is the entry point. A plan is held against the clock
    # where it is read from its file, which is the first that each entry point does.
    known = {"core/plan/file.py", "feature_repo/stores/online_store.py"}
    assert {_named(file) for file in layers if asked.search(file.read_text())} == known


def test_the_environment_is_read_by_the_settings_alone() -> None:
    naming = {
        _named(file)
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in ENVIRONMENT_NAMES
    }
    # The plan names a variable of the user's, which is ours unless they say otherwise.
    assert naming == {"core/settings.py", "core/plan/ingest.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    program = f"import sys, {package}\nprint(*(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert HEAVY.intersection(done.stdout.split()) == set()


@pytest.mark.parametrize(
    "module", [_named(file)[:-3].replace("/", ".") for file in SOURCES if ">>> " in file.read_text()]
)
def test_the_examples_of_a_module_show_what_it_does(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("address", "home"),
    [
        ("core.database", "core.postgres.database"),
        ("feature_repo.registry", "feature_repo.stores.registry"),
        ("feature_repo.offline_store", "feature_repo.stores.offline_store"),
        ("feature_repo.online_store", "feature_repo.stores.online_store"),
        ("feature_repo.compute_engine", "feature_repo.stores.compute_engine"),
        ("models.transformers", "models.scoring.transformers"),
    ],
)
def test_an_address_that_others_name_gives_what_stands_in_its_home(address: str, home: str) -> None:
    kept, there = importlib.import_module(address), importlib.import_module(home)
    assert kept.__all__
    assert all(getattr(kept, name) is getattr(there, name) for name in kept.__all__)


def test_feasts_classes_are_not_written_anew_at_each_start() -> None:
    program = "import feature_repo.stores, feast; print(*feast.FeatureView.__init__.__code__.co_names)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "typeguard" not in done.stdout.split()
