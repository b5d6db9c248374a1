"""Files behind `https://` addresses: downloaded completely, with a version from the headers of the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

_SECONDS = 30.0
_TRIES = 3
_CHUNK = 1 << 20
_REFUSED = frozenset({401, 403, 407})
_GONE = frozenset({404, 410})
#: What a server says of the version of a file.
_VERSION_HEADERS = ("etag", "last-modified", "content-length")


def is_address(path: str) -> bool:
    """Return whether the path of a reader is a URL."""
    return re.match(r"https?://", path) is not None


def fetched(address: str, scratch: Path) -> Path:
    """Download the file behind `address` to `scratch`; return it.

    Raises
    ------
    SourceError
        If it cannot be downloaded completely.

    """
    import httpx

    parts = urlsplit(address)
    file = scratch / "fetched" / parts.scheme / (parts.hostname or "") / parts.path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _client() as client, client.stream("GET", address) as response, file.open("wb") as out:
            _refuse(address, response)
            for chunk in response.iter_bytes(_CHUNK):
                out.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(
            f"{without_secrets(address)} cannot be fetched ({_reason(error)}); try again, or correct it"
        ) from None
    return file


def address_version(address: str) -> str | None:
    """Return the version of a file, from its server's headers; None without them, or if the server does not answer."""
    import httpx

    try:
        with _client() as client:
            response = client.head(address)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    said = {name: response.headers[name] for name in _VERSION_HEADERS[:2] if name in response.headers}
    return repr(sorted(said.items())) if response.is_success and said else None


def without_secrets(address: str) -> str:
    """Return an address without user, password and query, which may hold a signature."""
    parts = urlsplit(address)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _client() -> httpx.Client:
    import httpx

    return httpx.Client(timeout=_SECONDS, follow_redirects=True, transport=httpx.HTTPTransport(retries=_TRIES))


def _refuse(address: str, response: httpx.Response) -> None:
    """Raise SourceError for a response that is not the file."""
    if response.is_success:
        return
    reasons = {
        **dict.fromkeys(_GONE, "there is no such file; correct the reader's path"),
        **dict.fromkeys(_REFUSED, "the server wants credentials; fetch the file and name its path"),
    }
    reason = reasons.get(response.status_code, "try again later")
    raise SourceError(f"{without_secrets(address)} answers {response.status_code} {response.reason_phrase}: {reason}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
