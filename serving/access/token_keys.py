"""The keys that sign access tokens: a JWK Set from a file or a URL, read again as its keys change."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.errors import PantheraError
from core.settings import JWT_KEYS_ENV
from serving.wire.hosts import is_loopback
from serving.wire.refusals import NotAvailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOGGER = logging.getLogger(__name__)
#: By type and curve of a key. A key verifies one algorithm, whatever a token says; none of these is symmetric.
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
ALGORITHMS = tuple(_ALGORITHMS.values())
_SHORTEST_RSA = 2048
_LONGEST_SET = 2**20
_SECONDS_TO_FETCH = 3.0
#: The least time between two reads, whatever tokens come.
_SECONDS_BETWEEN_READS = 60.0
#: A key that the issuer withdraws is refused within this time.
_SECONDS_TO_WITHDRAW = 300.0


@dataclass(frozen=True)
class TokenKey:
    """A public key, with the one algorithm that it verifies."""

    public_key: Any
    algorithm: str


class TokenKeys:
    """The keys as the last read found them; a failed read leaves them as they are."""

    def __init__(self, source: str, clock: Callable[[], float] = monotonic) -> None:
        self._source, self._clock = source, clock
        self._keys: Mapping[str | None, TokenKey] | None = None
        self._next_read = float("-inf")
        self._reading = asyncio.Lock()

    def known(self, key_id: str | None) -> TokenKey | None:
        """Return the key with this id; without an id, the only key of the set."""
        keys = self._keys or {}
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        return keys.get(key_id)

    async def find(self, key_id: str | None) -> TokenKey | None:
        """Return the key with this id; if it is not known, read the set first, at most once a minute.

        Raises
        ------
        NotAvailable
            If the set was never read.

        """
        found = self.known(key_id)
        if found is None:
            await self.refresh()
            found = self.known(key_id)
        if self._keys is None:
            raise NotAvailable("the keys of the token's issuer cannot be read; the service's log says why")
        return found

    async def refresh(self) -> None:
        """Read the set, unless it was read within the last minute; if that fails, log it."""
        async with self._reading:
            if self._clock() < self._next_read:
                return
            self._next_read = self._clock() + _SECONDS_BETWEEN_READS
            try:
                self._keys = parse_keys(await _read(self._source), self._source)
            except PantheraError as error:
                _LOGGER.warning("%s", error)

    async def follow(self) -> None:
        """Read the set now, and again every five minutes."""
        while True:
            await self.refresh()
            await asyncio.sleep(_SECONDS_TO_WITHDRAW)


def check_source(source: str) -> None:
    """Check that `source` is an https URL, or a file with usable keys; a URL is not fetched.

    Raises
    ------
    PantheraError
        If it is not.

    """
    if not _is_url(source):
        parse_keys(_read_file(source), source)


def _is_url(source: str) -> bool:
    """Return whether `source` is a URL; raise PantheraError for one that anybody on its way could answer."""
    parts = urlsplit(source)
    if "://" not in source:
        return False
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname)):
        return True
    raise PantheraError(f"{JWT_KEYS_ENV} has a URL with {parts.scheme}://; expected https:// or the path of a file")


async def _read(source: str) -> bytes:
    return await _fetch(source) if _is_url(source) else await asyncio.to_thread(_read_file, source)


def _read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LONGEST_SET)
    except OSError as error:
        raise PantheraError(f"{JWT_KEYS_ENV} names {path}, which cannot be read ({error.strerror})") from None


async def _fetch(url: str) -> bytes:
    import httpx  # here, since a service without tokens does not need it

    content = b""
    try:
        async with (
            asyncio.timeout(_SECONDS_TO_FETCH),
            httpx.AsyncClient() as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as response,
        ):
            if not response.is_success:
                raise PantheraError(f"{JWT_KEYS_ENV}: {url} answered with status {response.status_code}; expected 200")
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _LONGEST_SET:
                    break  # what was read so far is not JSON
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise PantheraError(
            f"{JWT_KEYS_ENV}: {url} cannot be fetched ({reason}); tokens of known keys are accepted"
        ) from None
    return content


def parse_keys(content: bytes, source: str) -> Mapping[str | None, TokenKey]:
    """Return the usable keys of a JWK Set by id.

    Raises
    ------
    PantheraError
        If it is no JWK Set, or has no key of an accepted type.

    """
    try:
        entries = json.loads(content)["keys"]
        keys = {entry.get("kid"): key for entry in entries if (key := _key(entry))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PantheraError(
            f"{JWT_KEYS_ENV}: {source} is not a JWK Set (RFC 7517), an object with a list `keys`"
        ) from None
    if not keys:
        raise PantheraError(
            f"{JWT_KEYS_ENV}: {source} has no key for {', '.join(ALGORITHMS)}; expected a public key of one of them, RSA with "
            f"{_SHORTEST_RSA} bits or more"
        )
    return keys


def _key(entry: Mapping[str, Any]) -> TokenKey | None:
    """Return the public key of a JWK; None for one that is for something else, or too weak."""
    from jwt import PyJWK, PyJWTError  # here, since a service without tokens does not need it

    algorithm = _ALGORITHMS.get((entry.get("kty", ""), entry.get("crv")))
    if (
        algorithm is None
        or entry.get("use", "sig") != "sig"
        or entry.get("alg", algorithm) != algorithm
        or "d" in entry
    ):
        return None
    try:
        key: Any = PyJWK(dict(entry), algorithm).key
    except PyJWTError:
        return None
    if algorithm == "RS256" and key.key_size < _SHORTEST_RSA:
        return None
    return TokenKey(key, algorithm)
