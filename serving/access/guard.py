"""The check of a request's API key or token: one is required as soon as a key was ever created, or tokens are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.access.api_key import FORM, parse_key
from serving.access.tokens import is_token
from serving.signals.trace import trace_in
from serving.wire.hosts import is_loopback
from serving.wire.refusals import Unauthorized, WrongScope
from serving.wire.scopes import KEY_HEADER, ROUTE_SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from starlette.requests import Request

    from core.access.api_key import ApiKey, KeyScope
    from serving.access.key_cache import KeyCache
    from serving.access.rate_limits import RateLimits
    from serving.access.tokens import TokenCaller, TokenGuard

_BEARER = "bearer"
_HOW_TO_SEND = f"send the header `Authorization: Bearer KEY` or `{KEY_HEADER}: KEY`"
_INVALID = ', error="invalid_token"'


class Guard:
    """The check of one worker; it reads no database and never repeats what a caller sent."""

    def __init__(
        self, keys: KeyCache, rates: RateLimits, clock: Callable[[], datetime], tokens: TokenGuard | None = None
    ) -> None:
        self._keys, self._rates, self._clock, self._tokens = keys, rates, clock, tokens

    async def check(self, request: Request) -> None:
        """Check that the caller may use the route of `request`.

        Raises
        ------
        NotAvailable
            If the keys were never read.
        Unauthorized, WrongScope, RateExceeded
            If the caller may not.

        """
        scope = ROUTE_SCOPES[request.scope["path"]]
        if scope is None:
            return
        if self._tokens is None and not self._keys.enforced:
            _refuse_other_machines(request)
            return
        text = _sent_key(request)
        if self._tokens and is_token(text):
            _check_token(request, await self._tokens.verified(text), scope)
            return
        key = self._verified(text)
        if trace := trace_in(request):
            trace.key_id = key.key_id
        if not key.allows(scope):
            raise WrongScope(
                f"the key {key.key_id} has the scopes {', '.join(key.scopes)}; expected {scope} for "
                f"{request.scope['path']}; use another key, or create one with `panthera keys create --scope {scope}`",
                scope,
            )
        self._rates.take(key)

    def _verified(self, text: str) -> ApiKey:
        """Return the stored key that `text` is."""
        plain = parse_key(text)
        if plain is None:
            raise Unauthorized(f"found no API key in the header; expected {FORM}", "malformed_key", _INVALID)
        stored = self._keys.find(plain.key_id) if self._keys.enforced else None
        if stored is None or not stored.matches(plain):
            raise Unauthorized(
                "this service does not know the API key; check that it is whole, and of this database",
                "unknown_key",
                _INVALID,
            )
        state = stored.state(self._clock())
        if state != "live":
            raise Unauthorized(
                f"the key {stored.key_id} is {state}; ask for another one (`panthera keys create`)",
                f"{state}_key",
                _INVALID,
            )
        return stored


def _check_token(request: Request, caller: TokenCaller, scope: KeyScope) -> None:
    if trace := trace_in(request):
        trace.subject = caller.subject
    if not caller.allows(scope):
        raise WrongScope(
            f"the token has the scopes {', '.join(sorted(caller.scopes)) or 'of no route'}; expected {scope} for "
            f"{request.scope['path']}; ask its issuer for a token with the scope",
            scope,
        )


def _refuse_other_machines(request: Request) -> None:
    if not is_loopback(request.client.host if request.client else None):
        raise Unauthorized(
            "the service has no API keys yet, so it answers callers on its own machine only; create a key there with "
            "`panthera keys create --scope predict --name NAME`, and send it",
            "no_keys",
        )


def _sent_key(request: Request) -> str:
    """Return the one key that the headers have."""
    keys = {*_bearer_tokens(request), *request.headers.getlist(KEY_HEADER)}
    if not keys:
        raise Unauthorized(f"this route needs an API key; {_HOW_TO_SEND}", "no_key")
    if len(keys) > 1:
        raise Unauthorized(
            f"found {len(keys)} different API keys in the headers; expected one", "several_keys", _INVALID
        )
    return keys.pop()


def _bearer_tokens(request: Request) -> Iterator[str]:
    """Yield the keys of the Authorization headers; those of other schemes may be for a proxy."""
    for value in request.headers.getlist("authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == _BEARER:
            yield token.strip()
