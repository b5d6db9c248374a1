"""Pushed rows: taken in once, never back in time, and refused whole where one of them is wrong."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from core.plan.file import read_plan
from core.plan.plan import View
from core.postgres.database import connect
from feature_repo.online.push import PushReceipt
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create
from feature_repo.views.definitions import declared_table
from serving.wire.decode import decode_push
from serving.wire.push_lines import push_lines
from serving.wire.refusals import Refusal
from tests.serving.conftest import NOW, Client, World, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

PUSH = "/v1/features/push"


def pushed(event_id: str, account: int, day: int, orders: int | None) -> dict[str, Any]:
    time = datetime(2026, 5, day, tzinfo=UTC).isoformat()
    return {"event_id": event_id, "account_id": account, "event_time": time, "features": {"orders": orders}}


@pytest.fixture
def table(world: World) -> str:
    """Make the table of the plan's view, and name it."""
    declared = declared_table(read_plan(world.settings.plan), "history")
    with connect(world.url) as connection:
        create(connection, declared)
    return f"online.{declared.name}"


def online(world: World, table: str) -> list[tuple[Any, ...]]:
    return world.execute(f"SELECT account_id, event_timestamp, orders FROM {table} ORDER BY 1")


def test_a_pushed_row_is_stored_once_and_a_contradiction_refused(world: World, table: str) -> None:
    rows = [pushed("e1", 1, 3, 7), pushed("e2", 2, 3, None), pushed("e2", 2, 3, None)]
    stored = [(1, datetime(2026, 5, 3, tzinfo=UTC), 7), (2, datetime(2026, 5, 3, tzinfo=UTC), None)]

    async def use(client: Client) -> None:
        for receipt in ({"stored": 2, "duplicates": 1}, {"stored": 0, "duplicates": 3}):
            response = await client.http.post(PUSH, json={"view": "history", "rows": rows})
            assert (response.status_code, response.json()) == (200, receipt)
        other = [pushed("e3", 3, 3, 1), pushed("e1", 1, 3, 8)]
        response = await client.http.post(PUSH, json={"view": "history", "rows": other})
        assert response.status_code == 409
        assert response.json()["error"]["event_ids"] == ["e1"]

    serve(world, use)
    assert online(world, table) == stored


def test_one_id_for_two_rows_of_a_request_is_refused(world: World, table: str) -> None:
    async def use(client: Client) -> None:
        rows = [pushed("e1", 1, 3, 7), pushed("e1", 1, 3, 8)]
        response = await client.http.post(PUSH, json={"view": "history", "rows": rows})
        assert response.status_code == 409

    serve(world, use)
    assert online(world, table) == []


def test_an_older_event_is_taken_in_and_changes_nothing(world: World, table: str) -> None:
    async def use(client: Client) -> None:
        for row in (pushed("new", 1, 9, 9), pushed("old", 1, 8, 8)):
            response = await client.http.post(PUSH, json={"view": "history", "rows": [row]})
            assert response.json() == {"stored": 1, "duplicates": 0}

    serve(world, use)
    assert online(world, table) == [(1, datetime(2026, 5, 9, tzinfo=UTC), 9)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_time": "2026-05-03T00:00:00"}, "no time zone"),
        ({"event_time": (NOW + timedelta(minutes=6)).isoformat()}, "in the future"),
        ({"features": {}}, "no 'orders'"),
        ({"features": {"orders": 1, "other": 2}}, "unknown field"),
        ({"features": {"orders": 1.5}}, "integer of 64 bits"),
        ({"features": {"orders": 2**63}}, "integer of 64 bits"),
        ({"account_id": "1"}, "rows[1].account_id"),
        ({"event_id": ""}, "rows[1].event_id"),
    ],
)
def test_a_malformed_row_is_refused_with_the_whole_request(
    world: World, table: str, change: dict[str, Any], reason: str
) -> None:
    async def use(client: Client) -> None:
        rows = [pushed("e1", 1, 3, 7), {**pushed("e2", 2, 3, 1), **change}]
        response = await client.http.post(PUSH, json={"view": "history", "rows": rows})
        assert response.status_code == 422
        assert reason in response.json()["error"]["message"]

    serve(world, use)
    assert online(world, table) == []


def test_clocks_may_differ_by_minutes(world: World, table: str) -> None:
    row = {**pushed("e1", 1, 3, 7), "event_time": (NOW + timedelta(minutes=4)).isoformat()}

    async def use(client: Client) -> None:
        assert (await client.http.post(PUSH, json={"view": "history", "rows": [row]})).status_code == 200

    serve(world, use)
    assert online(world, table) == [(1, NOW + timedelta(minutes=4), 7)]


def test_an_unknown_view_and_a_missing_table_are_told_apart(world: World) -> None:
    async def use(client: Client) -> None:
        unknown = await client.http.post(PUSH, json={"view": "histories", "rows": [pushed("e1", 1, 3, 7)]})
        assert unknown.status_code == 422
        assert "'history'" in unknown.json()["error"]["message"]
        missing = await client.http.post(PUSH, json={"view": "history", "rows": [pushed("e1", 1, 3, 7)]})
        assert missing.status_code == 503
        assert "panthera repair" in missing.json()["error"]["message"]

    serve(world, use)


KINDS = View.model_validate(
    {
        "source": "events",
        "ttl": "1d",
        "every": "1 day",
        "features": {
            kind: {"sql": "1", "dtype": kind, "unit": "-"}
            for kind in ("int32", "int64", "float32", "float64", "string", "bool", "timestamp", "text")
        },
    }
)


def _decoded(**features: object) -> Sequence[object]:
    table = OnlineTable(
        "kinds", (("who", "string"),), tuple((name, spec.dtype) for name, spec in KINDS.features.items())
    )
    given = {**dict.fromkeys(KINDS.features), **features}
    row = {"event_id": "e", "who": "w", "event_time": "2026-01-01T00:00:00Z", "features": given}
    _, rows = decode_push(json.dumps({"view": "kinds", "rows": [row]}).encode(), {"kinds": table}, NOW)
    return rows[0].values


def test_every_dtype_is_read_as_what_it_is() -> None:
    values = {"int32": -(2**31), "int64": 2**62, "float32": 1, "float64": 0.1, "string": "", "bool": False, "text": "é"}
    read = _decoded(**values, timestamp="2030-01-01T02:00:00+02:00")
    assert list(read) == [-(2**31), 2**62, 1.0, 0.1, "", False, datetime(2030, 1, 1, tzinfo=UTC), "é"]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int32", 2**31),
        ("int64", True),
        ("float32", 1e39),
        ("float64", "0.1"),
        ("float64", 10**400),
        ("string", 1),
        ("text", "a\0"),
        ("bool", 0),
        ("timestamp", "2030-01-01"),
        ("timestamp", 0),
    ],
)
def test_a_value_of_another_dtype_is_refused(dtype: str, value: object) -> None:
    with pytest.raises(Refusal, match=f"features.{dtype}"):
        _decoded(**{dtype: value})


def test_lines_of_a_file_are_pushed_in_batches_and_again_without_harm(world: World, table: str) -> None:
    lines = [json.dumps(pushed(f"e{number}", number, 3, number)).encode() for number in range(1, 1203)]
    declared = declared_table(read_plan(world.settings.plan), "history")

    async def twice() -> list[PushReceipt]:
        return [await push_lines(world.url, [declared], [*lines, b"\n"], lambda: NOW) for _ in range(2)]

    assert asyncio.run(twice()) == [PushReceipt(1202, 0), PushReceipt(0, 1202)]
    assert len(online(world, table)) == 1202
    with pytest.raises(Refusal, match="no 'event_id' in line 2"):
        asyncio.run(push_lines(world.url, [declared], [lines[0], b"{}"], lambda: NOW))
