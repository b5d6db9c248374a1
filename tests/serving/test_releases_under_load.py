"""Promotions and rollbacks while the service answers: nobody notices, and the ledger can tell the whole story."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks.small_release import enter
from core.plan.file import read_plan
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.releases.verbs import promote_verb, rollback_verb, show_verb
from tests.serving.conftest import Client, World, serve
from tests.serving.test_bentoml import running

if TYPE_CHECKING:
    from core.settings import Settings

CLIENTS = 8
CYCLES = 10


@dataclass
class Load:
    """Clients that ask again as soon as they were answered, and what they were told."""

    client: Client
    stopped: bool = False
    failed: list[str] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self) -> None:
        accounts = cycle([(1, 2), (3,), (4, 5)])
        while not self.stopped:
            response = await self.client.predict(*next(accounts))
            if response.status_code == 200:
                self.entries += response.json()["predictions"]
            else:
                self.failed.append(response.text)

    async def until(self, release_id: str) -> None:
        """Wait until an answer comes from a release."""
        seen = len(self.entries)
        async with asyncio.timeout(30):
            while not any(entry["release"] == release_id for entry in self.entries[seen:]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
def places(bare_world: World, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two real releases of the world's model, the first one champion; no MLflow, which must not matter."""
    monkeypatch.setattr("serving.runtime._SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = replace(bare_world.settings, mlflow_url="http://127.0.0.1:9", actor="ann")
    bare_world.write_plan(arms="{champion: 1, challenger: 0}")
    bare_world.fill()
    for name, cut in (("one", 10), ("two", 20)):
        enter(settings, name, cut=cut, model="world", table="history_1")
    promote_verb(settings, read_plan(settings.plan), "one", "champion", "the first")
    return settings


def test_no_request_fails_while_releases_come_and_go(bare_world: World, places: Settings) -> None:
    plan = read_plan(places.plan)
    loads: list[Load] = []

    async def use(client: Client) -> None:
        load = Load(client)
        loads.append(load)
        clients = [asyncio.create_task(load.ask()) for _ in range(CLIENTS)]
        for number in range(CYCLES):
            await asyncio.to_thread(promote_verb, places, plan, "two", "champion", f"better, {number}")
            await load.until("two")
            await asyncio.to_thread(rollback_verb, places, plan, None, f"worse after all, {number}")
            await load.until("one")
        load.stopped = True
        await asyncio.gather(*clients)

    serve(bare_world, use)
    (load,) = loads
    assert load.failed == []
    assert {entry["release"] for entry in load.entries} == {"one", "two"}
    _each_answer_is_that_of_the_release_that_it_names(bare_world, places, load)
    _the_ledger_tells_it(places, load)


def _ask(client: httpx.Client, stop: threading.Event, entries: list[dict[str, Any]], failed: list[str]) -> None:
    """Ask until told to stop, or until nobody listens any more, and note what was answered."""
    while not stop.is_set():
        try:
            response = client.post("/v1/predict", json={"entities": [{"account_id": 1}, {"account_id": 2}]})
        except httpx.ConnectError:
            return
        if response.status_code == 200:
            entries += response.json()["predictions"]
        else:
            failed.append(response.text)


def _wait_for(release_id: str, entries: list[dict[str, Any]]) -> None:
    seen, end = len(entries), time.monotonic() + 30
    while not any(entry["release"] == release_id for entry in entries[seen:]):
        assert time.monotonic() < end, f"{release_id} never answered"
        time.sleep(0.02)


def test_no_request_fails_under_bentoml_while_releases_change_or_when_it_stops(
    bare_world: World, places: Settings
) -> None:
    plan, stop = read_plan(places.plan), threading.Event()
    entries: list[dict[str, Any]] = []
    failed: list[str] = []
    with running(places) as service, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(_ask, service.client, stop, entries, failed) for _ in range(4)]
        try:
            for number in range(2):
                promote_verb(places, plan, "two", "champion", f"better, {number}")
                _wait_for("two", entries)
                rollback_verb(places, plan, None, f"worse after all, {number}")
                _wait_for("one", entries)
            service.process.send_signal(signal.SIGTERM)  # under load: what is asked by then is answered
            service.process.wait(30)
        finally:
            stop.set()
        for one in asking:
            one.result()
    assert failed == []
    stored = bare_world.execute("SELECT prediction_id::text, release_id FROM panthera.prediction")
    assert dict(stored) == {entry["prediction_id"]: entry["release"] for entry in entries}
    story = show_verb(places, plan, "two")
    assert [change.cause for change in story.changes] == ["promote", "rollback"] * 2
    assert sum(day.predictions for day in story.served) == sum(entry["release"] == "two" for entry in entries)


def _each_answer_is_that_of_the_release_that_it_names(world: World, settings: Settings, load: Load) -> None:
    stored = world.execute(
        "SELECT prediction_id::text, release_id, score, features->'history__orders' FROM panthera.prediction"
    )
    assert {row[0] for row in stored} == {entry["prediction_id"] for entry in load.entries}
    assert len(stored) == len(load.entries)
    digests = dict(world.execute("SELECT release_id, bundle_digest FROM panthera.release"))
    for release_id, digest in digests.items():
        bundle = load_bundle(settings.bundles / digest, read_trusted(settings))
        rows = [row for row in stored if row[1] == release_id]
        assert bundle.score([[row[3]] for row in rows]) == pytest.approx([row[2] for row in rows], rel=0, abs=1e-9)
    answered = {entry["prediction_id"]: (entry["release"], entry["score"]) for entry in load.entries}
    assert answered == {row[0]: (row[1], row[2]) for row in stored}


def _the_ledger_tells_it(settings: Settings, load: Load) -> None:
    story = show_verb(settings, read_plan(settings.plan), "two")
    assert [(change.release_id, change.cause, change.actor) for change in story.changes] == [
        ("two", "promote", "ann"),
        ("one", "rollback", "ann"),
    ] * CYCLES
    assert story.changes[-1].reason == f"worse after all, {CYCLES - 1}"
    answered = Counter(entry["release"] for entry in load.entries)
    assert sum(day.predictions for day in story.served) == answered["two"]
