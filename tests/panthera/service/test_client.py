"""The client of the service, before a server that keeps what it was sent and answers as the service does."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from core.access.api_key import generate_key
from core.errors import PantheraError
from core.experiment.prediction_log import OutcomeReceipt
from panthera.service.client import SentOutcome, ServiceClient

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SENT_BEFORE = "sent before"


class _Handler(BaseHTTPRequestHandler):
    """Scores an account by its number; refuses accounts 13 and 14."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.sent.append((self.path, body))
        self.server.authorizations.add(self.headers["authorization"])
        status, answer = (200, self._outcomes(body)) if self.path == "/v1/outcomes" else self._predictions(body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass

    def _outcomes(self, body: dict[str, Any]) -> dict[str, int]:
        known = sum(outcome["outcome_id"] == SENT_BEFORE for outcome in body["outcomes"])
        return {"stored": len(body["outcomes"]) - known, "duplicates": known}

    def _predictions(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        accounts = [entity["account_id"] for entity in body["entities"]]
        if 14 in accounts:
            return 403, {"error": "not with this key"}
        if 13 in accounts:
            return 422, {"error": "no luck"}
        return 200, {"predictions": [{"account_id": account, "score": account / 100} for account in accounts]}


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.authorizations: set[str | None] = set()


@contextmanager
def _asked(most: int) -> Iterator[tuple[ServiceClient, list[tuple[str, dict[str, Any]]]]]:
    with _Server() as server:
        listening = Thread(target=server.serve_forever, daemon=True)
        listening.start()
        with closing(ServiceClient(f"http://127.0.0.1:{server.server_port}", "account_id", most)) as client:
            yield client, server.sent
        server.shutdown()
        listening.join()


def test_answers_come_in_the_order_of_the_entities_however_many_requests_they_take() -> None:
    with _asked(most=2) as (client, sent):
        answers = list(client.predict([5, 3, 9, 1, 7], DAY))
    assert [answer["account_id"] for answer in answers] == [5, 3, 9, 1, 7]
    assert [path for path, _ in sent] == ["/v1/predict"] * 3
    assert sorted(len(body["entities"]) for _, body in sent) == [1, 2, 2]
    assert {body["as_of"] for _, body in sent} == {"2026-03-01T00:00:00+00:00"}


def test_receipts_of_several_requests_are_summed() -> None:
    outcomes = [SentOutcome("a", 1, DAY, 1), SentOutcome("b", 2, DAY, 0), SentOutcome(SENT_BEFORE, 3, DAY, 1)]
    with _asked(most=2) as (client, sent):
        assert client.send_outcomes(outcomes) == OutcomeReceipt(stored=2, duplicates=1)
    assert [outcome for _, body in sent for outcome in body["outcomes"]] == [
        {"outcome_id": "a", "account_id": 1, "observed_at": "2026-03-01T00:00:00+00:00", "value": 1},
        {"outcome_id": "b", "account_id": 2, "observed_at": "2026-03-01T00:00:00+00:00", "value": 0},
        {"outcome_id": SENT_BEFORE, "account_id": 3, "observed_at": "2026-03-01T00:00:00+00:00", "value": 1},
    ]


def test_without_entities_or_outcomes_no_request_is_sent() -> None:
    with _asked(most=2) as (client, sent):
        assert list(client.predict([], DAY)) == []
        assert client.send_outcomes([]) == OutcomeReceipt(stored=0, duplicates=0)
    assert sent == []


def test_a_refused_request_is_one_error_that_says_where_and_why() -> None:
    with (
        _asked(most=2) as (client, _),
        pytest.raises(PantheraError, match=r'POST /v1/predict failed with status 422: \{"error": "no luck"\}'),
    ):
        list(client.predict([1, 2, 13], DAY))


def test_a_refused_key_is_an_error_that_names_the_variable_for_another_one() -> None:
    with (
        _asked(most=2) as (client, _),
        pytest.raises(PantheraError, match=r"status 403: .*; set PANTHERA_API_KEY to a key that may"),
    ):
        list(client.predict([14], DAY))


def test_a_key_is_sent_with_every_request_and_none_without_one() -> None:
    key = generate_key().text
    for api_key, authorization in ((None, None), (key, f"Bearer {key}")):
        with _Server() as server:
            listening = Thread(target=server.serve_forever, daemon=True)
            listening.start()
            address = f"http://127.0.0.1:{server.server_port}"
            with closing(ServiceClient(address, "account_id", 2, api_key)) as client:
                list(client.predict([1, 2, 3], DAY))
                client.send_outcomes([SentOutcome("a", 1, DAY, 1)])
            server.shutdown()
            listening.join()
        assert server.authorizations == {authorization}


@pytest.mark.parametrize("api_key", ["hunter2", "pp_live_0123456789ab_hunter2\n", "h\u00fcnter2"])
def test_what_is_no_key_is_refused_before_it_is_sent_and_not_quoted(api_key: str) -> None:
    with pytest.raises(PantheraError, match=r"PANTHERA_API_KEY is not an API key; expected pp_") as refused:
        ServiceClient("http://127.0.0.1:1", "account_id", 2, api_key)
    assert "nter2" not in str(refused.value)
