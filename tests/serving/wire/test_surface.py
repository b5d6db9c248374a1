"""All that HTTP reaches: the routes, and for everything else one shape of refusal and one label of the metrics."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.plan.text import read_sections
from core.plan.times import WITHOUT_TIME
from serving.app import ROUTES
from serving.wire.openapi import describe
from tests.serving.conftest import Client, World, assert_is_problem, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGES_OF_BENTOML = ("/", "/schema.json", "/static_content/swagger-ui.css", "/assets/index.html", "/docs", "/v1")


async def _ask(client: Client, method: str, raw_path: bytes) -> httpx.Response:
    url = httpx.URL("http://service").copy_with(raw_path=raw_path)
    return await client.http.send(httpx.Request(method, url))


async def _series(client: Client) -> dict[tuple[str, str], float]:
    """Return the values of the series of requests, by name and route."""
    text = (await client.http.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, sample.labels["route"]): sample.value for sample in samples if "route" in sample.labels}


def test_no_page_of_the_host_is_served(bare_world: World) -> None:
    async def use(client: Client) -> None:
        for path in _PAGES_OF_BENTOML:
            response = await client.http.get(path)
            assert response.status_code == 404
            assert_is_problem(response, "unknown_path")

    serve(bare_world, use)


def test_a_method_that_a_route_does_not_have_is_told_which_it_has(bare_world: World) -> None:
    async def use(client: Client) -> None:
        for path, (allowed, _) in ROUTES.items():
            for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"} - {allowed}:
                response = await client.http.request(method, path)
                assert (response.status_code, response.headers["allow"]) == (405, allowed)
                assert_is_problem(response, "unknown_method")

    serve(bare_world, use)


def test_strangers_make_no_series(bare_world: World) -> None:
    async def use(client: Client) -> None:
        await client.http.get("/livez")
        await client.http.get("/nothing")
        before = await _series(client)

        methods, rng = ["GET", "POST", "HEAD", "PURGE", "X" * 50], random.Random(1)  # noqa: S311
        for path in [b"/a%0Ab", b"//", b"/livez/", *(f"/%{byte:02x}{rng.random()}".encode() for byte in range(256))]:
            response = await _ask(client, rng.choice(methods), path)
            assert response.status_code == 404
        assert (await _series(client)).keys() == before.keys()

    serve(bare_world, use)


def test_a_scrape_is_not_counted_and_nothing_stays_in_progress(bare_world: World) -> None:
    async def use(client: Client) -> None:
        await client.http.get("/livez")
        text = (await client.http.get("/metrics")).text
        assert "\npanthera_requests_in_progress 0.0\n" in text
        assert 'route="/metrics"' not in text

    serve(bare_world, use)


@pytest.mark.parametrize("hosts", [[], ["evil.example.com"], ["service", "service"], ["service,evil.example.com"]])
def test_a_request_for_another_host_is_refused_on_every_path(bare_world: World, hosts: list[str]) -> None:
    async def use(client: Client) -> None:
        for path in ("/livez", "/v1/status", "/metrics", "/nothing"):
            request = httpx.Request("GET", f"http://service{path}")
            del request.headers["host"]
            raw = [*request.headers.raw, *((b"Host", host.encode()) for host in hosts)]
            request.headers = httpx.Headers(raw)
            response = await client.http.send(request)
            assert response.status_code == 421
            assert_is_problem(response, "unknown_host")

    serve(bare_world, use)


def test_the_description_names_every_route_with_its_method_and_nothing_else(bare_world: World) -> None:
    async def use(client: Client) -> None:
        for path in ("/openapi.json", "/docs.json"):
            response = await client.http.get(path)
            assert len(response.headers.get_list("x-request-id")) == 1
            described = response.json()
            assert described["openapi"] == "3.1.0"
            methods = {
                path: [method.upper() for method in operations] for path, operations in described["paths"].items()
            }
            assert methods == {path: [method] for path, (method, _) in ROUTES.items()}

    serve(bare_world, use)


def test_the_description_holds_the_key_and_the_features_of_the_plan(bare_world: World) -> None:
    schemas = describe(read_sections(bare_world.settings.plan))["components"]["schemas"]
    assert schemas["Predict"]["properties"]["entities"]["maxItems"] == 5
    entity = schemas["Predict"]["properties"]["entity"]
    assert (list(entity["properties"]), entity["required"]) == (
        ["account_id", "features", "attributes"],
        ["account_id"],
    )
    assert list(entity["properties"]["features"]["properties"]["history"]["properties"]) == ["orders"]
    (push,) = schemas["Push"]["oneOf"]
    assert push["properties"]["view"] == {"const": "history"}
    row = push["properties"]["rows"]["items"]
    assert row["required"] == ["event_id", "account_id", "event_time", "features"]
    assert list(row["properties"]["features"]["properties"]) == ["orders"]


def _outcome(world: World, *classes: str) -> Any:
    described = describe(read_sections(world.settings.plan), classes)
    return described["components"]["schemas"]["Outcomes"]["properties"]["outcomes"]["items"]


def test_the_value_of_an_outcome_is_a_text_only_where_the_classes_have_names(bare_world: World) -> None:
    assert _outcome(bare_world)["properties"]["value"] == {"type": "number"}
    named = _outcome(bare_world, "left", "stayed")["properties"]["value"]
    assert named == {"anyOf": [{"type": "number"}, {"enum": ["left", "stayed"]}]}
    guarded = "experiment: {minimum_effect: 0.1, guardrails: {calls: {better: lower, margin: 0.2, value: sum}}}"
    plan = bare_world.settings.plan
    plan.write_text(plan.read_text().replace("monitor: {", f"monitor: {{{guarded}, decide: {{better: lower}}, "))
    of_label, of_metric = _outcome(bare_world, "left", "stayed")["oneOf"]
    assert (of_label["properties"]["value"], of_metric["properties"]["value"]) == (named, {"type": "number"})
    assert ("name" in of_label["properties"], of_metric["properties"]["name"]) == (False, {"enum": ["calls"]})


def test_a_text_is_described_as_what_can_be_stored(bare_world: World) -> None:
    pattern = re.compile(_outcome(bare_world)["properties"]["outcome_id"]["pattern"])
    assert pattern.search("a\nb ü \U0001f600")
    assert not pattern.search("a\0b")


def test_an_answer_has_its_instant_also_if_it_is_the_one_of_rows_without_times(world: World) -> None:
    async def use(client: Client) -> None:
        response = await client.predict(1, as_of=WITHOUT_TIME)
        assert response.json()["as_of"] == "2000-01-01T00:00:00.000001Z"
        query = {"account_id": "1", "as_of": WITHOUT_TIME.isoformat()}
        response = await client.http.get("/v1/features", params=query)
        assert response.json()["as_of"] == "2000-01-01T00:00:00.000001Z"

    serve(world, use)


def test_every_reference_of_the_description_leads_somewhere(bare_world: World) -> None:
    described = describe(read_sections(bare_world.settings.plan))
    found = list(_references(described))
    assert found
    for reference in found:
        part: Any = described
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)


def test_answers_are_what_the_description_says(world: World) -> None:
    async def use(client: Client) -> None:
        described = (await client.http.get("/openapi.json")).json()
        answers = [
            ("/v1/predict", "post", await client.predict(1, 99)),
            ("/v1/features", "get", await client.http.get("/v1/features", params={"account_id": 1})),
            ("/v1/status", "get", await client.http.get("/v1/status")),
            ("/livez", "get", await client.http.get("/livez")),
            ("/readyz", "get", await client.http.get("/readyz")),
        ]
        for path, method, response in answers:
            assert response.status_code == 200, response.text
            operation = described["paths"][path][method]
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            _check(response.json(), schema, described, path)
        refused = await client.http.post("/v1/predict")
        _check(refused.json(), {"$ref": "#/components/schemas/Problem"}, described, "problem")

    serve(world, use)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def _check(value: Any, schema: dict[str, Any], described: dict[str, Any], where: str) -> None:
    """Check a value against what of JSON Schema the description uses for answers."""
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        chosen = schema["anyOf"]["score" not in value]  # a prediction, or why there is none
        _check(value, chosen, described, where)
        return
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        assert any(isinstance(value, _TYPES[kind]) for kind in kinds), f"{value!r} at {where}"
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), where
        others = schema.get("additionalProperties", {})
        for name, inner in value.items():
            expected = schema.get("properties", {}).get(name, others)
            assert expected is not False, f"{name} at {where}"
            _check(inner, expected, described, f"{where}.{name}")
    if isinstance(value, list):
        assert len(value) >= schema.get("minItems", 0), where
        for inner in value:
            _check(inner, schema.get("items", {}), described, f"{where}[]")
