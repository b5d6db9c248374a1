"""Decoding requests: what is understood, and what is refused with which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.experiment.prediction_log import Outcome
from serving.wire.bodies import check_content_type
from serving.wire.decode import (
    EntitiesRequest,
    decode_features,
    decode_outcomes,
    decode_predict,
)
from serving.wire.refusals import NotJson, NotSupported, Refusal
from serving.wire.values import EntityKey

if TYPE_CHECKING:
    from core.contracts import Value

_NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_NUMBER = EntityKey("customer_id", "int64")
_TEXT = EntityKey("account", "string")


def _predict(body: Any, key: EntityKey = _NUMBER, most: int = 3) -> EntitiesRequest:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_predict(text, key, most, _NOW)


def test_many_entities_are_read_in_their_order_and_repeated_ones_stay() -> None:
    asked = _predict({"entities": [{"customer_id": 2}, {"customer_id": 1}, {"customer_id": 2}]})
    assert asked == EntitiesRequest((2, 1, 2), None)


def test_one_entity_is_a_list_of_one() -> None:
    assert _predict({"entity": {"account": "a-17"}}, _TEXT) == EntitiesRequest(("a-17",), None)


def test_the_attributes_of_entities_are_in_their_order() -> None:
    found: dict[str, Value] = {"country": "DE", "age": 30, "new": True, "plan": None}
    request = _predict({"entities": [{"customer_id": 2}, {"customer_id": 1, "attributes": found}]})
    assert request == EntitiesRequest((2, 1), None, attributes=({}, found))
    assert _predict({"entity": {"customer_id": 1, "attributes": {}}}) == EntitiesRequest((1,), None)


@pytest.mark.parametrize("key", [-(2**63), 2**63 - 1, 0])
def test_every_integer_of_64_bits_is_a_key(key: int) -> None:
    assert _predict({"entity": {"customer_id": key}}).keys == (key,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1998-04-01T00:00:00Z", datetime(1998, 4, 1, tzinfo=UTC)),
        ("1998-04-01T02:00:00+02:00", datetime(1998, 4, 1, tzinfo=UTC)),
        ("1998-04-01T00:00:00.5-05:30", datetime(1998, 4, 1, 5, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T12:04:59Z", _NOW + timedelta(minutes=4, seconds=59)),
    ],
)
def test_as_of_is_read_as_an_instant_in_utc(written: str, meant: datetime) -> None:
    as_of = _predict({"entity": {"customer_id": 1}, "as_of": written}).as_of
    assert as_of == meant
    assert as_of is not None
    assert as_of.tzinfo is UTC


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["not JSON", "its end"]),
        (b"{", ["not JSON", "line 1 column 2"]),
        (b"\xff\xfe", ["not UTF-8", "byte 0 is 0xff"]),
        (b"\xef\xbb\xbf{}", ["not JSON"]),
        (b"[" * 100_000, ["nested too deeply"]),
        (b'{"entities": ' * 5_000, ["nested too deeply"]),
        (b'{"entity": {"customer_id": ' + b"9" * 5000 + b"}}", ["thousands of digits"]),
        (b'{"entity": {"customer_id": NaN}}', ["NaN", "no such number"]),
        (b'{"entity": {"customer_id": -Infinity}}', ["-Infinity", "no such number"]),
    ],
)
def test_what_is_not_json_is_refused_with_400(body: bytes, words: list[str]) -> None:
    with pytest.raises(NotJson) as refused:
        _predict(body)
    assert refused.value.status == 400
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], ["a list", "the body", "object"]),
        (None, ["null", "the body"]),
        ({}, ["neither 'entities' nor 'entity'"]),
        ({"entity": {"customer_id": 1}, "entities": []}, ["both"]),
        ({"entity": {"customer_id": 1}, "asof": "x"}, ["unknown field", '"asof"', "did you mean 'as_of'"]),
        ({"entities": {"customer_id": 1}}, ["an object", "entities", "a list"]),
        ({"entities": []}, ["empty list", "entities"]),
        ({"entities": [{"customer_id": 1}] * 4}, ["found 4", "at most 3"]),
        ({"entities": [{"customer_id": 1}, 7]}, ["the number 7", "entities[1]", "customer_id"]),
        ({"entities": [{"customer": 1}]}, ["unknown field", '"customer"', "did you mean 'customer_id'"]),
        ({"entities": [{}]}, ["no 'customer_id'", "entities[0]", '{"customer_id": 17}']),
        ({"entity": {"customer_id": "1"}}, ['the string "1"', "entity.customer_id", "integer of 64 bits"]),
        ({"entity": {"customer_id": True}}, ["the boolean true", "integer"]),
        ({"entity": {"customer_id": 1.5}}, ["the number 1.5", "integer"]),
        ({"entity": {"customer_id": None}}, ["null", "integer"]),
        ({"entity": {"customer_id": 2**63}}, ["64 bits"]),
        ({"entity": {"customer_id": -(2**63) - 1}}, ["64 bits"]),
        ({"entity": {"customer_id": 1}, "as_of": 5}, ["the number 5", "as_of"]),
        ({"entity": {"customer_id": 1}, "as_of": None}, ["null", "as_of"]),
        ({"entity": {"customer_id": 1}, "as_of": "yesterday"}, ["yesterday", "1998-04-01T00:00:00Z"]),
        ({"entity": {"customer_id": 1}, "as_of": "1998-04-01T00:00:00"}, ["no time zone"]),
        ({"entity": {"customer_id": 1}, "as_of": "1998-04-01"}, ["no time zone"]),
        ({"entity": {"customer_id": 1}, "as_of": "2026-11-23T12:05:01Z"}, ["in the future", "2026-11-23T12:00:00Z"]),
        ({"entity": {"customer_id": 1}, "as_of": "0001-01-01T00:00:00+10:00"}, ["years 1 and 9999"]),
        (b'{"entity": {"customer_id": 1, "customer_id": 2}}', ['"customer_id" twice']),
        ({"entity": {"customer_id": 1, "attributes": "DE"}}, ['the string "DE"', "entity.attributes", "an object"]),
        ({"entity": {"customer_id": 1, "attributes": {"country": ["DE"]}}}, ["a list", "entity.attributes.country"]),
        ({"entity": {"customer_id": 1, "attributes": {"country": "a\0"}}}, ["NUL", "entity.attributes.country"]),
        ({"entity": {"customer_id": 1, "attributes": dict.fromkeys(map(str, range(21)))}}, ["21", "at most 20"]),
    ],
)
def test_what_is_malformed_is_refused_with_422(body: Any, words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        _predict(body)
    assert refused.value.status == 422
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (1, ["the number 1", "a string"]),
        ("", ["0 characters"]),
        ("x" * 513, ["513 characters"]),
        ("a\0b", ["NUL"]),
        ("\ud800", ["surrogate"]),
    ],
)
def test_a_text_key_is_a_text_that_can_be_stored(account: Any, words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        _predict({"entity": {"account": account}}, _TEXT)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=UTF-8"])
def test_json_is_taken(kind: str) -> None:
    check_content_type(kind)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/vnd.bentoml+pickle",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/jsonp",
    ],
)
def test_every_other_content_type_is_refused_with_415(kind: str | None) -> None:
    with pytest.raises(NotSupported) as refused:
        check_content_type(kind)
    assert refused.value.status == 415


def test_a_query_names_entities_and_as_of() -> None:
    query = [("customer_id", "1"), ("as_of", "1998-04-01T00:00:00+00:00"), ("customer_id", "-2")]
    assert decode_features(query, _NUMBER, 3, _NOW) == EntitiesRequest((1, -2), datetime(1998, 4, 1, tzinfo=UTC))


def test_a_plus_sign_that_was_not_escaped_is_understood() -> None:
    query = [("customer_id", "1"), ("as_of", "1998-04-01T01:00:00 01:00")]
    assert decode_features(query, _NUMBER, 3, _NOW).as_of == datetime(1998, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([], ["0 times 'customer_id'"]),
        ([("customer_id", "1")] * 4, ["4 times", "1 to 3"]),
        ([("customer_id", "1"), ("customer", "1")], ["unknown field", '"customer"']),
        ([("customer_id", "one")], ['"one"', "integer"]),
        ([("customer_id", "1_0")], ["integer"]),
        ([("customer_id", "\u0661")], ["integer"]),
        ([("customer_id", "9" * 19)], ["64 bits"]),
        ([("customer_id", "9" * 9999)], ["integer"]),
        ([("customer_id", "1"), ("as_of", "x"), ("as_of", "y")], ["2 times 'as_of'"]),
        ([("customer_id", "1"), ("as_of", "1998-04-01T00:00:00")], ["no time zone"]),
    ],
)
def test_a_malformed_query_is_refused(query: list[tuple[str, str]], words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        decode_features(query, _NUMBER, 3, _NOW)
    assert all(word in str(refused.value) for word in words), refused.value


_OUTCOME = {"outcome_id": "o1", "customer_id": 1, "observed_at": "1998-05-01T00:00:00Z", "value": 1}


def test_outcomes_are_read() -> None:
    body = json.dumps({"outcomes": [_OUTCOME]}).encode()
    assert decode_outcomes(body, _NUMBER, _NOW) == [Outcome("o1", "1", datetime(1998, 5, 1, tzinfo=UTC), 1.0)]


def test_an_outcome_may_have_a_name_that_the_plan_declares() -> None:
    row = {"outcome_id": "o1", "customer_id": 1, "observed_at": "1998-05-01T00:00:00Z", "value": 2}
    body = json.dumps({"outcomes": [row, {**row, "outcome_id": "o2", "name": "calls"}]}).encode()
    outcomes = decode_outcomes(body, _NUMBER, _NOW, {}, {"calls", "spent"})
    assert [(outcome.name, outcome.value) for outcome in outcomes] == [("", 2.0), ("calls", 2.0)]
    with pytest.raises(Refusal, match=r"calls\" at outcomes\[1\]\.name; expected spent, the outcomes of metrics"):
        decode_outcomes(body, _NUMBER, _NOW, {}, {"spent"})
    with pytest.raises(Refusal, match=r'the unknown field the string "name" in outcomes\[1\]'):
        decode_outcomes(body, _NUMBER, _NOW)


def test_a_named_outcome_is_a_number_although_the_label_has_classes() -> None:
    row = {
        "outcome_id": "o1",
        "customer_id": 1,
        "observed_at": "1998-05-01T00:00:00Z",
        "value": "churned",
        "name": "calls",
    }
    with pytest.raises(Refusal, match=r"expected a finite number \(1 or 0 for yes or no\)$"):
        decode_outcomes(json.dumps({"outcomes": [row]}).encode(), _NUMBER, _NOW, {"churned": 1.0}, {"calls"})


@pytest.mark.parametrize(("value", "number"), [("churned", 1.0), ("stayed", 0.0), (1, 1.0)])
def test_an_outcome_may_be_the_name_of_a_class(value: str | int, number: float) -> None:
    body = json.dumps({"outcomes": [{**_OUTCOME, "value": value}]}).encode()
    [outcome] = decode_outcomes(body, _NUMBER, _NOW, {"churned": 1.0, "stayed": 0.0})
    assert outcome.value == number


def test_an_unknown_class_is_refused_with_the_names_of_all() -> None:
    body = json.dumps({"outcomes": [{**_OUTCOME, "value": "chruned"}]}).encode()
    with pytest.raises(
        Refusal, match=r'found the string "chruned" at .*; expected .* the name of a class: churned, stayed'
    ):
        decode_outcomes(body, _NUMBER, _NOW, {"churned": 1.0, "stayed": 0.0})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["no 'outcomes'"]),
        ({"outcomes": []}, ["empty list"]),
        ({"outcomes": [{**_OUTCOME, "note": 1}]}, ["unknown field", '"note"', "outcomes[0]"]),
        ({"outcomes": [{"outcome_id": "x"}]}, ["no 'customer_id'", "outcomes[0]"]),
        ({"outcomes": [{**_OUTCOME, "value": True}]}, ["the boolean true", "1 or 0"]),
        ({"outcomes": [{**_OUTCOME, "value": "1"}]}, ['the string "1"']),
        ({"outcomes": [{**_OUTCOME, "value": 10**400}]}, ["finite"]),
        ({"outcomes": [{**_OUTCOME, "outcome_id": 7}]}, ["outcomes[0].outcome_id"]),
        ({"outcomes": [{**_OUTCOME, "customer_id": "1"}]}, ["outcomes[0].customer_id"]),
        ({"outcomes": [{**_OUTCOME, "observed_at": "2027-01-01T00:00:00Z"}]}, ["in the future"]),
        (
            b'{"outcomes": [{"outcome_id":"o","customer_id":1,"observed_at":"1998-05-01T00:00:00Z","value":1e999}]}',
            ["finite"],
        ),
    ],
)
def test_malformed_outcomes_are_refused(body: Any, words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        decode_outcomes(body if isinstance(body, bytes) else json.dumps(body).encode(), _NUMBER, _NOW)
    assert all(word in str(refused.value) for word in words), refused.value


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["entities", "as_of", "account"]), inner)
    ),
)


@given(
    body=st.binary()
    | st.text().map(lambda text: text.encode(errors="surrogatepass"))
    | _JSON.map(lambda value: json.dumps(value).encode())
)
def test_whatever_the_body_is_it_is_understood_or_refused(body: bytes) -> None:
    for decode in (lambda: decode_predict(body, _TEXT, 3, _NOW), lambda: decode_outcomes(body, _TEXT, _NOW)):
        try:
            decode()
        except Refusal as refused:
            assert str(refused)  # noqa: PT017 - most bodies are refused, not all


@given(
    instant=st.datetimes(
        timezones=st.just(UTC) | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
    )
)
def test_no_instant_moves(instant: datetime) -> None:
    body = {"entity": {"customer_id": 1}, "as_of": instant.isoformat()}
    try:
        as_of = _predict(body).as_of
    except Refusal as refused:
        assert "future" in str(refused) or "years" in str(refused)  # noqa: PT017 - an instant need not be taken
    else:
        assert as_of == instant


@pytest.mark.parametrize(
    ("text", "found"), [("1.0", 1), ("1e3", 1000), ("-5.0", -5), ("9007199254740991.0", 2**53 - 1)]
)
def test_an_integer_may_be_written_with_a_point_as_json_schema_allows(text: str, found: int) -> None:
    body = f'{{"entity": {{"customer_id": {text}}}}}'.encode()
    assert decode_predict(body, _NUMBER, 1, _NOW).keys == (found,)


@pytest.mark.parametrize("text", ["1.5", "-0.0", "9007199254740993.0", "1e18"])
def test_a_number_that_a_float_may_have_rounded_is_no_key(text: str) -> None:
    body = f'{{"entity": {{"customer_id": {text}}}}}'.encode()
    with pytest.raises(Refusal, match="expected an integer of 64 bits"):
        decode_predict(body, _NUMBER, 1, _NOW)
