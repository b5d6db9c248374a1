"""The service as its callers see it: requests over HTTP, refused ones as one clear error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

Item = TypeVar("Item")
_CALLERS = 4
_SECONDS_TO_ANSWER = 60
#: The service closes a connection that was idle for 5 seconds, as a day may last: one about to be closed is not used again.
_SECONDS_IDLE = 2


@dataclass(frozen=True)
class Told:
    """What a customer's outcome is, as the business tells it."""

    outcome_id: str
    customer: int
    observed_at: datetime
    value: int


def batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut `items` into runs of at most `size` (as itertools does from Python 3.12 on)."""
    return (items[start : start + size] for start in range(0, len(items), size))


class Client:
    """Asks for predictions and tells outcomes, `most` at a time."""

    def __init__(self, address: str, key: str, most: int) -> None:
        limits = httpx.Limits(keepalive_expiry=_SECONDS_IDLE)
        self._http = httpx.Client(base_url=address, timeout=_SECONDS_TO_ANSWER, limits=limits)
        self._key, self._most = key, most

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, customers: Sequence[int], as_of: datetime) -> list[dict[str, Any]]:
        """Ask about `customers` from several callers at once; return the answers in their order."""

        def ask(chunk: Sequence[int]) -> list[dict[str, Any]]:
            entities = [{self._key: customer} for customer in chunk]
            body = {"entities": entities, "as_of": as_of.isoformat()}
            found: list[dict[str, Any]] = self._post("/v1/predict", body)["predictions"]
            return found

        with ThreadPoolExecutor(_CALLERS) as callers:
            return [answer for answers in callers.map(ask, batched(customers, self._most)) for answer in answers]

    def tell(self, outcomes: Sequence[Told]) -> tuple[int, int]:
        """Tell outcomes; return how many were stored and how many were known already."""
        stored = duplicates = 0
        for chunk in batched(outcomes, self._most):
            receipt = self._post("/v1/outcomes", {"outcomes": [self._written(told) for told in chunk]})
            stored, duplicates = stored + receipt["stored"], duplicates + receipt["duplicates"]
        return stored, duplicates

    def _written(self, told: Told) -> dict[str, Any]:
        return {
            "outcome_id": told.outcome_id,
            self._key: told.customer,
            "observed_at": told.observed_at.isoformat(),
            "value": told.value,
        }

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(route, json=body)
        if not answer.is_success:
            raise PantheraError(f"POST {route} was answered with {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found
