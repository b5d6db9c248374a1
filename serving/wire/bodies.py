"""Bodies of requests: read within limits of size and time, and decoded without holding up the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from serving.wire.refusals import NotSupported, Refusal, TooLarge, TooMany, TooSlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

Decoded = TypeVar("Decoded")

_LONGEST_BODY = 2**20
_SECONDS_TO_SEND = 3.0
#: Up to this many bytes are decoded where they are, in less than a millisecond.
_SMALL = 2**14
#: How many long bodies wait for the thread that decodes them.
_MOST_WAITING = 16
_LONGEST_SHOWN = 60


class Bodies:
    """Reads the bodies of one event loop. Long ones are decoded by one thread, one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "decode")
        self._waiting = 0

    async def decoded(self, request: Request, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Read the body of `request`, which must be JSON, and return what `decode` makes of it.

        Raises
        ------
        NotSupported, TooLarge, TooMany, TooSlow, Refusal
            If it is not read, or as `decode` does.

        """
        body = await read_json_body(request)
        if len(body) <= _SMALL:
            return decode(body)
        if self._waiting >= _MOST_WAITING:
            raise TooMany(f"{self._waiting} long bodies wait to be decoded; send it again, or in smaller requests")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, decode, body)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def read_json_body(request: Request) -> bytes:
    """Read the body of `request`, if its headers say that it is JSON in UTF-8, as it is, and not too long.

    Raises
    ------
    NotSupported, TooLarge, TooSlow, Refusal
        Otherwise.

    """
    check_content_type(request.headers.get("content-type"))
    _check_encoding(request.headers.get("content-encoding"))
    if request.url.query:
        raise Refusal("found a query after the path; expected everything in the body")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > len(str(_LONGEST_BODY)) or int(length) > _LONGEST_BODY):
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(_SECONDS_TO_SEND):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LONGEST_BODY:
                    raise _too_large()
    except TimeoutError:
        raise TooSlow(f"the body did not arrive within {_SECONDS_TO_SEND:g} s; send it again") from None
    return bytes(body)


def check_content_type(content_type: str | None) -> None:
    """Refuse a body that does not say that it is JSON in UTF-8.

    Raises
    ------
    NotSupported
        Otherwise.

    """
    kind, _, parameters = (content_type or "nothing").lower().partition(";")
    if kind.strip() != "application/json":
        raise NotSupported(f"found the content type {_shown(kind)}; expected 'application/json'")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        raise NotSupported(f"found {_shown(parameters)} after the content type; expected JSON in UTF-8")


def _check_encoding(encoding: str | None) -> None:
    if encoding is not None and encoding.strip().lower() != "identity":
        raise NotSupported(f"found the content encoding {_shown(encoding)}; expected the body as it is")


def _too_large() -> TooLarge:
    return TooLarge(f"found a body of more than {_LONGEST_BODY} bytes; send several requests")


def _shown(text: str) -> str:
    return repr(text.strip()[:_LONGEST_SHOWN])
