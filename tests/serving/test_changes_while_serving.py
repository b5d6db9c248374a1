"""What changes under a running service: the database, the ledger, the online tables."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from core.errors import BundleError, PlanError
from core.postgres.database import migrate
from core.postgres.server import EmbeddedServer
from models.bundles.signing import TrustedKeys
from serving.releases import BundleFolder
from tests.serving.conftest import Client, World, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.bundles.bundle import Bundle
    from tests.serving.conftest import HandMadeBundle


async def _unavailable(client: Client) -> str:
    """Check that predictions are not given, and return the reason."""
    response = await client.predict(1)
    assert response.status_code == 503, response.text
    assert int(response.headers["retry-after"]) > 0
    error = response.json()["error"]
    assert error["code"] == "unavailable"
    assert "\n" not in error["message"]
    assert not await client.app.state.runtime.is_ready()
    return str(error["message"])


def test_without_a_release_the_service_says_what_to_run_and_takes_the_first_one_up(bare_world: World) -> None:
    async def use(client: Client) -> None:
        assert "no release of 'world' is registered; run `dvc repro`" in await _unavailable(client)
        assert (await client.http.get("/v1/status")).json()["problem"].startswith("no release")
        bare_world.fill()
        bare_world.register("first", "champion", 0.1)
        await client.look()
        assert [entry["release"] for entry in await client.entries(1)] == ["first"]
        assert await client.app.state.runtime.is_ready()

    serve(bare_world, use)


def test_the_ledger_is_looked_at_without_being_told(bare_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.runtime._SECONDS_BETWEEN_LOOKS", 0.05)

    async def use(client: Client) -> None:
        await _unavailable(client)
        bare_world.fill()
        bare_world.register("first", "champion", 0.1)
        async with asyncio.timeout(10):
            while (await client.predict(1)).status_code == 503:  # noqa: ASYNC110 - nobody else can say so
                await asyncio.sleep(0.05)

    serve(bare_world, use)


def test_a_promoted_release_answers_from_then_on(world: World) -> None:
    world.write_plan(arms="{champion: 1, challenger: 0}")

    async def use(client: Client) -> None:
        assert [entry["release"] for entry in await client.entries(1)] == ["old"]
        world.give_role("new", "champion")
        await client.look()
        assert [(entry["release"], entry["score"]) for entry in await client.entries(1)] == [("new", 0.2)]

    serve(world, use)


def test_the_old_release_answers_until_the_new_ones_features_are_online(world: World) -> None:
    world.write_plan(arms="{champion: 1, challenger: 0}")

    async def use(client: Client) -> None:
        world.register("next", "champion", 0.3, ("recent_1", "visits"))
        await client.look()
        assert [entry["release"] for entry in await client.entries(1)] == ["old"]
        assert "recent_1" in (await client.http.get("/v1/status")).json()["problem"]
        world.fill("recent_1", "visits")
        await client.look()
        assert [entry["release"] for entry in await client.entries(1)] == ["next"]

    serve(world, use)


def test_a_release_whose_bundle_cannot_be_read_does_not_replace_one_that_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, trusted: TrustedKeys) -> HandMadeBundle:
        raise BundleError(f"{folder.name}: its signature does not match")

    async def use(client: Client) -> None:
        monkeypatch.setattr("serving.releases.load_bundle", refuse)
        world.register("broken", "champion", 0.3)
        await client.look()
        assert {entry["release"] for entry in await client.entries(1, 2, 3, 4, 5)} == {"old", "new"}
        assert "signature" in (await client.http.get("/v1/status")).json()["problem"]

    serve(world, use)


def test_a_challenger_that_cannot_be_loaded_does_not_keep_the_champion_from_answering(bare_world: World) -> None:
    bare_world.fill()
    bare_world.register("old", "champion", 0.1)
    bare_world.register("new", "challenger", 0.2, ("recent_1", "visits"))

    async def use(client: Client) -> None:
        assert {entry["release"] for entry in await client.entries(1, 2, 3, 4, 5)} == {"old"}
        await client.look()
        assert "recent_1" in (await client.http.get("/v1/status")).json()["problem"]
        bare_world.fill("recent_1", "visits")
        await client.look()
        assert {entry["release"] for entry in await client.entries(10, 11, 12, 13, 14)} == {"old", "new"}

    serve(bare_world, use)


def test_bundles_may_load_for_longer_than_the_database_may_be_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(folder: Path, trusted: TrustedKeys) -> HandMadeBundle | Bundle:
        time.sleep(1.5)
        return world.load(folder, trusted)

    async def use(client: Client) -> None:
        assert {entry["release"] for entry in await client.entries(1, 2, 3, 4, 5)} == {"old", "new"}

    monkeypatch.setattr("serving.releases.load_bundle", load)
    monkeypatch.setattr("serving.runtime._SECONDS_TO_LOOK", 1.0)
    serve(world, use)


def _refusing(world: World, monkeypatch: pytest.MonkeyPatch, *release_ids: str) -> None:
    """Have the bundles of some releases refused, as altered ones are."""

    def load(folder: Path, trusted: TrustedKeys) -> HandMadeBundle | Bundle:
        if folder.name in {f"digest-{release_id}" for release_id in release_ids}:
            raise BundleError(f"{folder}/model was altered: its sha256 is not the manifest's; not loaded")
        return world.load(folder, trusted)

    monkeypatch.setattr("serving.releases.load_bundle", load)


async def _problem(client: Client) -> str:
    """Read the problem from the status and the readiness, which must say the same, and no path."""
    problems = {(await client.http.get(route)).json()["problem"] for route in ("/v1/status", "/readyz")}
    (problem,) = problems
    assert "/" not in problem.replace("`", "")
    return str(problem)


def test_at_a_start_the_last_sound_champion_answers_for_one_whose_bundle_was_altered(
    bare_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_world.fill()
    for release_id, weight in (("first", 0.1), ("second", 0.2), ("third", 0.3)):
        bare_world.register(release_id, "champion", weight)
    _refusing(bare_world, monkeypatch, "second", "third")

    async def use(client: Client) -> None:
        assert {entry["release"] for entry in await client.entries(1, 2)} == {"first"}
        problem = await _problem(client)
        assert "release third is not loaded" in problem
        assert "altered" in problem
        assert "first answers" in problem
        content = (await client.http.get("/v1/status")).json()
        assert content["appointed"]["champion"] == "third"
        assert content["releases"]["champion"]["release"] == "first"
        await client.look()
        assert "release third is not loaded" in await _problem(client)
        _refusing(bare_world, monkeypatch)
        client.app.state.runtime._loader.bundles._failed.clear()  # as a change of the files does
        await client.look()
        assert {entry["release"] for entry in await client.entries(1, 2)} == {"third"}
        assert "is not loaded" not in (await client.http.get("/v1/status")).json()["problem"]

    serve(bare_world, use)


def test_a_champion_that_was_rolled_back_from_never_answers_for_another(
    bare_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_world.fill()
    bare_world.register("good", "champion", 0.1)
    bare_world.register("withdrawn", "champion", 0.2)
    bare_world.execute(
        "INSERT INTO panthera.release_role (model, role, release_id, replaced, reason, cause, actor) "
        "VALUES ('world', 'champion', 'good', 'withdrawn', 'test', 'rollback', 'somebody')"
    )
    _refusing(bare_world, monkeypatch, "good")

    async def use(client: Client) -> None:
        assert "release good is not loaded" in await _unavailable(client)

    serve(bare_world, use)


def test_a_challenger_whose_bundle_was_altered_is_left_out_and_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refusing(world, monkeypatch, "new")

    async def use(client: Client) -> None:
        assert {entry["release"] for entry in await client.entries(1, 2, 3, 4, 5)} == {"old"}
        assert "the challenger is left out: release new is not loaded" in await _problem(client)
        content = (await client.http.get("/v1/status")).json()
        assert content["appointed"] == {"champion": "old", "challenger": "new"}
        assert content["releases"]["challenger"] is None

    serve(world, use)


def test_a_sound_promotion_is_taken_up_although_the_challenger_has_a_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(client: Client) -> None:
        _refusing(world, monkeypatch, "broken")
        world.register("next", "champion", 0.3)
        world.register("broken", "challenger", 0.4)
        await client.look()
        assert {entry["release"] for entry in await client.entries(1, 2, 3, 4, 5)} == {"next"}
        assert "the challenger is left out: release broken" in await _problem(client)

    serve(world, use)


def test_a_bundle_that_was_refused_is_not_read_again_before_it_has_changed(
    bare_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reads: list[str] = []

    def refuse(folder: Path, trusted: TrustedKeys) -> HandMadeBundle:
        reads.append(folder.name)
        raise BundleError("altered")

    monkeypatch.setattr("serving.releases.load_bundle", refuse)
    (tmp_path / "digest").mkdir()
    bundles, trusted = BundleFolder(tmp_path), TrustedKeys(())
    for _ in range(3):
        with pytest.raises(BundleError):
            bundles.load("digest", trusted)
    (tmp_path / "digest" / "model").write_text("made good")
    with pytest.raises(BundleError):
        bundles.load("digest", trusted)
    assert len(reads) == 2


def test_a_release_for_another_entity_is_not_taken_up(world: World) -> None:
    bundle = world.bundles["digest-old"]
    world.bundles["digest-old"] = replace(bundle, contract=replace(bundle.contract, entity_key="household_id"))

    async def use(client: Client) -> None:
        assert "household_id" in await _unavailable(client)

    serve(world, use)


def test_an_online_table_that_is_gone_is_a_503_until_it_is_back(world: World) -> None:
    async def use(client: Client) -> None:
        world.execute("ALTER TABLE online.history_1 RENAME TO away")
        message = await _unavailable(client)
        assert "history_1" in message
        assert "panthera repair" in message
        assert (await client.http.get("/v1/features", params={"account_id": 1})).status_code == 503
        world.execute("ALTER TABLE online.away RENAME TO history_1")
        assert len(await client.entries(1)) == 1

    serve(world, use)


def test_failing_reads_give_their_connections_back(world: World) -> None:
    async def use(client: Client) -> None:
        world.execute("ALTER TABLE online.history_1 RENAME TO away")
        await asyncio.gather(*(_unavailable(client) for _ in range(100)))
        world.execute("ALTER TABLE online.away RENAME TO history_1")
        answers = await asyncio.gather(*(client.entries(1) for _ in range(100)))
        assert len(answers) == 100
        pool = client.app.state.runtime.connections.answers
        assert pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"]

    serve(world, use)


@pytest.fixture
def stoppable_world(bare_world: World, server_state: Path) -> Iterator[tuple[World, EmbeddedServer]]:
    """A world on a server of its own, which is stopped and started."""
    server = EmbeddedServer(server_state / uuid4().hex)
    server.start()
    bare_world.settings = replace(bare_world.settings, database_url=server.url)
    migrate(server.url)
    bare_world.fill()
    bare_world.register("old", "champion", 0.1)
    yield bare_world, server
    server.stop()


def test_the_service_outlives_its_database_and_recovers_by_itself(
    stoppable_world: tuple[World, EmbeddedServer],
) -> None:
    world, server = stoppable_world

    async def use(client: Client) -> None:
        loop = asyncio.get_running_loop()
        (before,) = await client.entries(1)
        await asyncio.to_thread(server.stop)
        began = loop.time()
        messages = await asyncio.gather(*(_unavailable(client) for _ in range(20)))
        assert loop.time() - began < 6  # two waits of two seconds: the prediction, and then the readiness
        assert all("does not answer" in message for message in messages)
        assert all("postgres:" not in message.replace("postgres://", "") for message in messages)
        outcome = {"outcome_id": "o", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}
        for response in (
            await client.http.post("/v1/outcomes", json={"outcomes": [outcome]}),
            await client.http.get("/v1/cohorts"),
            await client.http.get("/v1/status"),
        ):
            assert response.status_code == 503
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(15):
            while (response := await client.predict(1)).status_code == 503:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        acknowledged = {before["prediction_id"], response.json()["predictions"][0]["prediction_id"]}
        stored = {row[0] for row in world.execute("SELECT prediction_id::text FROM panthera.prediction")}
        assert acknowledged <= stored

    serve(world, use)


def test_the_service_starts_without_its_database(stoppable_world: tuple[World, EmbeddedServer]) -> None:
    world, server = stoppable_world
    server.stop()

    async def use(client: Client) -> None:
        assert "cannot be reached" in await _unavailable(client)
        await asyncio.to_thread(server.start)
        await client.look()
        assert len(await client.entries(1)) == 1

    serve(world, use)


def test_a_plan_that_cannot_be_read_stops_the_start(bare_world: World) -> None:
    bare_world.settings.plan.write_text("project: 7")

    async def use(_: Client) -> None:
        raise AssertionError("the service started")

    with pytest.raises(PlanError):
        serve(bare_world, use)


def test_the_service_starts_an_embedded_database_that_somebody_stopped(
    stoppable_world: tuple[World, EmbeddedServer], server_state: Path
) -> None:
    world, server = stoppable_world
    world.settings = replace(world.settings, database_url=None, state=server.state)

    async def use(client: Client) -> None:
        await client.predict(1)
        await asyncio.to_thread(server.stop)
        assert (await client.predict(1)).status_code == 503
        await client.look()  # finds that it is gone
        await client.look()  # starts it
        async with asyncio.timeout(10):
            while (await client.predict(1)).status_code != 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)

    serve(world, use)
