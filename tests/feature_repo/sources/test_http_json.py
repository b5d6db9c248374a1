"""Records of an interface of the web come from all its pages, or are refused by what it answers."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from core.errors import SourceError
from core.plan.rows.remote_readers import HttpJsonReader
from feature_repo.sources.remote import http_json
from tests.feature_repo.sources.stranger import accepted_values, raw_rows, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RECORDS = [{"id": f"{number:03}", "seen": "2024-01-01", "amount": number / 4} for number in range(7)]
ROWS = [(f"{number:03}", "2024-01-01", str(number / 4)) for number in range(7)]
SIZE = 3


class _Interface(BaseHTTPRequestHandler):
    """Answers with pages of three of the seven records, asked for in the way that the path names."""

    asked: dict[str, int]
    keys: list[str]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        stated = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked[self.path] = self.asked.get(self.path, 0) + 1
        getattr(self, f"_{parts.path.strip('/')}", self._unknown)(stated)

    def _answer(self, body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _page(self, stated: dict[str, str]) -> None:
        start = (int(stated.get("page", 1)) - 1) * SIZE
        self._answer({"data": {"the/items": RECORDS[start : start + SIZE]}, "meta": 1})

    def _offset(self, stated: dict[str, str]) -> None:
        start = int(stated["start"])
        self._answer(RECORDS[start : start + int(stated["limit"])])

    def _strict(self, stated: dict[str, str]) -> None:
        start = (int(stated["page"]) - 1) * SIZE
        self._answer(RECORDS[start : start + SIZE], 200 if start < len(RECORDS) else 404)

    def _capped(self, stated: dict[str, str]) -> None:
        start = int(stated["offset"])
        self._answer(RECORDS[start : start + min(int(stated["limit"]), 2)])

    def _slashed(self, stated: dict[str, str]) -> None:
        start = int(stated.get("cursor", "/0=").strip("/="))
        following = {"next": f"/{start + SIZE}="} if start + SIZE < len(RECORDS) else {}
        self._answer({"items": RECORDS[start : start + SIZE], **following})

    def _cursor(self, stated: dict[str, str]) -> None:
        start = int(stated.get("after", 0))
        following = start + SIZE if start + SIZE < len(RECORDS) else None
        self._answer({"items": RECORDS[start : start + SIZE], "next": following})

    def _address(self, stated: dict[str, str]) -> None:
        start = int(stated.get("from", 0))
        following = f"/address?from={start + SIZE}" if start + SIZE < len(RECORDS) else ""
        self._answer({"items": RECORDS[start : start + SIZE], "links": [{"next": following}]})

    def _link(self, stated: dict[str, str]) -> None:
        if "from" in stated and self.keys and "key" not in stated:
            self.send_error(401)
            return
        self.keys.extend(stated.get("key", ""))
        start = int(stated.get("from", 0))
        more = {"Link": f'</link?from={start + SIZE}>; rel="next"'} if start + SIZE < len(RECORDS) else {}
        self._answer(RECORDS[start : start + SIZE], headers=more)

    def _abroad(self, _: dict[str, str]) -> None:
        self._answer(RECORDS, headers={"Link": '<http://127.0.0.2:9/link>; rel="next"'})

    def _secret(self, stated: dict[str, str]) -> None:
        right = "right" in {self.headers.get("X-Token"), stated.get("key")}
        self._answer(RECORDS if right else b"no", 200 if right else 401)

    def _busy(self, stated: dict[str, str]) -> None:
        again = self.asked[self.path] <= int(stated["times"])
        status = int(stated["status"]) if again else 200
        self._answer(RECORDS, status, {"Retry-After": "0"} if again and status == 429 else {})

    def _same(self, _: dict[str, str]) -> None:
        self._answer(RECORDS)

    def _text(self, stated: dict[str, str]) -> None:
        self._answer(stated["body"].encode())

    def _unknown(self, _: dict[str, str]) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the interface; pauses are short."""
    monkeypatch.setattr(http_json, "_PAUSE", 0.01)
    _Interface.asked, _Interface.keys = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Interface) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


PAGED: list[dict[str, Any]] = [
    {"url": "/page", "records": "/data/the~1items", "paging": {"by": "page"}},
    {"url": "/page?a=b", "records": "/data/the~1items", "paging": {"by": "page", "size": SIZE}},
    {
        "url": "/offset",
        "paging": {"by": "offset", "parameter": "start", "size": 2, "size_parameter": "limit"},
    },
    {"url": "/strict", "paging": {"by": "page", "size": SIZE}},
    {"url": "/capped", "paging": {"by": "offset", "size": 5, "size_parameter": "limit"}},
    {"url": "/slashed", "records": "/items", "paging": {"by": "cursor", "next": "/next"}},
    {"url": "/cursor", "records": "/items", "paging": {"by": "cursor", "parameter": "after", "next": "/next"}},
    {"url": "/address", "records": "/items", "paging": {"by": "cursor", "next": "/links/0/next"}},
    {"url": "/link", "paging": {"by": "link"}},
    {"url": "/link", "paging": {"by": "link"}, "parameters_env": {"key": "SHOP_TOKEN"}},
    {"url": "/same"},
    {"url": "/secret", "headers_env": {"X-Token": "SHOP_TOKEN"}},
    {"url": "/secret", "parameters_env": {"key": "SHOP_TOKEN"}},
    {"url": "/busy", "parameters": {"times": 2, "status": 429}},
    {"url": "/busy", "parameters": {"times": 4, "status": 503}},
]


@pytest.mark.parametrize("stated", PAGED, ids=lambda stated: str(stated["url"]))
def test_the_records_of_all_pages_come_in(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, stated: dict[str, Any]
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "right")
    reader = {"kind": "http_json", **stated, "url": f"{server}{stated['url']}"}
    assert raw_rows(stranger(reader), tmp_path) == ROWS
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"url": "/gone"}, "answers 404 Not Found; correct the reader's url"),
    ({"url": "/secret"}, "answers 401 Unauthorized; correct the values of headers_env"),
    ({"url": "/secret", "headers_env": {"X-Token": "SHOP_TOKEN"}}, "SHOP_TOKEN is not set; set it"),
    ({"url": "/busy", "parameters": {"times": 9, "status": 500}, "tries": 2}, "answers 500 .*; try again later"),
    ({"url": "/text?body=<html>"}, "does not answer with JSON .*; expected JSON: correct"),
    ({"url": "/text?body=[NaN]"}, "does not answer with JSON .*it holds NaN"),
    ({"url": "/text?body=[]"}, "has no record at 'the top'; expected at least one: correct"),
    ({"url": "/text?body=[1]"}, "has an array at 'the top', expected an array of objects; it is an array: correct"),
    (
        {"url": "/page", "records": "/items"},
        "has nothing at '/items', expected .*; it has the keys data, meta: correct",
    ),
    ({"url": "/same", "paging": {"by": "page"}}, "answers page 2 with the records of the page before.*: correct"),
    ({"url": "/strict", "paging": {"by": "page"}}, "answers 404 Not Found"),
    ({"url": "/link", "paging": {"by": "link"}, "max_pages": 2}, "has more than 2 pages; .*: raise max_pages"),
    ({"url": "/abroad", "paging": {"by": "link"}}, "names a next page on another server, 127.0.0.2; .*: correct"),
    ({"url": "/text?body=[{%22id%22:1}]"}, "the column 'seen' is missing in http://.*; the source has id; correct"),
]


@pytest.mark.parametrize(
    ("stated", "said"), REFUSED, ids=lambda part: str(part["url"]) if isinstance(part, dict) else ""
)
def test_an_answer_without_all_records_is_refused_by_one_line(
    tmp_path: Path, server: str, stated: dict[str, Any], said: str
) -> None:
    reader = {"kind": "http_json", **stated, "url": f"{server}{stated['url']}"}
    with pytest.raises(SourceError) as refused:
        raw_rows(stranger(reader), tmp_path)
    message = str(refused.value)
    assert re.match(f"ingest.things: .*{said}", message), message
    assert "\n" not in message
    assert not list((tmp_path / "raw").glob("*"))
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


def test_a_server_that_does_not_answer_is_asked_again_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_json, "_PAUSE", 0.01)
    reader = {"kind": "http_json", "url": "http://127.0.0.1:9/a?key=secret", "tries": 2}
    with pytest.raises(SourceError, match=r"http://127.0.0.1:9/a cannot be fetched .*; try again") as refused:
        raw_rows(stranger(reader), tmp_path)
    assert "secret" not in str(refused.value)


def test_integers_of_64_bits_and_nested_values_come_whole(tmp_path: Path, server: str) -> None:
    body = '[{"id":"a","seen":"2024-01-01","amount":9223372036854775807,"more":{"é":[1]}}]'
    columns = {"amount": {"dtype": "int64"}, "more": {"dtype": "string"}}
    source = stranger({"kind": "http_json", "url": f"{server}/text", "parameters": {"body": body}}, **columns)
    assert accepted_values(source, tmp_path, "amount") == [9223372036854775807]
    assert accepted_values(source, tmp_path, "more") == ['{"é":[1]}']


@pytest.mark.parametrize(
    ("paging", "said"),
    [
        ({"by": "cursor"}, "it goes with by: cursor"),
        ({"by": "link", "parameter": "p"}, "by: link has no parameter"),
        ({"by": "page", "size_parameter": "limit"}, "size_parameter needs size"),
        ({"by": "link", "first": 1}, "first goes with"),
    ],
)
def test_paging_that_contradicts_itself_is_refused_with_the_plan(paging: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HttpJsonReader.model_validate({"kind": "http_json", "url": "https://a.example/", "paging": paging})


def test_the_pause_before_another_try_doubles_unless_the_server_states_it() -> None:
    assert [http_json._pause(number, None) for number in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, 60.0]
    assert [http_json._pause(1, stated) for stated in ("7", "soon", "900")] == [7.0, 1.0, 60.0]
