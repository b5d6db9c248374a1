"""The quick decoder of plain requests: it returns and refuses exactly what the full decoder does."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.online.table import OnlineTable
from serving.wire.decode import EntitiesRequest, decode_predict
from serving.wire.plain_predict import PredictDecoder
from serving.wire.refusals import Refusal
from serving.wire.values import EntityKey

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MOST = 3
VIEWS = {"history": OnlineTable("history__1", (("account_id", "int64"),), (("orders", "int64"),))}
KEYS = {"int64": EntityKey("account_id", "int64"), "string": EntityKey("account id", "string")}


def _both(body: bytes, dtype: str) -> tuple[EntitiesRequest | str, EntitiesRequest | str]:
    key = KEYS[dtype]

    def outcome(decode: object) -> EntitiesRequest | str:
        try:
            return decode()  # type: ignore[operator,no-any-return]
        except Refusal as error:
            return f"{type(error).__name__}: {error}"

    decoder = PredictDecoder(key, MOST, VIEWS)
    return outcome(lambda: decoder(body, NOW)), outcome(lambda: decode_predict(body, key, MOST, NOW, VIEWS))


@pytest.mark.parametrize(
    "body",
    [
        '{"entities": [{"account_id": 1}, {"account_id": -9223372036854775808}]}',
        '{"entity": {"account_id": 1}}',
        '{"entity": {"account_id": 1, "account_id": 1}}',
        '{"entity": {"account_id": 1}, "entity": {"account_id": 1}}',
        '{"entities": [{"account_id": 1}], "entities": [{"account_id": 1}]}',
        r'{"entities": [{"account\u005fid": 1}]}',
        '{"entities": [{"account_id": 1}], "entity": {"account_id": 1}}',
        "{}",
        "null",
        '{"entities": []}',
        '{"entities": [{"account_id": 1}, {"account_id": 1}, {"account_id": 1}, {"account_id": 1}]}',
        '{"entities": [{"account_id": 9223372036854775808}]}',
        '{"entities": [{"account_id": 1.0}]}',
        '{"entities": [{"account_id": true}]}',
        '{"entities": [{"account_id": 01}]}',
        '{"entities": [{"account_id": 1}]} x',
        '{"entities": [{"account_id": 1, "features": {"history": {"orders": 2}}}]}',
        '{"entities": [{"account_id": 1}], "as_of": "2026-05-01T00:00:00Z"}',
        '{"entities": [{"account_id": 1}], "as_of": "2027-05-01T00:00:00Z"}',
        '\ufeff{"entities": [{"account_id": 1}]}',
    ],
)
def test_a_body_is_decoded_or_refused_as_by_the_full_decoder(body: str) -> None:
    plain, full = _both(body.encode(), "int64")
    assert plain == full


@pytest.mark.parametrize("key", ["a", "", "a" * 512, "a" * 513, "\x00", "\ud800", 'a"b', "ü\U0001f600", "a\\"])
def test_a_text_key_is_decoded_or_refused_as_by_the_full_decoder(key: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({"entity": {"account id": key}}, ensure_ascii=ascii_only)
        plain, full = _both(text.encode(errors="surrogatepass"), "string")
        assert plain == full


_PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"entities"',
    '"entity"',
    '"account_id"',
    "1",
    "-0",
    "1e0",
    "null",
    '"as_of"',
    " ",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join))
def test_whatever_is_sent_is_decoded_or_refused_as_by_the_full_decoder(body: str) -> None:
    plain, full = _both(body.encode(), "int64")
    assert plain == full
