"""What Feast's command line finds in the folder of feature_store.yaml is what the plan defines, and nothing else is run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feast import repo_operations

from core.plan.file import read_plan
from core.settings import PLAN_ENV
from feature_repo.stores.definitions import define
from tests.fix_project import ROOT

if TYPE_CHECKING:
    import pytest


def test_feast_finds_what_the_plan_defines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLAN_ENV, "params.yaml")
    monkeypatch.chdir(ROOT / "feature_repo")
    monkeypatch.syspath_prepend(str(ROOT / "feature_repo"))
    try:
        found = repo_operations.parse_repo(Path.cwd())
    finally:
        sys.modules.pop("_feast_objects", None)
    wanted = define(read_plan(ROOT / "params.yaml"), Path("../data/features"))
    assert {view.name: view for view in found.feature_views} == wanted.views
    assert {service.name: service for service in found.feature_services} == wanted.services
    assert {entity.name for entity in found.entities} == {*wanted.entities, "__dummy"}


def test_feast_imports_no_module_of_the_stages() -> None:
    files = repo_operations.get_repo_files(ROOT / "feature_repo")
    assert [path.name for path in files] == ["_feast_objects.py"]
