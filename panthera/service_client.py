"""The service as its callers see it: requests over HTTP, refused ones as one clear error."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from core.errors import PantheraError
from core.experiment.prediction_log import OutcomeReceipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from core.contracts import Key

Item = TypeVar("Item")
_CALLERS = 4
_SECONDS_TO_ANSWER = 60
#: The service closes a connection that was idle for 5 seconds, as its caller may be: one about to be closed is not used again.
_SECONDS_IDLE = 2


@dataclass(frozen=True)
class Told:
    """What became of an entity, as its sender tells it."""

    outcome_id: str
    entity: Key
    observed_at: datetime
    value: float


class ServiceClient:
    """Asks for predictions and tells outcomes, `most` at a time, of entities whose key is named `key`.

    Raises
    ------
    PantheraError
        If the service refuses a request: the route, the status and what it said.

    """

    def __init__(self, address: str, key: str, most: int) -> None:
        limits = httpx.Limits(keepalive_expiry=_SECONDS_IDLE)
        self._http = httpx.Client(base_url=address, timeout=_SECONDS_TO_ANSWER, limits=limits)
        self._key, self._most = key, most

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, entities: Sequence[Key], as_of: datetime) -> Iterator[dict[str, Any]]:
        """Ask about `entities` from several callers at once; yield the answers in their order, as they come."""

        def ask(chunk: Sequence[Key]) -> list[dict[str, Any]]:
            body = {"entities": [{self._key: entity} for entity in chunk], "as_of": as_of.isoformat()}
            answers: list[dict[str, Any]] = self._post("/v1/predict", body)["predictions"]
            return answers

        with ThreadPoolExecutor(_CALLERS) as callers:
            for answers in callers.map(ask, _chunks(entities, self._most)):
                yield from answers

    def tell(self, outcomes: Sequence[Told]) -> OutcomeReceipt:
        """Tell outcomes; return how many were stored and how many were known already."""
        stored = duplicates = 0
        for chunk in _chunks(outcomes, self._most):
            receipt = self._post("/v1/outcomes", {"outcomes": [self._written(told) for told in chunk]})
            stored, duplicates = stored + receipt["stored"], duplicates + receipt["duplicates"]
        return OutcomeReceipt(stored, duplicates)

    def _written(self, told: Told) -> dict[str, Any]:
        return {
            "outcome_id": told.outcome_id,
            self._key: told.entity,
            "observed_at": told.observed_at.isoformat(),
            "value": told.value,
        }

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(route, json=body)
        if not answer.is_success:
            raise PantheraError(f"POST {route} was answered with {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
