"""What the service tells about its requests: metrics, log lines, trace context and spans."""

from __future__ import annotations

import io
import json
import logging
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import PantheraError
from core.settings import read_settings
from serving.signals.log_lines import JsonFormatter
from serving.signals.spans import SpanExporter, traces_url
from serving.signals.trace import CURRENT, trace_of
from tests.serving.conftest import Client, World, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRACE, _SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_PARENT = f"00-{_TRACE}-{_SPAN}-01"


async def _samples(client: Client) -> dict[tuple[str, tuple[str, ...]], float]:
    text = (await client.http.get("/metrics")).text
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_tell_stages_scores_ages_releases_pools_and_queues(world: World) -> None:
    async def use(client: Client) -> None:
        await client.entries(1, 2, 99)
        await client.app.state.gauges.sample()
        found = await _samples(client)
        for stage in ("authenticate", "decode", "features", "predict", "log", "respond"):
            assert found["panthera_stage_seconds_count", (stage,)] == 1
        # Accounts 1 and 2 have a row of the day before the request; 99 has none.
        assert found["panthera_feature_age_seconds_count", ("history",)] == 2
        assert found["panthera_feature_age_seconds_sum", ("history",)] == 2 * 86_400
        scores = [found.get(("panthera_score_count", (release,)), 0) for release in ("old", "new")]
        assert sum(scores) == 3
        assert found["panthera_release", ("champion", "old")] == found["panthera_release", ("challenger", "new")] == 1
        assert found["panthera_fault", ()] == 1  # no run fills the tables of this world
        assert found["panthera_pool_connections", ("answers", "idle")] >= 1
        assert found["panthera_pool_waiting", ("answers",)] == found["panthera_queue_requests", ("log",)] == 0
        assert found["panthera_view_as_of_timestamp_seconds", ("history",)] == 1_772_323_200  # 2026-03-01
        assert found["panthera_view_ttl_seconds", ("history",)] == 10 * 86_400

    serve(world, use)


def test_the_release_of_a_role_that_has_moved_is_told_as_zero(world: World) -> None:
    async def use(client: Client) -> None:
        await client.app.state.gauges.sample()
        world.give_role("new", "champion")
        await client.look()
        await client.app.state.gauges.sample()
        found = await _samples(client)
        assert (found["panthera_release", ("champion", "old")], found["panthera_release", ("champion", "new")]) == (
            0,
            1,
        )

    serve(world, use)


@pytest.mark.parametrize(
    ("headers", "request_id", "parent", "sampled"),
    [
        ([(b"traceparent", _PARENT.encode())], _TRACE, _SPAN, True),
        ([(b"traceparent", _PARENT.encode()), (b"x-request-id", b"order-7")], "order-7", _SPAN, True),
        ([(b"traceparent", f"01-{_TRACE}-{_SPAN}-00-more".encode())], _TRACE, _SPAN, False),
        ([(b"x-request-id", b"order-7")], "order-7", None, False),
    ],
)
def test_ids_that_a_caller_sends_are_kept(
    headers: list[tuple[bytes, bytes]], request_id: str, parent: str, sampled: bool
) -> None:
    trace = trace_of(headers)
    assert (trace.request_id, trace.parent_id, trace.sampled) == (request_id, parent, sampled)
    assert (trace.trace_id == _TRACE) == (parent is not None)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"traceparent", [_PARENT.upper().encode()]),
        (b"traceparent", [_PARENT.encode(), _PARENT.encode()]),
        (b"traceparent", [f"00-{'0' * 32}-{_SPAN}-01".encode()]),
        (b"traceparent", [f"00-{_TRACE}-{'0' * 16}-01".encode()]),
        (b"traceparent", [f"ff-{_TRACE}-{_SPAN}-01".encode()]),
        (b"traceparent", [f"00-{_TRACE}-{_SPAN}-01-more".encode()]),
        (b"traceparent", [b"\xff" * 55]),
        (b"x-request-id", [b"a\r\nb"]),
        (b"x-request-id", [b"x" * 129]),
        (b"x-request-id", [b"one", b"two"]),
        (b"x-request-id", [b""]),
    ],
)
def test_ids_that_are_not_valid_are_replaced(name: bytes, values: list[bytes]) -> None:
    first, second = (trace_of([(name, value) for value in values]) for _ in range(2))
    assert first.request_id == first.trace_id != second.trace_id
    assert (len(first.trace_id), len(first.span_id), first.parent_id) == (32, 16, None)


@pytest.fixture
def json_lines() -> Iterator[io.StringIO]:
    """Send the log as JSON to a text, which is what `log_as_json` does to the whole process."""
    text, requests = io.StringIO(), logging.getLogger("panthera.requests")
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter())
    requests.disabled = False  # by the logging of a migration of MLflow in this process
    requests.addHandler(handler)
    requests.setLevel(logging.INFO)
    yield text
    requests.removeHandler(handler)


def test_the_json_log_has_a_line_for_each_request_with_its_ids(
    world: World, json_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.app.log_as_json", lambda: None)
    world.settings = replace(world.settings, log="json")

    async def use(client: Client) -> None:
        answered = await client.http.get("/v1/status", headers={"traceparent": _PARENT, "x-request-id": "order-7"})
        assert answered.headers["x-request-id"] == "order-7"
        refused = await client.http.get("/secret%0Aline")
        await client.http.get("/livez")
        first, second = (json.loads(line) for line in json_lines.getvalue().splitlines())
        assert {name: first[name] for name in ("request_id", "trace_id", "method", "route", "status", "level")} == {
            "request_id": "order-7", "trace_id": _TRACE, "method": "GET", "route": "/v1/status", "status": 200, "level": "info",
        }  # fmt: skip
        assert 0 < first["seconds"] < 30
        assert (second["route"], second["status"]) == ("unknown", 404)
        assert second["request_id"] == refused.headers["x-request-id"]

    serve(world, use)


def test_a_line_of_any_logger_has_the_request_it_belongs_to_and_its_exception() -> None:
    record = logging.LogRecord("any", logging.ERROR, "", 0, "line 1\nline 2 %s", ("x",), None)
    assert "request_id" not in json.loads(JsonFormatter().format(record))
    token = CURRENT.set(trace_of([(b"x-request-id", b"order-7")]))
    line = JsonFormatter().format(record)
    CURRENT.reset(token)
    assert "\n" not in line
    assert (json.loads(line)["request_id"], json.loads(line)["message"]) == ("order-7", "line 1\nline 2 x")


def test_the_form_of_the_log_is_text_or_json() -> None:
    assert read_settings({}).log == "text"
    with pytest.raises(PantheraError, match="PANTHERA_LOG is 'xml'; expected text or json"):
        read_settings({"PANTHERA_LOG": "xml"})


@contextmanager
def _collector() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Run a collector of spans, and yield its address and the bodies that it gets."""
    bodies: list[dict[str, Any]] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collect)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_prediction_is_a_span_of_its_callers_trace_with_a_span_for_each_stage(world: World) -> None:
    with _collector() as (url, bodies):
        world.settings = replace(world.settings, otlp_url=url)

        async def use(client: Client) -> None:
            await client.http.post("/v1/predict", json={"entity": {"account_id": 1}}, headers={"traceparent": _PARENT})

        serve(world, use)
    (resource,) = bodies[0]["resourceSpans"]
    root, *stages = resource["scopeSpans"][0]["spans"]
    assert (root["name"], root["traceId"], root["parentSpanId"]) == ("POST /v1/predict", _TRACE, _SPAN)
    assert {"key": "http.response.status_code", "value": {"intValue": "200"}} in root["attributes"]
    assert [span["name"] for span in stages] == ["authenticate", "decode", "features", "predict", "log", "respond"]
    assert {(span["traceId"], span["parentSpanId"]) for span in stages} == {(_TRACE, root["spanId"])}
    assert len({span["spanId"] for span in (root, *stages)}) == 7
    times = [int(root["startTimeUnixNano"]), *(int(span["endTimeUnixNano"]) for span in stages)]
    assert times == sorted(times)


def test_a_collector_that_does_not_answer_costs_spans_only(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(
        "serving.signals.spans"
    ).disabled = False  # by the logging of a migration of MLflow in this process
    exporter = SpanExporter("http://127.0.0.1:9", "churn")
    for _ in range(3_000):
        exporter.finish(trace_of([(b"traceparent", _PARENT.encode())]), "GET /livez", {}, 200)
    assert len(exporter._waiting) <= 2_000
    exporter.close()
    assert sum("spans cannot be sent" in record.getMessage() for record in caplog.records) == 1


def test_few_requests_without_a_trace_context_are_exported_and_none_that_the_caller_does_not_record() -> None:
    with _collector() as (url, bodies):
        exporter = SpanExporter(url, "churn")
        for _ in range(500):
            exporter.finish(trace_of([]), "GET /livez", {}, 200)
            exporter.finish(trace_of([(b"traceparent", f"00-{_TRACE}-{_SPAN}-00".encode())]), "GET /livez", {}, 200)
        exporter.close()
    spans = [span for body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert 10 <= len(spans) <= 20


def test_the_address_of_a_collector_is_one_of_http() -> None:
    assert traces_url("http://collector:4318/") == "http://collector:4318/v1/traces"
    with pytest.raises(PantheraError, match="PANTHERA_OTLP_URL"):
        traces_url("file:///etc")
