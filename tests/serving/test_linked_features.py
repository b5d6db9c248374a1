"""A release that takes features of a second entity, served: each account's plan is reached by its number of orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from core.contracts import ContractView, Link
from tests.serving.conftest import AS_OF, MATERIALIZED, Client, HandMadeBundle, World, contract_over, serve

if TYPE_CHECKING:
    from datetime import datetime

LINK = Link("history", "orders", "account_id", "plan_id", "int64")


def fill_plans(world: World, at: datetime = MATERIALIZED) -> None:
    """Bring three plans online: plan n has 10 n members."""
    world.execute(
        "CREATE TABLE online.plans_1 (plan_id int8 PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
        "created_timestamp timestamptz NOT NULL, members int8)"
    )
    world.execute("INSERT INTO online.plans_1 SELECT n, %s, %s, 10 * n FROM generate_series(1, 3) AS n", [at, at])
    world.execute("INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'plans', 'plans_1', %s, 3)", [at])


def register(world: World, role: str = "champion") -> None:
    """Register a release that takes the members of an account's plan, and nothing of the account itself."""
    contract = contract_over([("plans_1", "members", "int64")])
    views = (
        replace(contract.views[0], link=LINK),
        ContractView("history", "history_1", timedelta(days=10)),
    )
    world.bundles["digest-linked"] = HandMadeBundle(replace(contract, views=views), 0.01)
    world.enter("linked", role, "digest-linked")


def test_an_account_is_scored_by_what_is_known_of_its_plan(bare_world: World) -> None:
    bare_world.write_plan(arms="{champion: 1, challenger: 0}")
    bare_world.fill()
    fill_plans(bare_world)
    register(bare_world)

    async def use(client: Client) -> None:
        entries = await client.entries(3, 1, 4, 5, 99)
        # There is no plan 4, account 5 has no count of orders, and nobody is account 99: their score is the default.
        assert [entry["score"] for entry in entries] == [0.3, 0.1, 0.5, 0.5, 0.5]
        statuses = [(entry["features"]["history"]["status"], entry["features"]["plans"]["status"]) for entry in entries]
        fresh, missing = "FRESH", "MISSING"
        assert statuses == [(fresh, fresh), (fresh, fresh), (fresh, missing), (fresh, missing), (missing, missing)]

    serve(bare_world, use)
    logged = bare_world.execute("SELECT entity, features, statuses FROM panthera.prediction ORDER BY entity::int")
    assert [(features, statuses) for _, features, statuses in logged[:2]] == [
        ({"plans__members": 10, "history__orders": 1}, {"plans": "FRESH", "history": "FRESH"}),
        ({"plans__members": 30, "history__orders": 3}, {"plans": "FRESH", "history": "FRESH"}),
    ]
    assert logged[-2][1:] == (
        {"plans__members": None, "history__orders": None},
        {"plans": "MISSING", "history": "FRESH"},
    )


def test_through_a_stale_link_nothing_is_known_of_a_plan(bare_world: World) -> None:
    bare_world.write_plan(arms="{champion: 1, challenger: 0}", stale="refuse")
    bare_world.fill()
    fill_plans(bare_world, AS_OF + timedelta(days=9))
    register(bare_world)

    async def use(client: Client) -> None:
        response = await client.predict(2, as_of=AS_OF + timedelta(days=10))
        (entry,) = response.json()["predictions"]
        assert entry["error"]["code"] == "features_stale"
        assert {view: told["status"] for view, told in entry["features"].items()} == {
            "plans": "MISSING",
            "history": "STALE",
        }

    serve(bare_world, use)


def test_a_release_with_and_one_without_a_link_share_a_read(world: World) -> None:
    world.write_plan(arms="{champion: 1, challenger: 0}")
    fill_plans(world)
    register(world, "challenger")

    async def use(client: Client) -> None:
        (entry,) = await client.entries(2)
        assert (entry["release"], entry["score"], list(entry["features"])) == ("old", 0.2, ["history"])

    serve(world, use)
    ((features,),) = world.execute("SELECT features FROM panthera.prediction")
    assert features == {"plans__members": 20, "history__orders": 2}


def test_a_release_whose_link_is_not_online_yet_is_not_ready(bare_world: World) -> None:
    fill_plans(bare_world)
    register(bare_world)

    async def use(client: Client) -> None:
        response = await client.predict(1)
        assert response.status_code == 503
        assert "release linked reads the online table history_1, which is not filled yet" in response.text

    serve(bare_world, use)
