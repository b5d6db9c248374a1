"""A database that is silent, frozen, locked, full, read-only or crowded: errors come soon, and all is well again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from core.postgres.server import SERVER_USER
from serving.admission import seconds_to_answer
from tests.serving.conftest import AS_OF, Client, World, assert_is_problem, serve, served
from tests.serving.faults import Proxy, backends, frozen, locked, seconds_until_answered, timed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: The promise is half a second; the rest is for a machine that is busy with other tests.
_SOON = 2.0
#: After this long a verdict on readiness has passed.
_NEW_VERDICT = 1.1
_OUTCOME = {"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}


@pytest.fixture
def impatient_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose service has the time limits of the real one."""
    monkeypatch.setattr("serving.connections._SECONDS", 0.35)
    monkeypatch.setattr("serving.endpoints.seconds_to_answer", seconds_to_answer)
    return world


async def _is_refused_soon(client: Client) -> None:
    """Check that a prediction and an outcome are refused soon, in one shape, and that readiness says so."""
    posted = {"outcomes": [_OUTCOME]}
    for request in (lambda: client.predict(1), lambda: client.http.post("/v1/outcomes", json=posted)):
        response, seconds = await timed(request)
        assert response.status_code == 503, response.text
        assert_is_problem(response, "unavailable")
        assert seconds < _SOON
    assert not await client.app.state.runtime.is_ready()


@asynccontextmanager
async def _served_through_proxy(world: World) -> AsyncIterator[tuple[Client, Proxy]]:
    proxy = Proxy(world.url)
    async with proxy.running() as url:
        world.settings = replace(world.settings, database_url=url)
        async with served(world) as client:
            yield client, proxy


def test_predictions_are_answered_again_after_their_connections_went_silent(impatient_world: World) -> None:
    async def run() -> None:
        async with _served_through_proxy(impatient_world) as (client, proxy):
            await client.entries(1, 2)
            proxy.is_silent = True
            await _is_refused_soon(client)
            proxy.is_silent = False
            assert await seconds_until_answered(client, within=10) < 10

    asyncio.run(run())


def test_a_frozen_server_process_costs_one_time_limit_and_no_restart(impatient_world: World) -> None:
    async def use(client: Client) -> None:
        await client.entries(1)
        with frozen(*backends(impatient_world.url)):
            response, seconds = await timed(lambda: client.predict(1))
            assert response.status_code == 503
            assert seconds < _SOON
            assert await seconds_until_answered(client, within=10) < 10

    serve(impatient_world, use)


@pytest.mark.parametrize("table", ["online.history_1", "panthera.prediction", "panthera.exposure"])
def test_a_table_that_is_locked_is_told_soon_and_leaves_no_statement_behind(impatient_world: World, table: str) -> None:
    async def use(client: Client) -> None:
        with locked(impatient_world.url, table):
            responses = await asyncio.gather(*(timed(lambda: client.predict(1)) for _ in range(30)))
            assert {response.status_code for response, _ in responses} == {503}
            assert max(seconds for _, seconds in responses) < _SOON
            assert not await client.app.state.runtime.is_ready()
        await asyncio.sleep(_NEW_VERDICT)
        assert await client.app.state.runtime.is_ready()
        assert len(await client.entries(1)) == 1
        # What was refused while the table was locked has not been logged afterwards.
        assert impatient_world.execute("SELECT count(*) FROM panthera.prediction") == [(1,)]

    serve(impatient_world, use)


_READ_ONLY = """
CREATE FUNCTION panthera.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE SQLSTATE '25006' USING MESSAGE = 'cannot execute INSERT in a read-only transaction'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON panthera.prediction EXECUTE FUNCTION panthera.refuse()
"""


def test_a_database_that_became_read_only_is_not_ready(impatient_world: World) -> None:
    async def use(client: Client) -> None:
        impatient_world.execute(_READ_ONLY)
        response, seconds = await timed(lambda: client.predict(1))
        assert_is_problem(response, "unavailable")
        assert "read-only" not in response.text  # the words of the server are for the log
        assert seconds < _SOON
        assert not await client.app.state.runtime.is_ready()
        impatient_world.execute("DROP TRIGGER refuse ON panthera.prediction")
        await asyncio.sleep(_NEW_VERDICT)
        assert await client.app.state.runtime.is_ready()
        assert len(await client.entries(1)) == 1

    serve(impatient_world, use)


def test_a_server_without_a_connection_to_spare_answers_by_the_ones_there_are(world: World) -> None:
    name = world.url.partition("?")[0].rpartition("/")[2]

    async def use(client: Client) -> None:
        await client.entries(1)
        world.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        answers = await asyncio.gather(*(client.entries(1) for _ in range(50)))
        assert len(answers) == 50

    serve(world, use)


def test_what_is_not_an_answer_leaves_the_connections_of_answers_alone(impatient_world: World) -> None:
    pushed = {"event_id": "e", "account_id": 1, "event_time": AS_OF.isoformat(), "features": {"orders": 1}}
    table = "panthera.pushed_row"

    async def use(client: Client) -> None:
        body = {"view": "history", "rows": [pushed]}
        with locked(impatient_world.url, table), locked(impatient_world.url, "panthera.materialization"):
            waiting = [
                asyncio.create_task(request)
                for _ in range(20)
                for request in (client.http.post("/v1/features/push", json=body), client.http.get("/v1/status"))
            ]
            await asyncio.sleep(0.05)
            assert len(await client.entries(1)) == 1
            assert {response.status_code for response in await asyncio.gather(*waiting)} == {503}

    serve(impatient_world, use)


def test_an_answer_takes_two_round_trips(impatient_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gauges._SECONDS_BETWEEN_SAMPLES", 3_600)

    async def run() -> None:
        async with _served_through_proxy(impatient_world) as (client, proxy):
            for task in client.app.state.runtime._following:
                task.cancel()
            for _ in range(10):  # until every statement is prepared
                await client.entries(1, 2)
            before = proxy.round_trips
            for _ in range(10):
                await client.entries(1, 2)
            assert proxy.round_trips - before == 20

    asyncio.run(run())


@pytest.fixture
def small_disk(server_state: Path) -> Iterator[Path]:
    """A folder of the server's on a disk of 4 MB."""
    folder = server_state / "small_disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("only root mounts a disk")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, SERVER_USER)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_a_full_disk_is_told_by_the_readiness_until_there_is_room_again(
    impatient_world: World, small_disk: Path
) -> None:
    with psycopg.connect(impatient_world.url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small_disk LOCATION '{small_disk}'".encode())
    try:
        impatient_world.execute("ALTER TABLE panthera.prediction SET TABLESPACE small_disk")

        async def use(client: Client) -> None:
            assert await client.app.state.runtime.is_ready()
            _fill_up(small_disk / "filler")
            await asyncio.sleep(_NEW_VERDICT)
            assert not await client.app.state.runtime.is_ready()
            response = await client.http.get("/readyz")
            assert_is_problem(response, "unavailable")
            (small_disk / "filler").unlink()
            await asyncio.sleep(_NEW_VERDICT)
            assert await client.app.state.runtime.is_ready()
            assert len(await client.entries(1)) == 1

        serve(impatient_world, use)
    finally:
        impatient_world.execute("ALTER TABLE panthera.prediction SET TABLESPACE pg_default")
        with psycopg.connect(impatient_world.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND datname = current_database()"
            )
            connection.execute("CHECKPOINT")
            connection.execute("DROP TABLESPACE small_disk")


def _fill_up(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as opened:
        while opened.write(bytes(2**12)):
            pass
