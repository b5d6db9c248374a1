"""Feast's registry is found where the settings say, also by Feast's own program in the folder of its configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, text

from feature_repo.stores.registry import feast_settings
from feature_repo.stores.registry_dialect import register_dialect

REPOSITORY = Path(__file__).parents[3] / "feature_repo"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of nothing but Feast's configuration."""
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / "feature_repo" / "feature_store.yaml").write_text((REPOSITORY / "feature_store.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_state_folder_is_that_of_the_checkout_wherever_feast_is(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANTHERA_STATE", "here/state")
    assert feast_settings().state.resolve() == elsewhere / "here" / "state"
    monkeypatch.chdir("feature_repo")
    assert feast_settings().state == elsewhere / "here" / "state"
    monkeypatch.setenv("PANTHERA_STATE", "/there")
    assert feast_settings().state == Path("/there")


def test_an_address_that_names_nothing_is_that_of_the_settings(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PANTHERA_DATABASE_URL", database_url)
    register_dialect()
    engine = create_engine("postgresql+panthera://")
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT current_database(), current_schema(), current_setting('TimeZone')"))
            assert tuple(found.one()) == (urlsplit(database_url).path[1:], "feast", "UTC")
    finally:
        engine.dispose()


def test_feasts_own_program_needs_no_variable_of_ours(elsewhere: Path, database_url: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("feast"), "-c", "feature_repo", "entities", "list"],
        cwd=elsewhere,
        env={**os.environ, "PANTHERA_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("NAME")
