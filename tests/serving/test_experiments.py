"""Experiments that are started, ramped and stopped while the service answers, and canaries that are rolled back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from core.experiment.running import changes
from core.experiment.running.changes import Author
from core.experiment.running.terms import Canary, Limits, RunningArm, RunningTerms, Target
from core.postgres.database import connect
from tests.serving.conftest import HandMadeBundle, served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.contracts import Value
    from tests.serving.conftest import Client, World

_WHO = Author("somebody", "a test")
_TERMS = RunningTerms((RunningArm("control", "old"), RunningArm("treatment", "new")), "trial:1")
_ACCOUNTS = range(1, 41)
#: The time within which an arm that breaks a limit is rolled back, after enough calls to tell.
_STATED_SECONDS = 10.0


@pytest.fixture
def one_champion(bare_world: World) -> World:
    """A world with a champion (0.1 an order) and a release without a role (0.2 an order)."""
    bare_world.fill()
    bare_world.register("old", "champion", 0.1)
    bare_world.register("new", "challenger", 0.2)
    bare_world.execute(
        "INSERT INTO panthera.release_role (model, role, release_id, reason, cause, actor) "
        "VALUES ('world', 'challenger', NULL, 'test', 'retire', 'somebody')"
    )
    return bare_world


def _change(world: World, name: str, terms: RunningTerms | None = None, coverage: int = 10_000) -> None:
    """Plan and start an experiment with these terms, or else raise its coverage."""
    with connect(world.url) as connection:
        if terms is None:
            changes.ramp(connection, "world", name, _WHO, coverage=coverage)
        else:
            changes.plan_experiment(connection, "world", name, terms, _WHO)
            changes.start(connection, "world", name, coverage, _WHO)


async def _arms(client: Client, accounts: Sequence[int] = _ACCOUNTS) -> dict[int, tuple[str, str]]:
    """Return the arm and the release of each account."""
    found: dict[int, tuple[str, str]] = {}
    for first in range(0, len(accounts), 5):
        for entry in await client.entries(*accounts[first : first + 5], as_of=None):
            found[entry["account_id"]] = (entry["arm"], entry["release"])
    return found


def test_an_experiment_takes_its_units_keeps_them_and_gives_them_back(one_champion: World) -> None:
    async def run() -> None:
        async with served(one_champion) as client, served(one_champion) as other:
            assert {*(await _arms(client)).values()} == {("champion", "old")}
            _change(one_champion, "trial", _TERMS, coverage=3_000)
            await asyncio.gather(client.look(), other.look())
            before = await _arms(client)
            assert before == {
                account: {"control": ("control", "old"), "treatment": ("treatment", "new")}.get(
                    str(replace(_TERMS, coverage=3_000).arm_of(str(account))), ("champion", "old")
                )
                for account in _ACCOUNTS
            }
            assert len({*before.values()}) == 3
            _change(one_champion, "trial")
            await asyncio.gather(client.look(), other.look())
            after = await _arms(other)
            assert {*after.values()} == {("control", "old"), ("treatment", "new")}
            assert all(after[account] == arm for account, arm in before.items() if arm[0] != "champion")
            with connect(one_champion.url) as connection:
                heavier = (RunningArm("control", "old"), RunningArm("treatment", "new", 1_000))
                changes.ramp(connection, "world", "trial", _WHO, arms=heavier)
            await client.look()
            assert await _arms(client) == after, "an exposed unit keeps its arm in a new phase"
            with connect(one_champion.url) as connection:
                changes.stop(connection, "world", "trial", _WHO)
            await client.look()
            assert {*(await _arms(client)).values()} == {("champion", "old")}

    asyncio.run(run())
    rows = one_champion.execute(
        "SELECT arm, release_id, count(DISTINCT entity) FROM panthera.exposure WHERE experiment = 'trial' GROUP BY 1, 2"
    )
    assert {(arm, release) for arm, release, _ in rows} == {("control", "old"), ("treatment", "new")}
    assert sum(count for _, _, count in rows) == len(_ACCOUNTS)
    logged = one_champion.execute(
        "SELECT DISTINCT experiment, arm, release_id FROM panthera.prediction WHERE phase_id IS NOT NULL"
    )
    assert {*logged} == {
        ("first", "champion", "old"),
        ("trial", "control", "old"),
        ("trial", "treatment", "new"),
    }


def test_a_target_admits_only_units_that_meet_it(one_champion: World) -> None:
    _change(one_champion, "trial", replace(_TERMS, target=Target("history__orders", ">=", 3.0)))

    async def run() -> None:
        async with served(one_champion) as client:
            entries = {entry["account_id"]: entry["arm"] for entry in await client.entries(1, 2, 3, 4, 5, as_of=None)}
        assert {account for account, arm in entries.items() if arm != "champion"} == {3, 4}

    asyncio.run(run())


def test_a_target_on_an_attribute_admits_those_whose_request_says_so(one_champion: World) -> None:
    _change(one_champion, "trial", replace(_TERMS, target=Target("attributes.country", "=", "DE")))
    countries = {1: {"country": "DE"}, 2: {"country": "FR"}, 3: {}, 4: {"country": "DE", "age": 30}}
    body = {"entities": [{"account_id": account, "attributes": found} for account, found in countries.items()]}

    async def run() -> None:
        async with served(one_champion) as client:
            response = await client.http.post("/v1/predict", json=body)
            assert response.status_code == 200, response.text
            entries = {entry["account_id"]: entry["arm"] for entry in response.json()["predictions"]}
            assert {account for account, arm in entries.items() if arm != "champion"} == {1, 4}
            again = await client.entries(1, 2, as_of=None)
            assert [entry["arm"] for entry in again] == [entries[1], "champion"]

    asyncio.run(run())


def test_an_experiment_whose_release_cannot_be_loaded_does_not_run_and_the_champion_answers(
    one_champion: World,
) -> None:
    _change(one_champion, "trial", _TERMS)
    del one_champion.bundles["digest-new"]

    async def run() -> None:
        async with served(one_champion) as client:
            assert {*(await _arms(client, [1, 2, 3])).values()} == {("champion", "old")}
            assert "trial does not run" in str(client.app.state.runtime.fault)

    asyncio.run(run())


@dataclass(frozen=True)
class _Faulty(HandMadeBundle):
    """A bundle with a planted fault."""

    seconds: float = 0.0
    shift: float = 0.0
    fails: bool = False

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        if self.seconds:
            time.sleep(self.seconds)
        if self.fails:
            raise RuntimeError("planted")
        return [score + self.shift for score in super().score_conforming(vectors)]


def _broken(**fault: Any) -> Callable[[HandMadeBundle], HandMadeBundle]:
    return lambda bundle: _Faulty(bundle.contract, bundle.weight, **fault)


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (_broken(fails=True), "errors"),
        (_broken(seconds=0.06), "latency"),
        (_broken(shift=10.0), "scores"),
    ],
    ids=["errors", "latency", "scores"],
)
def test_a_canary_that_breaks_a_limit_is_rolled_back_by_the_service(
    one_champion: World, plant: Callable[[HandMadeBundle], HandMadeBundle], reason: str
) -> None:
    one_champion.bundles["digest-new"] = plant(one_champion.bundles["digest-new"])
    terms = replace(_TERMS, limits=Limits(shift=0.2), canary=Canary((100, 5_000), 3_600.0))
    _change(one_champion, "trial", terms)

    async def run() -> None:
        async with served(one_champion) as client:
            began = time.monotonic()
            for account in range(1, 100_000):
                await client.predict(account % 500 + 1, as_of=None)
                if not client.app.state.runtime.active.experiments:
                    break
                assert time.monotonic() < began + 6 * _STATED_SECONDS, "it was not rolled back"
            statuses = {(await client.predict(account, as_of=None)).status_code for account in range(1, 51)}
            assert statuses == {200}

    asyncio.run(run())
    ((action, actor, why),) = one_champion.execute("SELECT action, actor, reason FROM panthera.experiment_now")
    assert (action, actor) == ("rollback", "the service")
    assert why.startswith(f"arm treatment: {reason}")
