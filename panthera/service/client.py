"""A client of the prediction service over HTTP; a refused request raises one PantheraError."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from core.access.api_key import FORM, parse_key
from core.errors import PantheraError
from core.experiment.prediction_log import OutcomeReceipt
from core.settings import API_KEY_ENV

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from core.contracts import Key

Item = TypeVar("Item")
_THREADS = 4
_SECONDS_TO_ANSWER = 60
_NOT_ALLOWED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
#: Shorter than the 5 seconds after which the service closes an idle connection, so that no such connection is reused.
_SECONDS_IDLE = 2


@dataclass(frozen=True)
class SentOutcome:
    """An observed outcome of an entity, with an id chosen by the sender."""

    outcome_id: str
    entity: Key
    observed_at: datetime
    value: float


class ServiceClient:
    """Requests predictions and sends outcomes, `batch_size` per request.

    `key` is the name of the entity key. `api_key` is sent with every request, if there is one.

    Raises
    ------
    PantheraError
        If `api_key` is not an API key, or the service refuses a request; the message has the route, the status and the
        response.

    """

    def __init__(self, address: str, key: str, batch_size: int, api_key: str | None = None) -> None:
        limits, headers = httpx.Limits(keepalive_expiry=_SECONDS_IDLE), _key_header(api_key)
        self._http = httpx.Client(base_url=address, timeout=_SECONDS_TO_ANSWER, limits=limits, headers=headers)
        self._key, self._batch_size = key, batch_size

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, entities: Sequence[Key], as_of: datetime) -> Iterator[dict[str, Any]]:
        """Request predictions for `entities` in several threads; yield them in the order of `entities`."""

        def request(chunk: Sequence[Key]) -> list[dict[str, Any]]:
            body = {"entities": [{self._key: entity} for entity in chunk], "as_of": as_of.isoformat()}
            predictions: list[dict[str, Any]] = self._post("/v1/predict", body)["predictions"]
            return predictions

        with ThreadPoolExecutor(_THREADS) as threads:
            for predictions in threads.map(request, _chunks(entities, self._batch_size)):
                yield from predictions

    def send_outcomes(self, outcomes: Sequence[SentOutcome]) -> OutcomeReceipt:
        """Send outcomes; return the numbers of stored and of duplicate ones."""
        stored = duplicates = 0
        for chunk in _chunks(outcomes, self._batch_size):
            receipt = self._post("/v1/outcomes", {"outcomes": [self._as_json(outcome) for outcome in chunk]})
            stored, duplicates = stored + receipt["stored"], duplicates + receipt["duplicates"]
        return OutcomeReceipt(stored, duplicates)

    def _as_json(self, outcome: SentOutcome) -> dict[str, Any]:
        return {
            "outcome_id": outcome.outcome_id,
            self._key: outcome.entity,
            "observed_at": outcome.observed_at.isoformat(),
            "value": outcome.value,
        }

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._http.post(route, json=body)
        if not response.is_success:
            remedy = f"; set {API_KEY_ENV} to a key that may" if response.status_code in _NOT_ALLOWED else ""
            raise PantheraError(
                f"POST {route} failed with status {response.status_code}: {response.text[:300]}{remedy}"
            )
        content: dict[str, Any] = response.json()
        return content


def _key_header(api_key: str | None) -> dict[str, str]:
    """Return the header with the key; a malformed one is refused here, since httpx would quote it in its error."""
    if api_key is None:
        return {}
    if parse_key(api_key) is None:
        raise PantheraError(f"{API_KEY_ENV} is not an API key; expected {FORM}, as `panthera keys create` prints it")
    return {"Authorization": f"Bearer {api_key}"}


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
