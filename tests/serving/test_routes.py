"""The other routes, and how every route refuses what it cannot take."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.experiment.phases import expose_replays
from tests.serving.conftest import AS_OF, MATERIALIZED, NOW, Client, World, assert_is_problem, serve, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

_OUTCOME = {"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}


def test_features_are_shown_with_their_time_and_status(world: World) -> None:
    async def use(client: Client) -> None:
        query: dict[str, Any] = {"account_id": [2, 99], "as_of": (MATERIALIZED + timedelta(days=20)).isoformat()}
        response = await client.http.get("/v1/features", params=query)
        assert response.status_code == 200
        stale = {"status": "STALE", "event_time": "2026-03-01T00:00:00Z", "values": {"orders": 2}}
        missing = {"status": "MISSING", "event_time": None, "values": {"orders": None}}
        assert response.json() == {
            "as_of": "2026-03-21T00:00:00Z",
            "entities": [
                {"account_id": 2, "features": {"history": stale}},
                {"account_id": 99, "features": {"history": missing}},
            ],
        }

    serve(world, use)


def test_outcomes_are_stored_once_and_contradictions_refused(world: World) -> None:
    async def use(client: Client) -> None:
        for receipt in ({"stored": 1, "duplicates": 0}, {"stored": 0, "duplicates": 1}):
            response = await client.http.post("/v1/outcomes", json={"outcomes": [_OUTCOME]})
            assert (response.status_code, response.json()) == (200, receipt)
        other = [{**_OUTCOME, "value": 0}, {**_OUTCOME, "outcome_id": "o2"}]
        response = await client.http.post("/v1/outcomes", json={"outcomes": other})
        assert response.status_code == 409
        assert response.json()["error"]["code"] == "conflict"
        assert response.json()["error"]["outcome_ids"] == ["o1"]
        assert world.execute("SELECT outcome_id, entity, value FROM panthera.outcome") == [("o1", "1", 1.0)]

    serve(world, use)


def test_cohorts_count_what_was_served_and_what_came_of_it(world: World) -> None:
    import_module("scipy.stats")  # seconds, which the service spends before it takes requests
    terms = "decide: {better: lower}, experiment: {minimum_effect: 0.1}"
    plan = world.settings.plan.read_text()
    assert "monitor: {" in plan
    world.settings.plan.write_text(plan.replace("monitor: {", f"monitor: {{{terms}, "))

    async def use(client: Client) -> None:
        entries = await client.entries(1, 2, 3, 4, 5)
        with psycopg.connect(world.url) as connection:
            assert (
                expose_replays(connection, "first", AS_OF - timedelta(days=1), NOW, actor="ann", reason="history") == 5
            )
        await client.http.post("/v1/outcomes", json={"outcomes": [_OUTCOME]})
        response = await client.http.get("/v1/cohorts", params={"as_of": (AS_OF + timedelta(days=30)).isoformat()})
        assert response.status_code == 200
        arms = response.json()["arms"]
        for arm in ("champion", "challenger"):
            assert arms[arm]["mature"] == sum(entry["arm"] == arm for entry in entries)
        assert sum(arms[arm]["with_outcome"] for arm in arms) == 1
        assert response.json()["decision"]["decision"] == "withheld"
        assert response.json()["decision"]["reason"] == response.json()["withheld_because"]
        before = await client.http.get("/v1/cohorts", params={"as_of": (AS_OF + timedelta(days=29)).isoformat()})
        assert [arm["mature"] for arm in before.json()["arms"].values()] == [0, 0]

    serve(world, use)


def test_the_status_says_what_answers_from_what(world: World) -> None:
    async def use(client: Client) -> None:
        await client.entries(1, 2, as_of=None)
        content = (await client.http.get("/v1/status")).json()
        assert content["releases"]["champion"]["release"] == "old"
        assert content["releases"]["challenger"]["release"] == "new"
        assert content["experiment"] == {"name": "first", "arms": {"champion": 1, "challenger": 1}}
        (view,) = content["views"]
        assert (view["view"], view["online_table"], view["as_of"]) == ("history", "history_1", "2026-03-01T00:00:00Z")
        assert view["rows"] == 5
        assert content["counts"] == {"predictions": 2, "exposures": 2, "outcomes": 0}
        # The plan of this world defines the view otherwise than the table that its releases read.
        assert content["problem"].startswith("no run fills online.history_1")

    serve(world, use)


def test_a_long_log_is_estimated_and_the_status_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.experiment.log_counts.MOST_COUNTED", 1)

    async def use(client: Client) -> None:
        await client.entries(1, 2, as_of=None)
        content = (await client.http.get("/v1/status")).json()
        assert content["estimated"] == ["predictions", "exposures"]
        assert content["counts"]["predictions"] >= 2
        assert content["counts"]["outcomes"] == 0

    serve(world, use)


_JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status", "code"),
    [
        ("POST", "/v1/predict", {}, b"{}", 415, "unsupported_media_type"),
        (
            "POST",
            "/v1/predict",
            {"content-type": "application/vnd.bentoml+pickle"},
            b"\x80\x04N.",
            415,
            "unsupported_media_type",
        ),
        (
            "POST",
            "/v1/outcomes",
            {"content-type": "multipart/form-data; boundary=x"},
            b"",
            415,
            "unsupported_media_type",
        ),
        ("POST", "/v1/predict", _JSON, b"", 400, "not_json"),
        ("POST", "/v1/predict", _JSON, b"[" * 900_000, 400, "not_json"),
        ("POST", "/v1/predict", _JSON, b" " * (2**20 + 1), 413, "too_large"),
        ("POST", "/v1/outcomes", _JSON, b" " * (2**20 + 1), 413, "too_large"),
        ("POST", "/v1/predict", _JSON, json.dumps({"entities": [{"account_id": 1}] * 6}).encode(), 422, "invalid"),
        ("POST", "/v1/predict?as_of=2026-01-01T00:00:00Z", _JSON, b'{"entity":{"account_id":1}}', 422, "invalid"),
        ("GET", "/v1/features", {}, b"", 422, "invalid"),
        ("GET", "/v1/features?account_id=x", {}, b"", 422, "invalid"),
        ("GET", "/v1/features?account_id=1&as_of=2027-01-01T00:00:00Z", {}, b"", 422, "invalid"),
        ("GET", "/v1/cohorts?as_of=now", {}, b"", 422, "invalid"),
        ("GET", "/v1/cohorts?arm=champion", {}, b"", 422, "invalid"),
        ("GET", "/v1/status?x=1", {}, b"", 422, "invalid"),
        ("GET", "/v1/predict", {}, b"", 405, "unknown_method"),
        ("DELETE", "/v1/outcomes", {}, b"", 405, "unknown_method"),
        ("GET", "/v2/predict", {}, b"", 404, "unknown_path"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_shape(
    world: World, method: str, path: str, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    async def use(client: Client) -> None:
        response = await client.http.request(method, path, headers=headers, content=content)
        assert response.status_code == status, response.text
        assert_is_problem(response, code)

    serve(world, use)


def test_a_body_that_does_not_say_its_length_is_cut_off_as_well(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 2**16

    async def use(client: Client) -> None:
        response = await client.http.post("/v1/predict", headers=_JSON, content=endless())
        assert response.status_code == 413

    serve(world, use)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([1, "2026-03-02T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["entity", "entities", "as_of", "account_id", "outcomes"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
_ENTITIES = st.fixed_dictionaries(
    {
        "entities": st.lists(
            st.fixed_dictionaries({"account_id": st.integers(-(2**63), 2**63 - 1)}), min_size=1, max_size=5
        )
    },
    optional={"as_of": st.datetimes().map(lambda instant: instant.isoformat() + "Z")},
)
_OUTCOMES = st.fixed_dictionaries(
    {
        "outcomes": st.lists(
            st.fixed_dictionaries(
                {
                    "outcome_id": st.text(max_size=8),
                    "account_id": st.integers(-(2**63), 2**63 - 1),
                    "observed_at": st.datetimes().map(lambda instant: instant.isoformat() + "Z"),
                    "value": st.floats() | st.integers(),
                }
            ),
            max_size=3,
        )
    }
)
_BODIES = st.binary() | (_VALUES | _ENTITIES | _OUTCOMES).map(lambda value: json.dumps(value).encode())


@dataclass(frozen=True)
class Driver:
    """Speaks to a service that outlives the call, as Hypothesis needs it."""

    runner: asyncio.Runner
    client: Client

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        return self.runner.run(self.client.http.request(method, path, **content))


@pytest.fixture
def driver(world: World) -> Iterator[Driver]:
    with asyncio.Runner() as runner:
        running = served(world)
        yield Driver(runner, runner.run(running.__aenter__()))
        runner.run(running.__aexit__(None, None, None))


_FUZZED = hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_FUZZED
@given(path=st.sampled_from(["/v1/predict", "/v1/outcomes"]), body=_BODIES)
def test_no_body_makes_the_service_fail(driver: Driver, path: str, body: bytes) -> None:
    response = driver.request("POST", path, headers=_JSON, content=body)
    assert response.status_code < 500, response.text
    kind = "problem+json" if response.is_error else "json"
    assert response.headers["content-type"] == f"application/{kind}"
    assert ("error" in response.json()) == (response.status_code >= 400)


@_FUZZED
@given(
    path=st.sampled_from(["/v1/features", "/v1/cohorts", "/v1/status"]),
    query=st.lists(st.tuples(st.sampled_from(["account_id", "as_of", "x"]) | st.text(), st.text() | st.just("1"))),
)
def test_no_query_makes_the_service_fail(driver: Driver, path: str, query: list[tuple[str, str]]) -> None:
    encoded = urlencode(query, errors="replace")
    response = driver.request("GET", f"{path}?{encoded}")
    assert response.status_code < 500, response.text
    assert ("error" in response.json()) == (response.status_code >= 400)
