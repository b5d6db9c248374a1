"""The plans for data sets that packages ship: each is valid, and its module writes the files that it names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from core.plan.file import read_plan
from feature_repo.files.duck import fetch, open_duckdb
from feature_repo.sources.readers import read_source
from worlds.public import visits
from worlds.public.__main__ import PLANS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_of_each_data_set_is_valid_and_has_a_module_that_writes_it(name: str) -> None:
    plan = read_plan(PLANS[name])
    assert plan.project.name == name
    assert callable(import_module(f"worlds.public.{name}").write)


def test_the_files_of_an_installed_package_are_read_as_their_plan_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits.write(tmp_path, every=100)
    monkeypatch.chdir(tmp_path)
    source = read_plan(PLANS["visits"]).ingest["years"]
    with open_duckdb() as connection:
        rows = fetch(connection, read_source(connection, "years", source, tmp_path / "downloads"))
    assert set(source.columns) <= set(rows.column_names)
    assert rows.column("id").to_pylist()[0] == "0125800/1"
    assert 0 < rows.column("health").null_count < len(rows)
