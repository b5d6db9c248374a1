"""Who may call what: every route with every kind of key, before and after the first key, with and without a database."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from core.access.api_key import SCOPES, generate_key
from core.access.key_table import Change, revoke_key
from core.postgres.database import connect
from serving.app import ROUTES
from serving.wire.scopes import ROUTE_SCOPES
from tests.serving.access.conftest import REQUESTS, STATUSES, bearer, make_key, status_of
from tests.serving.conftest import NOW, Client, World, assert_is_problem, serve

if TYPE_CHECKING:
    import pytest

OPEN = ("/livez", "/healthz", "/readyz")


def test_every_route_has_a_scope_or_is_one_of_the_three_that_need_none() -> None:
    assert set(ROUTE_SCOPES) == set(ROUTES)
    assert {path for path, scope in ROUTE_SCOPES.items() if scope is None} == set(OPEN)
    assert set(REQUESTS) == set(ROUTES) - set(OPEN)


def test_every_route_refuses_every_wrong_key_and_answers_the_right_one(world: World) -> None:
    junk = {"Authorization": "Bearer junk"}
    key = make_key(world, "admin")
    wrong_secret = key[:-1] + ("1" if key[-1] == "0" else "0")
    wrong = {
        "none": ({}, 401, "no_key"),
        "junk": (junk, 401, "malformed_key"),
        "unknown": (bearer(generate_key().text), 401, "unknown_key"),
        "wrong secret": (bearer(wrong_secret), 401, "unknown_key"),
        "revoked": (bearer(make_key(world, "admin", revoked=True)), 401, "revoked_key"),
        "another scheme": ({"Authorization": "Basic YW5uOmFubg=="}, 401, "no_key"),
    }
    right = {scope: bearer(make_key(world, scope)) for scope in SCOPES}

    async def use(client: Client) -> None:
        for route, (method, address, body) in REQUESTS.items():
            for kind, (headers, status, code) in wrong.items():
                response = await client.http.request(method, address, json=body, headers=headers)
                assert (response.status_code, route, kind) == (status, route, kind)
                assert_is_problem(response, code)
                assert response.headers["www-authenticate"].startswith('Bearer realm="panthera"')
            for scope, headers in right.items():
                allowed = scope in {ROUTE_SCOPES[route], "admin"}
                found = await status_of(client, route, headers)
                assert (found, route, scope) == (STATUSES[route] if allowed else 403, route, scope)
        for route in OPEN:
            for headers in ({}, junk):
                assert (await client.http.get(route, headers=headers)).status_code == 200
        assert await status_of(client, "/v1/predict", {"X-API-Key": right["predict"]["Authorization"][7:]}) == 200
        assert (await client.http.get("/nothing")).status_code == 404
        assert (await client.http.get("/v1/predict")).status_code == 401
        assert (await client.http.get("/v1/predict", headers=right["predict"])).status_code == 405
        assert (await client.http.head("/metrics")).status_code == 401

    serve(world, use)


def test_a_refusal_names_the_scope_that_is_missing_and_no_part_of_the_secret(world: World) -> None:
    key = make_key(world, "read")

    async def use(client: Client) -> None:
        response = await client.http.get("/v1/features?account_id=1", headers=bearer(key))
        assert_is_problem(response, "wrong_scope")
        assert response.headers["www-authenticate"].endswith('error="insufficient_scope", scope="features"')
        assert "expected features for /v1/features" in response.json()["detail"]
        assert key[-64:] not in response.text

    serve(world, use)


def test_an_expired_key_is_refused_on_every_route(world: World) -> None:
    key = make_key(world, "admin", lifetime=timedelta(seconds=1))

    async def use(client: Client) -> None:
        client.app.state.guard._clock = lambda: NOW + timedelta(days=36_500)
        for route in REQUESTS:
            method, address, body = REQUESTS[route]
            response = await client.http.request(method, address, json=body, headers=bearer(key))
            assert_is_problem(response, "expired_key")
            assert response.status_code == 401

    serve(world, use)


def test_two_different_keys_are_refused_and_one_sent_twice_is_one(world: World) -> None:
    first, second = make_key(world, "read"), make_key(world, "read")

    async def use(client: Client) -> None:
        both = await client.http.get("/v1/status", headers={**bearer(first), "X-API-Key": second})
        assert_is_problem(both, "several_keys")
        assert await status_of(client, "/v1/status", {**bearer(first), "X-API-Key": first}) == 200
        assert await status_of(client, "/v1/status", {"Authorization": f"bEARER  {first} "}) == 200
        proxied = {"Authorization": "Basic YW5uOmFubg==", "X-API-Key": first}
        assert await status_of(client, "/v1/status", proxied) == 200

    serve(world, use)


async def _from(peer: str | None, app: Any, route: str) -> httpx.Response:
    """Send the sound request for a route as a caller at another address."""
    method, address, body = REQUESTS[route]
    transport = httpx.ASGITransport(app, client=(peer, 1) if peer else None)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        return await http.request(method, address, json=body)


def test_without_any_key_callers_on_this_machine_need_none(world: World) -> None:
    async def use(client: Client) -> None:
        for peer in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
            assert {route: (await _from(peer, client.app, route)).status_code for route in REQUESTS} == STATUSES
        assert await status_of(client, "/v1/status", bearer("anything")) == 200

    serve(world, use)


def test_without_any_key_callers_elsewhere_are_refused_and_told_how_to_make_one(world: World) -> None:
    peers = ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7", "0.0.0.0", "localhost", None)  # noqa: S104

    async def use(client: Client) -> None:
        for peer, route in product(peers, REQUESTS):
            response = await _from(peer, client.app, route)
            assert_is_problem(response, "no_keys")
            assert response.status_code == 401
            assert "`panthera keys create" in response.json()["detail"]

    serve(world, use)


def test_new_and_revoked_keys_are_effective_within_5_seconds(world: World) -> None:
    async def use(client: Client) -> None:
        assert await status_of(client, "/v1/status") == 200
        key = await asyncio.to_thread(make_key, world, "read")
        await _await_status(client, 401, {})
        assert await status_of(client, "/v1/status", bearer(key)) == 200
        with connect(world.url) as connection:
            revoke_key(connection, key.split("_")[2], Change("ann", "leaked"))
        await _await_status(client, 401, bearer(key))
        # The last key is gone, and the service stays closed.
        assert await status_of(client, "/v1/status") == 401

    serve(world, use)


async def _await_status(client: Client, status: int, headers: dict[str, str]) -> None:
    async with asyncio.timeout(5):
        while await status_of(client, "/v1/status", headers) != status:  # noqa: ASYNC110 - that nobody is told is the point
            await asyncio.sleep(0.1)


def test_keys_that_did_not_change_are_not_read_again(world: World) -> None:
    make_key(world, "read")

    async def use(client: Client) -> None:
        keys, pool = client.app.state.runtime.keys, client.app.state.runtime.connections.keys
        before = keys._keys
        await keys.refresh(pool)
        assert keys._keys is before
        second = make_key(world, "read")
        await keys.refresh(pool)
        assert keys.find(second.split("_")[2])

    serve(world, use)


def test_without_a_database_cached_keys_work_and_nothing_opens(world: World) -> None:
    key = make_key(world, "read")

    async def use(client: Client) -> None:
        world.execute("ALTER TABLE panthera.api_key RENAME TO gone")
        keys, pool = client.app.state.runtime.keys, client.app.state.runtime.connections.keys
        await keys.refresh(pool)
        assert await status_of(client, "/v1/status") == 401
        assert await status_of(client, "/v1/status", bearer(key)) == 200
        world.execute("ALTER TABLE panthera.gone RENAME TO api_key")
        world.execute("ALTER TABLE panthera.api_key_change DISABLE TRIGGER append_only")
        world.execute("DELETE FROM panthera.api_key_change")
        await keys.refresh(pool)
        assert await status_of(client, "/v1/status", bearer(key)) == 401
        assert await status_of(client, "/v1/status") == 401

    serve(world, use)


def test_a_service_that_never_read_the_keys_answers_nobody(bare_world: World) -> None:
    bare_world.settings = replace(bare_world.settings, database_url="postgresql://127.0.0.1:1/nothing")

    async def use(client: Client) -> None:
        for route in REQUESTS:
            assert (route, await status_of(client, route)) == (route, 503)
            assert (route, await status_of(client, route, bearer(generate_key().text))) == (route, 503)
        assert (await client.http.get("/livez")).status_code == 200

    serve(bare_world, use)


def test_the_rate_of_a_key_is_limited_and_the_refusal_names_when_to_try_again(world: World) -> None:
    limited, free = make_key(world, "read", rate=0.5), make_key(world, "read")

    async def use(client: Client) -> None:
        assert await status_of(client, "/v1/status", bearer(limited)) == 200
        response = await client.http.get("/v1/status", headers=bearer(limited))
        assert_is_problem(response, "rate_exceeded")
        assert (response.status_code, response.headers["retry-after"]) == (429, "2")
        assert await status_of(client, "/v1/status", bearer(free)) == 200

    serve(world, use)


def test_no_key_stands_in_the_database_the_log_or_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    live, revoked = make_key(world, "predict"), make_key(world, "predict", revoked=True)
    answers: list[str] = []

    async def use(client: Client) -> None:
        for headers in (bearer(live), bearer(revoked), bearer(f"{live}x"), {"X-API-Key": f"{revoked[:-1]}!"}):
            for method, address, body in REQUESTS.values():
                response = await client.http.request(method, address, json=body, headers=headers)
                answers.append(f"{response.headers} {response.text}")

    serve(world, use)
    everything = "\n".join([*_rows(world), caplog.text, *answers])
    assert live.split("_")[2] in everything
    for key in (live, revoked):
        assert key[-64:-1] not in everything


def _rows(world: World) -> list[str]:
    """Fetch every row of every table of the platform as text."""
    tables = world.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('panthera', 'online')"
    )
    with psycopg.connect(world.url) as connection:
        return [
            row[0]
            for (table,) in tables
            for row in connection.execute(f"SELECT stored::text FROM {table} AS stored".encode())
        ]


def test_the_description_has_the_scope_of_each_route(world: World) -> None:
    async def use(client: Client) -> None:
        described = (await client.http.get("/openapi.json")).json()
        schemes = described["components"]["securitySchemes"]
        assert schemes["bearer"]["scheme"] == "bearer"
        assert (schemes["header"]["in"], schemes["header"]["name"]) == ("header", "X-API-Key")
        for path, operations in described["paths"].items():
            (operation,) = operations.values()
            scope = ROUTE_SCOPES[path]
            assert operation["security"] == ([{"bearer": [scope]}, {"header": [scope]}] if scope else [])

    serve(world, use)
