"""Access tokens (JWT) of an identity provider as an alternative to API keys: who calls, and with which scopes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from core.access.api_key import ADMIN, SCOPES
from core.errors import PantheraError
from core.settings import JWT_AUDIENCE_ENV, JWT_ISSUER_ENV, JWT_KEYS_ENV, JWT_SCOPES_ENV
from serving.access.token_keys import TokenKeys, check_source
from serving.wire.refusals import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from core.access.api_key import KeyScope
    from core.settings import Settings
    from serving.access.token_keys import TokenKey

#: Tolerated difference between the clocks of the issuer and of the service.
_LEEWAY_SECONDS = 30.0
_LONGEST_TOKEN = 8_192
_LONGEST_SUBJECT = 200
_MOST_REMEMBERED = 4_096
_INVALID = ', error="invalid_token"'
_REQUIRED = ["exp", "iss", "aud", "sub"]


@dataclass(frozen=True)
class TokenTerms:
    """Which tokens are accepted, and the scopes of API keys that their scopes stand for."""

    source: str
    issuer: str
    audience: str
    scopes: Mapping[str, frozenset[KeyScope]]

    @classmethod
    def of(cls, settings: Settings) -> TokenTerms | None:
        """Return the terms of the settings, None if no tokens are accepted.

        Raises
        ------
        PantheraError
            If a setting is missing or invalid.

        """
        stated = {
            JWT_KEYS_ENV: settings.jwt_keys,
            JWT_ISSUER_ENV: settings.jwt_issuer,
            JWT_AUDIENCE_ENV: settings.jwt_audience,
        }
        if not any(stated.values()):
            return None
        absent = [name for name, value in stated.items() if not value]
        if absent:
            raise PantheraError(f"{', '.join(absent)} is not set; tokens need all of {', '.join(stated)}")
        source, issuer, audience = map(str, stated.values())
        check_source(source)
        return cls(source, issuer, audience, _parse_scopes(settings.jwt_scopes))


def _parse_scopes(setting: str | None) -> Mapping[str, frozenset[KeyScope]]:
    """Return our scopes by theirs; without a setting, each stands for itself."""
    pairs = [pair.rpartition("=")[::2] for pair in (setting or " ".join(f"{name}={name}" for name in SCOPES)).split()]
    for theirs, ours in pairs:
        if not theirs or ours not in SCOPES:
            raise PantheraError(
                f"found {f'{theirs}={ours}'[:80]!r} in {JWT_SCOPES_ENV}; expected pairs THEIRS=OURS separated by blanks, "
                f"with OURS one of {', '.join(SCOPES)}"
            )
    names = {theirs for theirs, _ in pairs}
    return {name: frozenset(cast("KeyScope", ours) for theirs, ours in pairs if theirs == name) for name in names}


@dataclass(frozen=True)
class TokenCaller:
    """The caller that a token names, with the scopes of API keys that it has."""

    subject: str
    scopes: frozenset[KeyScope]
    expires: float

    def allows(self, scope: KeyScope) -> bool:
        """Return whether the token has the scope or `admin`, which includes every scope."""
        return scope in self.scopes or ADMIN in self.scopes


class TokenGuard:
    """The check of tokens in one worker; it remembers tokens whose signature was verified."""

    def __init__(self, terms: TokenTerms, keys: TokenKeys, clock: Callable[[], datetime]) -> None:
        self._terms, self.keys, self._clock = terms, keys, clock
        self._remembered: dict[str, tuple[str | None, TokenKey, TokenCaller]] = {}

    async def verified(self, token: str) -> TokenCaller:
        """Return the caller of `token`.

        Raises
        ------
        Unauthorized
            If the token is not one of the issuer for this service, or has expired; no message repeats a part of it.
        NotAvailable
            If the keys of the issuer were never read.

        """
        key_id, key, caller = self._remembered.get(token) or await self._verify(token)
        if self.keys.known(key_id) is not key:  # the issuer's keys were read again
            key_id, key, caller = await self._verify(token)
        if self._clock().timestamp() >= caller.expires + _LEEWAY_SECONDS:
            self._remembered.pop(token, None)
            raise Unauthorized("the token has expired; get a new one from its issuer", "expired_token", _INVALID)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = key_id, key, caller
        return caller

    async def _verify(self, token: str) -> tuple[str | None, TokenKey, TokenCaller]:
        if len(token) > _LONGEST_TOKEN:
            raise _refused(f"has more than {_LONGEST_TOKEN} characters")
        key_id = _key_id(token)
        key = await self.keys.find(key_id)
        if key is None:
            raise _refused("is signed by a key that its issuer does not publish")
        claims = _claims(token, key, self._terms)
        self._check_begin(claims)
        return key_id, key, _caller(claims, self._terms)

    def _check_begin(self, claims: Mapping[str, Any]) -> None:
        begin = _seconds(claims, "nbf") if "nbf" in claims else -math.inf
        if self._clock().timestamp() < begin - _LEEWAY_SECONDS:
            raise _refused("is not valid yet")


def is_token(text: str) -> bool:
    """Return whether `text` has the form of a token, which no API key has."""
    return text.count(".") == 2  # noqa: PLR2004 - header, claims and signature


def _refused(why: str) -> Unauthorized:
    return Unauthorized(f"the token {why}; send an access token of this service's issuer", "invalid_token", _INVALID)


def _key_id(token: str) -> str | None:
    import jwt  # here, since a service without tokens does not need it

    try:
        key_id = jwt.get_unverified_header(token).get("kid")
    except (jwt.InvalidTokenError, RecursionError):
        raise _refused("is not a JSON Web Token") from None
    return key_id if isinstance(key_id, str) else None


def _claims(token: str, key: TokenKey, terms: TokenTerms) -> Mapping[str, Any]:
    """Return the claims of a token that the issuer signed for this service; its times are not checked here."""
    import jwt  # here, since a service without tokens does not need it

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public_key,
            algorithms=[key.algorithm],
            audience=terms.audience,
            issuer=terms.issuer,
            options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except jwt.InvalidAudienceError:
        raise _refused("is for another audience") from None
    except jwt.InvalidIssuerError:
        raise _refused("is of another issuer") from None
    except jwt.MissingRequiredClaimError as error:
        raise _refused(f"has no claim {error.claim}") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise _refused("has no valid signature of its issuer") from None
    return claims


def _caller(claims: Mapping[str, Any], terms: TokenTerms) -> TokenCaller:
    theirs = [*_names(claims.get("scope")), *_names(claims.get("scp"))]
    ours = frozenset(scope for name in theirs for scope in terms.scopes.get(name, ()))
    return TokenCaller(str(claims["sub"])[:_LONGEST_SUBJECT], ours, _seconds(claims, "exp"))


def _names(claim: object) -> list[str]:
    """Return the names in a claim: a text with blanks (RFC 9068), or a list."""
    if isinstance(claim, str):
        return claim.split()
    return [name for name in claim if isinstance(name, str)] if isinstance(claim, list) else []


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_date(value):
        raise _refused(f"has a claim {name} that is no time")
    return float(value)


def _is_date(value: float) -> bool:
    return datetime.min.replace(tzinfo=UTC).timestamp() < value < datetime.max.replace(tzinfo=UTC).timestamp()
