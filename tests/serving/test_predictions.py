"""POST /v1/predict, from the bytes to the rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from core.experiment.assignment import arm_of, bucket
from core.experiment.phases import expose_replays
from tests.serving.conftest import AS_OF, MATERIALIZED, NOW, Client, World, serve

if TYPE_CHECKING:
    from typing import Any

_ARMS = {"champion": 1, "challenger": 1}


def _arm(account: int) -> str:
    return arm_of(bucket("pepper", str(account)), _ARMS)


def test_an_answer_says_everything_about_itself(world: World) -> None:
    async def use(client: Client) -> None:
        response = await client.predict(4)
        assert response.status_code == 200
        content = response.json()
        (entry,) = content["predictions"]
        weight, release = {"champion": (0.1, "old"), "challenger": (0.2, "new")}[_arm(4)]
        assert content["as_of"] == "2026-03-02T00:00:00Z"
        assert len(entry.pop("prediction_id")) == 36
        assert entry == {
            "account_id": 4,
            "release": release,
            "arm": _arm(4),
            "score": weight * 4,
            "decision": "call",
            "features": {"history": {"status": "FRESH", "event_time": "2026-03-01T00:00:00Z"}},
        }

    serve(world, use)


def test_the_decision_turns_at_the_threshold(world: World) -> None:
    world.write_plan(arms="{champion: 1, challenger: 0}")

    async def use(client: Client) -> None:
        decisions = [entry["decision"] for entry in await client.entries(1, 2, 3, 4)]
        # 3 * 0.1 is 0.30000000000000004, so it is at or above 0.3.
        assert decisions == ["wait", "wait", "call", "call"]

    serve(world, use)


def test_each_entity_is_answered_in_its_place_even_twice(world: World) -> None:
    async def use(client: Client) -> None:
        entries = await client.entries(3, 1, 3)
        assert [entry["account_id"] for entry in entries] == [3, 1, 3]
        assert len({entry["prediction_id"] for entry in entries}) == 3
        assert entries[0]["score"] == entries[2]["score"]

    serve(world, use)


def test_what_was_answered_is_in_the_log(world: World) -> None:
    async def use(client: Client) -> None:
        for entry in await client.entries(1, 2, 99):
            (row,) = world.execute(
                "SELECT entity, as_of, release_id, experiment, arm, score, decision, features, event_times, statuses "
                "FROM panthera.prediction WHERE prediction_id = %s",
                [entry["prediction_id"]],
            )
            account, known = entry["account_id"], entry["account_id"] != 99
            assert row == (
                str(account),
                AS_OF,
                entry["release"],
                "first",
                entry["arm"],
                entry["score"],
                entry["decision"],
                {"history__orders": account if known else None},
                {"history": MATERIALIZED.isoformat() if known else None},
                {"history": "FRESH" if known else "MISSING"},
            )

    serve(world, use)


def test_an_entity_with_a_value_that_the_model_was_not_made_for_is_refused_and_the_others_answered(
    world: World,
) -> None:
    for name, made in world.bundles.items():
        narrow = tuple(replace(feature, dtype="int32") for feature in made.contract.features)
        world.bundles[name] = replace(made, contract=replace(made.contract, features=narrow))
    world.execute("UPDATE online.history_1 SET orders = 2147483648 WHERE account_id = 2")

    async def use(client: Client) -> None:
        one, two, three = await client.entries(1, 2, 3)
        assert "score" in one
        assert "score" in three
        assert two["error"] == {
            "code": "features_unfit",
            "message": "history.orders is 2147483648, expected int32",
        }
        assert (await client.predict(2)).status_code == 422

    serve(world, use)


def test_the_first_meeting_of_an_entity_and_its_arm_is_logged_once(world: World) -> None:
    async def use(client: Client) -> None:
        (first,) = await client.entries(1, as_of=None)
        await client.entries(1, 1, as_of=NOW + timedelta(minutes=1))
        assert world.execute(
            "SELECT entity, arm, bucket, release_id, prediction_id::text, exposed_at FROM panthera.exposure"
        ) == [("1", _arm(1), bucket("pepper", "1"), first["release"], first["prediction_id"], NOW)]

    serve(world, use)


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_an_exposure_is_dated_by_the_clock_whatever_instant_a_caller_names(world: World, minutes: int) -> None:
    async def use(client: Client) -> None:
        response = await client.predict(1, as_of=NOW + timedelta(minutes=minutes))
        assert response.json()["replay"] is False
        assert world.execute("SELECT exposed_at FROM panthera.exposure") == [(NOW,)]
        assert world.execute("SELECT replay FROM panthera.prediction") == [(False,)]

    serve(world, use)


@pytest.mark.parametrize("as_of", [NOW - timedelta(minutes=5, microseconds=1), AS_OF, datetime(1, 1, 1, tzinfo=UTC)])
def test_a_replay_of_the_past_is_marked_and_exposes_nobody(world: World, as_of: datetime) -> None:
    async def use(client: Client) -> None:
        response = await client.predict(1, as_of=as_of)
        assert response.json()["replay"] is True
        assert world.execute("SELECT as_of, replay, arm FROM panthera.prediction") == [(as_of, True, _arm(1))]
        assert world.execute("SELECT count(*) FROM panthera.exposure") == [(0,)]
        await client.entries(1, as_of=None)
        assert world.execute("SELECT exposed_at FROM panthera.exposure") == [(NOW,)]

    serve(world, use)


def test_replays_that_somebody_counts_are_exposures_of_their_instants(world: World) -> None:
    """Account 1 was exposed before and keeps that; of the two replays of account 2 the earlier one counts."""

    async def use(client: Client) -> None:
        await client.entries(1, as_of=None)
        for day in (2, 1):
            await client.entries(1, 2, as_of=AS_OF + timedelta(days=day))
        with psycopg.connect(world.url) as connection:
            counted = [expose_replays(connection, "first", AS_OF, NOW, actor="ann", reason="history") for _ in range(2)]
        assert counted == [1, 0]
        assert world.execute(
            "SELECT entity, arm, bucket, exposed_at, import_id FROM panthera.exposure ORDER BY entity"
        ) == [
            ("1", _arm(1), bucket("pepper", "1"), NOW, None),
            ("2", _arm(2), bucket("pepper", "2"), AS_OF + timedelta(days=1), 1),
        ]
        assert world.execute("SELECT actor, reason FROM panthera.exposure_import") == [("ann", "history")] * 2

    serve(world, use)


def test_weights_that_were_changed_begin_a_phase_and_equal_ones_do_not(world: World) -> None:
    async def meet(client: Client) -> None:
        await client.entries(1, 2, 3, as_of=None)

    async def meet_others(client: Client) -> None:
        await client.entries(3, 4, 5, as_of=None)

    serve(world, meet)
    world.write_plan(arms="{champion: 9, challenger: 1}")
    serve(world, meet_others)
    world.write_plan(arms="{champion: 90, challenger: 10}")
    serve(world, meet)
    assert world.execute(
        "SELECT champion_weight, challenger_weight, champion, challenger FROM panthera.experiment_phase ORDER BY phase_id"
    ) == [(1, 1, "old", "new"), (9, 1, "old", "new")]
    assert world.execute("SELECT entity, phase_id FROM panthera.exposure ORDER BY entity") == [
        ("1", 1),
        ("2", 1),
        ("3", 1),
        ("4", 2),
        ("5", 2),
    ]


def test_an_exposed_entity_keeps_its_arm_when_the_weights_change(world: World) -> None:
    accounts = [1, 2, 3, 4, 5]

    async def meet(client: Client) -> None:
        assert {entry["arm"] for entry in await client.entries(*accounts, as_of=None)} == {"champion", "challenger"}

    async def meet_again(client: Client) -> None:
        again = {entry["account_id"]: entry["arm"] for entry in await client.entries(*accounts, as_of=None)}
        assert again == {account: _arm(account) for account in accounts}
        assert [entry["arm"] for entry in await client.entries(6, 7, 8, 9, as_of=None)] == ["champion"] * 4

    serve(world, meet)
    world.write_plan(arms="{champion: 1, challenger: 0}")
    serve(world, meet_again)


def test_without_a_challenger_everybody_meets_the_champion(bare_world: World) -> None:
    bare_world.fill()
    bare_world.register("old", "champion", 0.1)

    async def use(client: Client) -> None:
        entries = await client.entries(1, 2, 3, 4, 5)
        assert {(entry["arm"], entry["release"]) for entry in entries} == {("champion", "old")}

    serve(bare_world, use)


@pytest.mark.parametrize(
    ("as_of", "status"),
    [
        (MATERIALIZED - timedelta(microseconds=1), "MISSING"),
        (MATERIALIZED, "FRESH"),
        (MATERIALIZED + timedelta(days=10), "FRESH"),
        (MATERIALIZED + timedelta(days=10, microseconds=1), "STALE"),
    ],
)
def test_a_value_is_used_by_how_old_it_is_as_of_the_request(world: World, as_of: datetime, status: str) -> None:
    async def use(client: Client) -> None:
        (entry,) = await client.entries(4, as_of=as_of)
        assert entry["features"]["history"]["status"] == status
        assert (entry["score"] == 0.5) == (status == "MISSING")

    serve(world, use)


def test_without_an_instant_it_is_the_present_one(world: World) -> None:
    async def use(client: Client) -> None:
        response = await client.predict(4, as_of=None)
        assert response.json()["as_of"] == NOW.isoformat().replace("+00:00", "Z")
        assert response.json()["predictions"][0]["features"]["history"]["status"] == "STALE"

    serve(world, use)


def test_a_stale_value_is_missing_where_the_plan_says_so(world: World) -> None:
    world.write_plan(stale="as_missing")

    async def use(client: Client) -> None:
        (entry,) = await client.entries(4, as_of=MATERIALIZED + timedelta(days=20))
        assert entry["features"]["history"]["status"] == "STALE"
        assert entry["score"] == 0.5
        assert world.execute("SELECT features FROM panthera.prediction") == [({"history__orders": None},)]

    serve(world, use)


def test_an_entity_that_the_policy_refuses_does_not_take_the_others_with_it(world: World) -> None:
    world.write_plan(missing="refuse")

    async def use(client: Client) -> None:
        known, unknown = await client.entries(1, 99, as_of=None)
        assert known["score"] in {0.1, 0.2}
        assert unknown["error"]["code"] == "features_missing"
        assert "history" in unknown["error"]["message"]
        assert unknown["features"] == {"history": {"status": "MISSING", "event_time": None}}
        assert "prediction_id" not in unknown
        assert world.execute("SELECT entity FROM panthera.exposure") == [("1",)]

    serve(world, use)


@pytest.mark.parametrize(("rule", "account", "days"), [("missing", 99, 1), ("stale", 1, 20)])
def test_a_request_of_which_everything_is_refused_is_a_422_that_says_why(
    world: World, rule: str, account: int, days: int
) -> None:
    world.write_plan(**{rule: "refuse"})

    async def use(client: Client) -> None:
        response = await client.predict(account, as_of=MATERIALIZED + timedelta(days=days))
        assert response.status_code == 422
        assert response.json()["error"]["code"] == f"features_{rule}"
        assert [entry["account_id"] for entry in response.json()["predictions"]] == [account]
        assert world.execute("SELECT count(*) FROM panthera.prediction") == [(0,)]

    serve(world, use)


def test_many_requests_at_once_are_each_answered_as_if_alone(world: World) -> None:
    async def use(client: Client) -> None:
        instants = [AS_OF, MATERIALIZED - timedelta(days=1), None]
        asked = [(account, instants[number % 3]) for number, account in enumerate([1, 2, 3, 4, 5, 99] * 20)]
        together = await asyncio.gather(*(client.entries(account, as_of=as_of) for account, as_of in asked))
        for (account, as_of), (entry,) in zip(asked, together, strict=True):
            (alone,) = await client.entries(account, as_of=as_of)
            assert _without_id(entry) == _without_id(alone)
        assert world.execute("SELECT count(*), count(DISTINCT prediction_id) FROM panthera.prediction") == [(240, 240)]
        # Those that were asked of the present: the third of every three accounts.
        assert world.execute("SELECT entity FROM panthera.exposure ORDER BY entity") == [("3",), ("99",)]

    serve(world, use)


def _without_id(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "prediction_id"}


def test_the_log_remembers_what_every_active_release_needs(world: World) -> None:
    world.fill("recent_1", "visits")
    world.register("wide", "challenger", 0.2, ("history_1", "orders"), ("recent_1", "visits"))
    world.write_plan(arms="{champion: 1, challenger: 0}")

    async def use(client: Client) -> None:
        (entry,) = await client.entries(3)
        assert entry["release"] == "old"
        assert list(entry["features"]) == ["history"]
        assert world.execute("SELECT features, statuses FROM panthera.prediction") == [
            ({"history__orders": 3, "recent__visits": 3}, {"history": "FRESH", "recent": "FRESH"})
        ]

    serve(world, use)


def test_two_releases_may_read_two_definitions_of_one_view(world: World) -> None:
    world.fill("history_2", "orders")
    world.execute("UPDATE online.history_2 SET orders = orders * 100")
    world.register("redefined", "challenger", 0.2, ("history_2", "orders"))

    async def use(client: Client) -> None:
        entries = await client.entries(1, 2, 3, 4)
        assert {entry["arm"] for entry in entries} == {"champion", "challenger"}
        for entry in entries:
            orders = entry["account_id"] * (1 if entry["arm"] == "champion" else 100)
            assert entry["score"] == pytest.approx(orders * (0.1 if entry["arm"] == "champion" else 0.2))
            (logged,) = world.execute(
                "SELECT features FROM panthera.prediction WHERE prediction_id = %s", [entry["prediction_id"]]
            )
            assert logged == ({"history__orders": orders},)

    serve(world, use)


def test_the_service_counts_what_it_answers(world: World) -> None:
    async def use(client: Client) -> None:
        await client.entries(1, 99)
        await client.http.post("/v1/predict", content=b"{}")
        meters = client.app.state.meters
        meters.flush()
        registry = meters.registry

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, labels)  # type: ignore[no-any-return]

        assert value("panthera_requests_total", route="/v1/predict", status="200") == 1
        assert value("panthera_requests_total", route="/v1/predict", status="415") == 1
        assert value("panthera_request_seconds_count", route="/v1/predict") == 2
        assert value("panthera_feature_reads_total", view="history", status="MISSING") == 1
        answers = [
            value("panthera_answers_total", arm=arm, release=release) or 0
            for arm, release in (("champion", "old"), ("challenger", "new"))
        ]
        assert sum(answers) == 2

    serve(world, use)


def test_an_instant_with_another_zone_is_the_same_instant(world: World) -> None:
    async def use(client: Client) -> None:
        body = {"entity": {"account_id": 1}, "as_of": "2026-03-02T05:30:00+05:30"}
        response = await client.http.post("/v1/predict", json=body)
        assert response.json()["as_of"] == "2026-03-02T00:00:00Z"
        assert world.execute("SELECT as_of FROM panthera.prediction") == [(datetime(2026, 3, 2, tzinfo=UTC),)]

    serve(world, use)
