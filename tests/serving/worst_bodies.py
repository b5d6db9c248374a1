"""The worst body of each kind that a stranger can send in a megabyte, for every route that takes one."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

_MEGABYTE = 2**20
#: The promises are 100 ms and 50 ms; the rest is for a machine that is busy with other tests.
_REFUSED_WITHIN = 2.0
_ALIVE_WITHIN = 1.0
_AT_ONCE = 2
#: For each route the name of its list, and a row that is right.
_ROUTES: dict[str, tuple[str, dict[str, object]]] = {
    "/v1/predict": ("entities", {"account_id": 1}),
    "/v1/outcomes": (
        "outcomes",
        {"outcome_id": "o", "account_id": 1, "observed_at": "2026-03-20T00:00:00Z", "value": 1},
    ),
    "/v1/features/push": (
        "rows",
        {"event_id": "e", "account_id": 1, "event_time": "2026-03-02T00:00:00Z", "features": {"orders": 1}},
    ),
}


def _filled(begin: bytes, unit: bytes, end: bytes, separator: bytes = b",") -> bytes:
    count = (_MEGABYTE - len(begin) - len(end)) // (len(unit) + len(separator))
    return begin + separator.join([unit] * count) + end


def worst_bodies(listed: str, row: dict[str, object]) -> dict[str, bytes]:
    """Compose the worst bodies for a route whose body has a list `listed` of rows like `row`."""
    begin, plain = b'{"%s":[' % listed.encode(), json.dumps(row, separators=(",", ":")).encode()
    name, *_ = row
    return {
        "one name again and again": _filled(b"{", b'"%s":1' % listed.encode(), b"}"),
        "a strange name again and again": _filled(b"{", b'"a":1', b"}"),
        "a row's name again and again": _filled(begin + b"{", b'"%s":1' % name.encode(), b"}]}"),
        "many names": b"{" + b",".join(b'"%x":1' % number for number in range(90_000)) + b"}",
        "many names in a row": begin + b"{" + b",".join(b'"%x":1' % number for number in range(90_000)) + b"}]}",
        "brackets without end": b"[" * _MEGABYTE,
        "objects without end": b'{"a":' * (_MEGABYTE // 5),
        "deep lists": _filled(begin, b"[" * 400 + b"]" * 400, b"]}"),
        "deep objects": _filled(begin, b'{"a":' * 300 + b"1" + b"}" * 300, b"]}"),
        "small objects": _filled(begin, b"{}", b"]}"),
        "small lists": _filled(begin, b"[]", b"]}"),
        "small strings": _filled(begin, b'""', b"]}"),
        "small integers": _filled(begin, b"1", b"]}"),
        "small floats": _filled(begin, b"1.5", b"]}"),
        "nulls": _filled(begin, b"null", b"]}"),
        "a number": b"1" * (_MEGABYTE - 1),
        "long numbers": _filled(begin, b"1" * 4300, b"]}"),
        "a long fraction": b"0." + b"1" * (_MEGABYTE - 3),
        "huge exponents": _filled(begin, b"1e999999999", b"]}"),
        "tiny exponents": _filled(begin, b"1e-999999999", b"]}"),
        "not a number": _filled(begin, b"NaN", b"]}"),
        "infinities": _filled(begin, b"-Infinity", b"]}"),
        "a long string": b'"' + b"a" * (_MEGABYTE - 3) + b'"',
        "a long key": begin + b'{"%s":"' % name.encode() + b"a" * (_MEGABYTE - 100) + b'"}]}',
        "escapes": b'"' + rb"\u0041" * (_MEGABYTE // 6 - 1) + b'"',
        "halves of surrogate pairs": begin + b'{"%s":"' % name.encode() + rb"\ud800" * 170_000 + b'"}]}',
        "escaped quotes": b'"' + rb"\"" * (_MEGABYTE // 2 - 1) + b'"',
        "backslashes": b'"' + b"\\" * (_MEGABYTE - 3) + b'"',
        "not UTF-8 at the end": b'["' + b"a" * (_MEGABYTE - 6) + b'\xff"]',
        "blanks": b" " * _MEGABYTE,
        "more rows than anybody may send": _filled(begin, plain, b"]}"),
        "a list again and again": _filled(b"{", b'"%s":[]' % listed.encode(), b"}"),
    }


def check_that_none_holds_up(address: str) -> None:
    """Send each, several at once, to each route; all are refused soon, and the service says meanwhile that it lives."""
    with (
        _polled(address) as waits,
        httpx.Client(base_url=address, timeout=60) as client,
        ThreadPoolExecutor(_AT_ONCE) as senders,
    ):
        for route, (listed, row) in _ROUTES.items():
            for kind, body in worst_bodies(listed, row).items():
                sent = [senders.submit(_send, client, route, body) for _ in range(_AT_ONCE)]
                for status, seconds in [future.result() for future in sent]:
                    assert status in {400, 413, 422}, (route, kind, status)
                    assert seconds < _REFUSED_WITHIN, (route, kind, seconds)
    assert max(waits) < _ALIVE_WITHIN, max(waits)


def _send(client: httpx.Client, route: str, body: bytes) -> tuple[int, float]:
    began = time.perf_counter()
    response = client.post(route, content=body, headers={"content-type": "application/json"})
    return response.status_code, time.perf_counter() - began


class _polled:  # noqa: N801 - a context manager
    """Asks /livez again and again; gives the list of how long the answers took."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ended = threading.Event()
        self._waits: list[float] = []
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> list[float]:
        self._thread.start()
        return self._waits

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._ended.wait(0.01):
                began = time.perf_counter()
                assert client.get("/livez").status_code == 200
                self._waits.append(time.perf_counter() - began)
