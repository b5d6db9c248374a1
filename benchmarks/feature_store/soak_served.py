"""Check the service's routes, over a real release, with expired features and with times that it must refuse."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.feature_store.held import holds
from benchmarks.small_release import PLAN, TEXT, enter
from core.postgres.database import connect
from core.settings import Settings
from feature_repo.online import history
from feature_repo.online.tables import create, merge_values
from feature_repo.views.definitions import declared_table
from models.releases import ledger
from serving.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from starlette.applications import Starlette

    from feature_repo.online.table import OnlineTable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TTL = 10 * DAY
_ORDERS = 5
_POLICIES = (
    ("answer_and_flag", "answer_and_flag"),
    ("answer_and_flag", "as_missing"),
    ("answer_and_flag", "refuse"),
    ("refuse", "answer_and_flag"),
)


def expired_values(url: str, folder: Path, requests: int) -> str:
    """Request accounts as of random instants under each policy; every response must report freshness and obey the policy."""
    settings = _settings(url, folder)
    table = _release(settings)
    events = _fill(url, table, 200)
    counted = Counter[str]()
    for missing, stale in _POLICIES:
        _write_plan(settings, missing, stale)
        counted += asyncio.run(_predict(settings, events, missing, stale, requests))
    holds({"FRESH", "STALE", "MISSING"} == set(counted), f"the requests met {dict(counted)} only")
    return f"{sum(counted.values()):,} values judged under {len(_POLICIES)} policies: none past its ttl was fresh, all counted"


async def _predict(
    settings: Settings, events: dict[int, datetime], missing: str, stale: str, requests: int
) -> Counter[str]:
    rng, seen, refused = random.Random(4), Counter[str](), Counter[str]()  # noqa: S311
    scores: dict[tuple[str, int], set[float]] = {}
    async with _served(settings) as (client, app):
        for _ in range(requests):
            accounts, as_of = rng.sample(range(2 * len(events)), 20), NOW - rng.random() * 25 * DAY
            body = {"entities": [{"account_id": account} for account in accounts], "as_of": as_of.isoformat()}
            response = await client.post("/v1/predict", json=body)
            entries = response.json()["predictions"]
            any_scored = any("error" not in entry for entry in entries)
            expected_code = httpx.codes.OK if any_scored else httpx.codes.UNPROCESSABLE_ENTITY
            holds(response.status_code == expected_code, f"found the status {response.status_code}: {response.text}")
            for account, entry in zip(accounts, entries, strict=True):
                status = _status(events.get(account), as_of)
                found = entry["features"]["history"]["status"]
                holds(found == status, f"account {account} as of {as_of} is {found}, expected {status}")
                seen[status] += 1
                rule = {"FRESH": "", "STALE": stale, "MISSING": missing}[status]
                code = entry.get("error", {}).get("code")
                expected = f"features_{status.lower()}" if rule == "refuse" else None
                holds(code == expected, f"{missing=} {stale=}: a {status} account was answered with {entry}")
                if code:
                    refused[code] += 1
                else:
                    without_value = status == "MISSING" or rule == "as_missing"
                    group = ("", 0) if without_value else ("orders", account % _ORDERS)
                    scores.setdefault(group, set()).add(entry["score"])
        holds(all(len(group) == 1 for group in scores.values()), f"{missing=} {stale=}: scores differ: {scores}")
        counters = _counters(app)
        holds(counters["panthera_feature_reads_total"] == seen, f"counted {counters}, expected {seen}")
        holds(counters["panthera_refused_entities_total"] == refused, f"counted {counters}, expected {refused}")
    return seen


def refused_times(url: str, folder: Path, requests: int) -> str:
    """Send times without a zone or in the future to every route with a time; each must be refused, and none stored."""
    settings = _settings(url, folder)
    table = _release(settings)
    _write_plan(settings, "answer_and_flag", "answer_and_flag")
    _fill(url, table, 0)
    asyncio.run(_send(settings, requests))
    with connect(url) as connection:
        stored = connection.execute(f"SELECT event_timestamp FROM online.{table.name}".encode()).fetchall()
        outcomes = connection.execute("SELECT count(*) FROM panthera.outcome").fetchone()
    holds(stored == [(NOW + timedelta(minutes=4),)], f"refused rows were stored: {stored}")
    holds(outcomes == (0,), f"{outcomes} refused outcomes were stored")
    return f"{requests} times without a zone or in the future: each refused with 422 by four routes, none stored"


async def _send(settings: Settings, requests: int) -> None:
    rng = random.Random(5)  # noqa: S311
    async with _served(settings) as (client, _):

        async def statuses_of(time: str) -> list[int]:
            row = {"event_id": "e", "account_id": 1, "event_time": time, "features": {"orders": 1}}
            outcome = {"outcome_id": "o", "account_id": 1, "observed_at": time, "value": 1}
            responses = (
                await client.post("/v1/features/push", json={"view": "history", "rows": [row]}),
                await client.post("/v1/predict", json={"entities": [{"account_id": 1}], "as_of": time}),
                await client.get("/v1/features", params={"account_id": "1", "as_of": time}),
                await client.post("/v1/outcomes", json={"outcomes": [outcome]}),
            )
            return [response.status_code for response in responses]

        for _ in range(requests):
            naive = (NOW - rng.random() * 100 * DAY).replace(tzinfo=None).isoformat()
            future = (NOW + timedelta(minutes=5, seconds=1) + rng.random() * 100 * DAY).isoformat()
            for time in (naive, future):
                statuses = await statuses_of(time)
                holds(
                    statuses == [httpx.codes.UNPROCESSABLE_ENTITY] * 4, f"the time {time} was answered with {statuses}"
                )
        near = {"event_id": "near", "account_id": 1, "features": {"orders": 1}}
        near["event_time"] = (NOW + timedelta(minutes=4)).isoformat()
        response = await client.post("/v1/features/push", json={"view": "history", "rows": [near]})
        holds(response.status_code == httpx.codes.OK, f"a clock that is minutes ahead was refused: {response.text}")


def _status(event: datetime | None, as_of: datetime) -> str:
    if event is None or event > as_of:
        return "MISSING"
    return "FRESH" if as_of - event <= TTL else "STALE"


def _settings(url: str, folder: Path) -> Settings:
    folder.mkdir()
    return Settings(plan=folder / "params.yaml", state=folder / "state", database_url=url, mlflow_url=None)


def _write_plan(settings: Settings, missing: str, stale: str) -> None:
    text = TEXT.replace("missing: answer_and_flag", f"missing: {missing}")
    settings.plan.write_text(text.replace("stale: answer_and_flag", f"stale: {stale}"), encoding="utf-8")


def _release(settings: Settings) -> OnlineTable:
    """Register a release whose score depends on the number of orders, and make it champion; return the table it reads."""
    table = declared_table(PLAN, "history")
    release = enter(settings, "orders", table=table.name)
    with connect(settings.database_url or "") as connection:
        ledger.appoint(connection, release.model, "champion", release.release_id, ledger.Act("promote", "soak", "soak"))
    return table


def _fill(url: str, table: OnlineTable, accounts: int) -> dict[int, datetime]:
    """Write rows of accounts online that are up to 25 days old; return the event time of each."""
    rng = random.Random(6)  # noqa: S311
    events = {account: NOW - rng.random() * 25 * DAY for account in range(accounts)}
    with connect(url) as connection:
        history.drop(connection, [table.name])
        create(connection, table)
        merge_values(connection, table, [(key, event, event, key % _ORDERS) for key, event in events.items()])
        history.record_run(connection, "history", table, NOW, accounts)
    return events


@asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, Starlette]]:
    app = create_app(lambda: settings, lambda: NOW)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client, app


def _counters(app: Starlette) -> dict[str, Counter[str]]:
    """Return the service's own counters, by the last label of each series."""
    counters: dict[str, Counter[str]] = {
        name: Counter() for name in ("panthera_feature_reads_total", "panthera_refused_entities_total")
    }
    app.state.meters.flush()
    for family in app.state.meters.registry.collect():
        for sample in family.samples:
            if sample.name in counters:
                labels: Sequence[Any] = list(sample.labels.values())
                counters[sample.name][labels[-1]] += int(sample.value)
    return counters
