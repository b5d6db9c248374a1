"""A served world small enough to work out by hand: two releases over one or two views of five accounts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from benchmarks.small_release import TEXT
from core.contracts import Contract, ContractFeature, ContractView
from models.bundles.bundle import load_bundle
from models.bundles.conformance import Conformance
from serving.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from starlette.applications import Starlette

    from core.contracts import Value
    from core.settings import Settings
    from models.bundles.bundle import Bundle
    from models.bundles.signing import TrustedKeys

MATERIALIZED = datetime(2026, 3, 1, tzinfo=UTC)
#: A day on which everything is fresh, and the clock of the service.
AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)

_PLAN = TEXT.replace("{model: churn}", "{model: world}").replace("below: wait}\n", "below: wait}\n  max_entities: 5\n")


@dataclass(frozen=True)
class HandMadeBundle:
    """A bundle whose score is its release's weight times the orders, or its default where they are missing."""

    contract: Contract
    weight: float

    def fault(self, vector: Sequence[Value]) -> str | None:
        return Conformance(self.contract).fault(vector)

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        return [0.5 if vector[0] is None else self.weight * float(vector[0]) for vector in vectors]  # type: ignore[arg-type]


@dataclass
class World:
    """The database, the plan and the bundles of a test."""

    settings: Settings
    bundles: dict[str, HandMadeBundle] = field(default_factory=dict)

    @property
    def url(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url

    def write_plan(self, **serve: str) -> None:
        """Write the plan, with other values in its section `serve`."""
        text = _PLAN
        for key, value in serve.items():
            before = next(line for line in text.splitlines() if line.startswith(f"  {key}: "))
            text = text.replace(before, f"  {key}: {value}")
        self.settings.plan.write_text(text)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, options="-c timezone=UTC") as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def fill(self, table: str = "history_1", column: str = "orders", at: datetime = MATERIALIZED) -> None:
        """Bring five accounts online: account n has n orders, and account 5 has none that anybody counted."""
        self.execute(
            f"CREATE TABLE online.{table} (account_id int8 PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
            f"created_timestamp timestamptz NOT NULL, {column} int8)"
        )
        self.execute(
            f"INSERT INTO online.{table} SELECT n, %s, %s, nullif(n, 5) FROM generate_series(1, 5) AS n", [at, at]
        )
        self.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), %s, %s, %s, 5)",
            [table.rpartition("_")[0], table, at],
        )

    def register(self, release_id: str, role: str, weight: float, *columns: tuple[str, str]) -> None:
        """Register a release over (online table, feature) pairs and give it a role."""
        features = columns or (("history_1", "orders"),)
        contract = contract_over([(table, name, "int64") for table, name in features])
        self.bundles[f"digest-{release_id}"] = HandMadeBundle(contract, weight)
        self.enter(release_id, role, f"digest-{release_id}")

    def enter(self, release_id: str, role: str, digest: str) -> None:
        """Enter a release into the ledger and give it a role."""
        self.execute(
            """INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest,
               feature_service, data_revision, code_revision, registry_version, metrics)
               VALUES (%s, 1, 'world', 'hand_made', %s, 'all', 'd', 'c', '1', %s)""",
            [release_id, digest, Jsonb({})],
        )
        self.give_role(release_id, role)

    def give_role(self, release_id: str, role: str) -> None:
        self.execute(
            "INSERT INTO panthera.release_role (model, role, release_id, reason, cause, actor) "
            "VALUES ('world', %s, %s, 'test', 'promote', 'somebody')",
            [role, release_id],
        )

    def load(self, folder: Path, trusted: TrustedKeys) -> HandMadeBundle | Bundle:
        """Load a bundle that was made by hand, or else a real one from its folder."""
        return self.bundles.get(folder.name) or load_bundle(folder, trusted)


def contract_over(features: Sequence[tuple[str, str, str]]) -> Contract:
    """Write the contract of a model over (online table, feature, dtype)."""
    tables = dict.fromkeys(table for table, _, _ in features)
    return Contract(
        format_version=2,
        project="world",
        problem="binary",
        candidate="hand_made",
        estimator="majority",
        feature_service="all",
        entity_key="account_id",
        entity_dtype="int64",
        views=tuple(ContractView(table.rpartition("_")[0], table, timedelta(days=10)) for table in tables),
        features=tuple(ContractFeature(table.rpartition("_")[0], name, dtype) for table, name, dtype in features),
        threshold=0.3,
        horizon=timedelta(days=30),
        data_revision="d",
        code_revision="c",
    )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that fit a busy machine."""
    monkeypatch.setattr("serving.connections._SECONDS", 2.0)
    monkeypatch.setattr("serving.app._SECONDS_TO_ANSWER", 30.0)
    monkeypatch.setattr("serving.endpoints.seconds_to_answer", lambda *_: 30.0)


@pytest.fixture
def bare_world(settings: Settings, patient: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with a plan and a migrated database, and nothing else."""
    world = World(settings)
    world.write_plan()
    monkeypatch.setattr("serving.releases.load_bundle", world.load)
    return world


@pytest.fixture
def world(bare_world: World) -> World:
    """A world with a champion (0.1 an order) and a challenger (0.2 an order)."""
    bare_world.fill()
    bare_world.register("old", "champion", 0.1)
    bare_world.register("new", "challenger", 0.2)
    return bare_world


@dataclass
class Client:
    """Speaks to the service as a client does."""

    http: httpx.AsyncClient
    app: Starlette

    async def predict(self, *accounts: int, as_of: datetime | None = AS_OF) -> httpx.Response:
        body: dict[str, Any] = {"entities": [{"account_id": account} for account in accounts]}
        if as_of:
            body["as_of"] = as_of.isoformat()
        return await self.http.post("/v1/predict", json=body)

    async def entries(self, *accounts: int, as_of: datetime | None = AS_OF) -> list[dict[str, Any]]:
        response = await self.predict(*accounts, as_of=as_of)
        assert response.status_code == 200, response.text
        return list(response.json()["predictions"])

    async def look(self) -> None:
        """Let the service look at the ledger now, and not only at the next of its looks."""
        await self.app.state.runtime.look()


def assert_is_problem(response: httpx.Response, code: str) -> None:
    """Check the one shape of errors: RFC 9457, with what clients of the first version read as an extension member."""
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert (content["type"], content["status"]) == (f"urn:problem-type:pantherapredict:{code}", response.status_code)
    assert content["title"]
    assert (content["error"]["code"], content["error"]["message"]) == (code, content["detail"])
    assert ("retry-after" in response.headers) == (response.status_code in {429, 503})


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Client]:
    """Start the service on `world`, and stop it at the end."""
    app = create_app(lambda: world.settings, lambda: NOW)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield Client(http, app)


def serve(world: World, use: Callable[[Client], Awaitable[None]]) -> None:
    """Start the service on `world`, let `use` speak to it, and stop it."""

    async def run() -> None:
        async with served(world) as client:
            await use(client)

    asyncio.run(run())
