"""A plan, a database and signed bundles that version 0.1 made before its modules moved into rooms: all of them still answer.

`answer.json` is what the service of that version answered for five customers as of the last materialization.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from core.plan.file import read_plan
from core.postgres.database import migrate
from core.settings import DATABASE_URL_ENV, Settings
from feature_repo.stores.registry import open_store
from models.releases.ledger import current
from tests.fix_project import ROOT
from tests.serving.conftest import World, serve

if TYPE_CHECKING:
    from tests.serving.conftest import Client

KEPT = Path(__file__).parent / "kept_version_0_1"


@pytest.fixture
def kept(tmp_path: Path, empty_database_url: str) -> Settings:
    """Settings of a project folder with what was kept, in a database that is migrated to today's schema."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute((KEPT / "database.sql").read_bytes())
    migrate(empty_database_url)
    shutil.copy(KEPT / "params.yaml", tmp_path)
    shutil.copytree(KEPT / "bundles", tmp_path / "state" / "bundles")
    (tmp_path / "state" / "keys").mkdir()
    shutil.copy(KEPT / "trusted", tmp_path / "state" / "keys")
    return Settings(tmp_path / "params.yaml", tmp_path / "state", empty_database_url, mlflow_url=None)


def test_the_same_requests_get_the_same_scores_by_the_same_releases(kept: Settings, patient: None) -> None:
    before: dict[str, Any] = json.loads((KEPT / "answer.json").read_text())
    body = {
        "entities": [{"customer_id": entry["customer_id"]} for entry in before["predictions"]],
        "as_of": before["as_of"],
    }

    async def ask(client: Client) -> None:
        response = await client.http.post("/v1/predict", json=body)
        assert response.status_code == 200, response.text
        for now, then in zip(response.json()["predictions"], before["predictions"], strict=True):
            # Each prediction has an id of its own.
            assert {**now, "prediction_id": then["prediction_id"]} == {**now, **then, "score": now["score"]}
            assert now["score"] == pytest.approx(then["score"], abs=1e-12)

    assert len({entry["release"] for entry in before["predictions"]}) == 2
    serve(World(kept), ask)


def test_feast_reads_the_registry_of_the_kept_database(kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(DATABASE_URL_ENV, kept.database_url or "")
    store = open_store(kept)
    try:
        (view,) = store.list_feature_views()
    finally:
        for engine in {store.registry.read_engine, store.registry.write_engine}:
            engine.dispose()
    assert view.name == "history"
    declared = read_plan(kept.plan).build_features.views["history"]
    assert {field.name for field in view.schema if field.name != "customer_id"} == set(declared.features)
    assert view.ttl == declared.ttl


def test_the_kept_plan_is_sound_and_names_the_release_that_answers(kept: Settings) -> None:
    plan = read_plan(kept.plan)
    with psycopg.connect(kept.database_url or "") as connection:
        release = current(connection, plan.register_.model, "champion")
    assert release is not None
    assert (kept.bundles / release.bundle_digest).is_dir()
