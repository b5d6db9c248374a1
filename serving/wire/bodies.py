"""Request bodies: read within limits of size and time, and decoded without blocking the event loop."""

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
#: Bodies up to this many bytes are decoded in the event loop, in less than a millisecond.
_SMALL = 2**14
#: Maximum number of longer bodies that wait for the decoding thread.
_MAX_WAITING = 16
_LONGEST_SHOWN = 60


class Bodies:
    """The reader of request bodies in one event loop; one thread decodes the long bodies in turn."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "decode")
        self._waiting = 0

    async def decoded(self, request: Request, decode: Callable[[bytes], Decoded]) -> Decoded:
        """Return the result of `decode` for the JSON body of `request`.

        Raises
        ------
        NotSupported, TooLarge, TooMany, TooSlow, Refusal
            If the body cannot be read; errors of `decode` are passed on.

        """
        body = await read_json_body(request)
        if len(body) <= _SMALL:
            return decode(body)
        if self._waiting >= _MAX_WAITING:
            raise TooMany(f"{self._waiting} long bodies wait to be decoded; send it again, or in smaller requests")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, decode, body)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Stop the decoding thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def read_json_body(request: Request) -> bytes:
    """Return the body of `request`.

    Raises
    ------
    NotSupported, TooLarge, TooSlow, Refusal
        If the headers do not declare uncompressed JSON in UTF-8, the body is too long or too slow, or there is a query.

    """
    check_content_type(header(request, b"content-type"))
    _check_encoding(header(request, b"content-encoding"))
    if request.scope["query_string"]:
        raise Refusal("found a query after the path; expected everything in the body")
    length = header(request, b"content-length") or ""
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


def header(request: Request, name: bytes) -> str | None:
    """Return the first header of this name, in small letters; Starlette's headers take longer to make than to read."""
    return next((value.decode("latin-1") for found, value in request.scope["headers"] if found == name), None)


def check_content_type(content_type: str | None) -> None:
    """Check that the Content-Type header declares JSON in UTF-8.

    Raises
    ------
    NotSupported
        If it does not.

    """
    kind, _, parameters = (content_type or "nothing").lower().partition(";")
    if kind.strip() != "application/json":
        raise NotSupported(f"found the content type {_shown(kind)}; expected 'application/json'")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    if charset not in {"", "utf-8", "utf8"}:
        raise NotSupported(f"found {_shown(parameters)} after the content type; expected JSON in UTF-8")


def _check_encoding(encoding: str | None) -> None:
    if encoding is not None and encoding.strip().lower() != "identity":
        raise NotSupported(f"found the content encoding {_shown(encoding)}; expected an uncompressed body")


def _too_large() -> TooLarge:
    return TooLarge(f"found a body of more than {_LONGEST_BODY} bytes; send several requests")


def _shown(text: str) -> str:
    return repr(text.strip()[:_LONGEST_SHOWN])
