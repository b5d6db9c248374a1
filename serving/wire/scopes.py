"""The scope that a key must have for each route, and the headers in which a key is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.access.api_key import KeyScope

#: By path; None marks the routes that need no key.
ROUTE_SCOPES: Mapping[str, KeyScope | None] = {
    "/v1/predict": "predict",
    "/v1/features": "features",
    "/v1/features/push": "push",
    "/v1/outcomes": "outcomes",
    "/v1/cohorts": "read",
    "/v1/status": "read",
    "/livez": None,
    "/healthz": None,
    "/readyz": None,
    "/metrics": "read",
    "/openapi.json": "read",
    "/docs.json": "read",
}
#: Beside `Authorization: Bearer KEY`.
KEY_HEADER = "X-API-Key"
