"""Overload: what the service could not answer in time is refused at once, and what it took is answered."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from core.errors import PantheraError
from core.settings import read_settings
from serving.admission import Admission, seconds_to_answer
from serving.wire.refusals import TooMany
from tests.serving.conftest import Client, World, assert_is_problem, serve
from tests.serving.faults import locked, timed


def test_entities_in_flight_are_limited_and_one_large_request_is_always_taken() -> None:
    async def run() -> None:
        admission = Admission(most_entities=10)
        with admission.admitted(20, 1.0):
            for entities in (1, 20):
                with (
                    pytest.raises(TooMany, match="works on 20 entities, and on at most 10"),
                    admission.admitted(entities, 1),
                ):
                    pass
        with admission.admitted(6, 1.0), admission.admitted(4, 1.0), pytest.raises(TooMany), admission.admitted(1, 1.0):
            pass
        with admission.admitted(10, 1.0):
            pass

    asyncio.run(run())


def test_explanations_are_refused_before_predictions(world: World) -> None:
    async def use(client: Client) -> None:
        endpoints = client.app.state.endpoints
        explained = {"entity": {"account_id": 1}, "explain": True}
        with endpoints.admission.admitted(2_001, 5.0):
            response = await client.http.post("/v1/predict", json=explained)
            assert_is_problem(response, "too_many_requests")
            assert (response.status_code, len(await client.entries(1))) == (429, 1)
        with ExitStack() as in_flight:
            for _ in range(17):
                in_flight.enter_context(endpoints.admission.admitted(1, 5.0))
            assert (await client.http.post("/v1/predict", json=explained)).status_code == 429
            assert len(await client.entries(1)) == 1
        assert world.execute("SELECT count(*) FROM panthera.prediction") == [(2,)]

    serve(world, use)


def test_nothing_is_taken_while_the_oldest_of_many_has_used_half_of_its_time() -> None:
    async def run() -> None:
        admission = Admission()
        with ExitStack() as in_flight:
            for _ in range(32):
                in_flight.enter_context(admission.admitted(1, 0.04))
            await asyncio.sleep(0.03)
            with pytest.raises(TooMany, match="32 requests are ahead"), admission.admitted(1, 0.04):
                pass
        with admission.admitted(1, 0.04):
            pass

    asyncio.run(run())


def test_few_slow_requests_do_not_close_the_service() -> None:
    async def run() -> None:
        admission = Admission()
        with ExitStack() as in_flight:
            for _ in range(31):
                in_flight.enter_context(admission.admitted(1, 0.02))
            await asyncio.sleep(0.03)
            with admission.admitted(1, 0.02):
                pass

    asyncio.run(run())


def test_a_request_that_waits_for_the_database_ends_with_its_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.endpoints.seconds_to_answer", lambda *_: 0.3)

    async def use(client: Client) -> None:
        await client.entries(1)
        with locked(world.url, "online.history_1"):
            response, seconds = await timed(lambda: client.predict(1))
            assert_is_problem(response, "unavailable")
            assert "no answer within 0.3 s" in response.text
            assert seconds < 1.5  # the statement would wait for 2 s
        assert len(await client.entries(1)) == 1

    serve(world, use)


def test_the_deadline_is_half_a_second_unless_it_is_set_and_grows_with_the_entities() -> None:
    assert read_settings({}).deadline == 0.5
    assert read_settings({"PANTHERA_DEADLINE_MS": "1500"}).deadline == 1.5
    assert seconds_to_answer(0.5, 1000) == 1.5
    for text in ("0", "-1", "0.5", "60001", "soon", "9" * 5000):
        with pytest.raises(PantheraError, match="expected milliseconds from 1 to 60000"):
            read_settings({"PANTHERA_DEADLINE_MS": text})
