"""Answers as Arrow: the rows of the JSON answer, in its order, and errors as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from starlette.requests import Request

from serving.arrow_answers import is_asked_for
from serving.wire.openapi import ARROW
from tests.serving.conftest import AS_OF, Client, assert_is_problem, serve

if TYPE_CHECKING:
    from tests.serving.conftest import World


def _table(body: bytes) -> pa.Table:
    return pa.ipc.open_stream(body).read_all()


async def _ask(client: Client, *accounts: int, accept: str = ARROW) -> Any:
    body = {"entities": [{"account_id": account} for account in accounts], "as_of": AS_OF.isoformat()}
    return await client.http.post("/v1/predict", json=body, headers={"accept": accept})


def test_a_row_has_what_the_json_answer_has_and_is_logged(world: World) -> None:
    async def use(client: Client) -> None:
        entries = await client.entries(1, 2, 3)
        response = await _ask(client, 1, 2, 3)
        assert (response.status_code, response.headers["content-type"]) == (200, ARROW)
        table = _table(response.content)
        assert table.schema.field("account_id").type == pa.int64()
        assert table.schema.field("as_of").type == pa.timestamp("us", "UTC")
        assert table.schema.metadata == {b"replay": b"true"}
        for row, entry in zip(table.to_pylist(), entries, strict=True):
            assert {name: row[name] for name in ("account_id", "release", "arm", "score", "decision")} == {
                name: entry[name] for name in ("account_id", "release", "arm", "score", "decision")
            }
            assert (row["as_of"], row["error"], row["message"]) == (AS_OF, None, None)
            for view, read in entry["features"].items():
                assert row[f"{view}__status"] == read["status"]
                assert row[f"{view}__event_time"].isoformat().replace("+00:00", "Z") == read["event_time"]
            ((score,),) = world.execute(
                "SELECT score FROM panthera.prediction WHERE prediction_id = %s", [row["prediction_id"]]
            )
            assert score == row["score"]

    serve(world, use)


def test_a_refused_entity_is_a_row_without_a_score_and_all_refused_are_a_problem(world: World) -> None:
    world.write_plan(missing="refuse")

    async def use(client: Client) -> None:
        rows = _table((await _ask(client, 99, 1)).content).to_pylist()
        assert [(row["account_id"], row["error"], row["score"] is None) for row in rows] == [
            (99, "features_missing", True),
            (1, None, False),
        ]
        assert rows[0]["message"].startswith("the features of history")
        response = await _ask(client, 99)
        assert response.status_code == 422
        assert_is_problem(response, "features_missing")

    serve(world, use)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (ARROW, True),
        (f"{ARROW.upper()}; q=0.9", True),
        (f"{ARROW}, application/json", True),
        (f"application/json, {ARROW}", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_arrow_is_sent_to_those_that_name_it_first(accept: str, expected: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept", accept.encode())]})
    assert is_asked_for(request) is expected
