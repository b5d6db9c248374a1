"""Keys for the tests of access, and requests that reach every route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.access.key_table import Change, KeyTerms, create_key, revoke_key
from core.postgres.database import connect

if TYPE_CHECKING:
    from datetime import timedelta

    from tests.serving.conftest import Client, World

#: A sound request for each route that needs a key: method, address and body.
REQUESTS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "/v1/predict": ("POST", "/v1/predict", {"entity": {"account_id": 1}}),
    "/v1/features": ("GET", "/v1/features?account_id=1", None),
    "/v1/features/push": ("POST", "/v1/features/push", {"view": "history", "rows": []}),
    "/v1/outcomes": (
        "POST",
        "/v1/outcomes",
        {"outcomes": [{"outcome_id": "o1", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1}]},
    ),
    "/v1/cohorts": ("GET", "/v1/cohorts?as_of=never", None),
    "/v1/status": ("GET", "/v1/status", None),
    "/metrics": ("GET", "/metrics", None),
    "/openapi.json": ("GET", "/openapi.json", None),
    "/docs.json": ("GET", "/docs.json", None),
}
#: The statuses of these requests with the right key; an empty push and an unreadable time are malformed.
STATUSES = {**dict.fromkeys(REQUESTS, 200), "/v1/features/push": 422, "/v1/cohorts": 422}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make_key(
    world: World, *scopes: str, lifetime: timedelta | None = None, rate: float | None = None, revoked: bool = False
) -> str:
    """Create a key in the world's database, and return its text."""
    change = Change("ann", "a test")
    with connect(world.url) as connection:
        key = create_key(connection, KeyTerms(scopes, "shop", lifetime, rate), change)
        if revoked:
            revoke_key(connection, key.key_id, change)
    return key.text


async def status_of(client: Client, route: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of the sound request for a route."""
    method, address, body = REQUESTS[route]
    response = await client.http.request(method, address, json=body, headers=headers)
    return response.status_code
