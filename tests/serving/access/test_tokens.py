"""Access tokens of an identity provider: what is accepted, every way to be refused, and keys that change."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from core.errors import PantheraError
from serving.access.token_keys import TokenKeys, parse_keys
from serving.access.tokens import TokenTerms
from serving.signals.completed import CompletedRequests
from serving.signals.log_lines import REQUESTS
from serving.wire.openapi import describe
from serving.wire.scopes import ROUTE_SCOPES
from tests.serving.access.conftest import REQUESTS as SOUND
from tests.serving.access.conftest import STATUSES, bearer, make_key, status_of
from tests.serving.conftest import NOW, Client, World, assert_is_problem, serve

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

ISSUER, AUDIENCE = "https://login.example.com/", "churn-service"
NOW_SECONDS = int(NOW.timestamp())


@dataclass(frozen=True)
class Signer:
    """A key of the issuer."""

    key_id: str
    algorithm: str
    private: Any

    def jwk(self) -> dict[str, Any]:
        kind: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[self.algorithm]
        return {**json.loads(kind.to_jwk(self.private.public_key())), "kid": self.key_id, "use": "sig"}

    def token(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token that is valid for a minute, with other claims; None removes one."""
        stated = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW_SECONDS + 60, "scope": "read", **claims}
        kept = {name: value for name, value in stated.items() if value is not None}
        return jwt.encode(kept, self.private, self.algorithm, headers={"kid": self.key_id, **(headers or {})})


@cache
def signer(algorithm: str, key_id: str = "") -> Signer:
    private: Any = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[algorithm]()
    return Signer(key_id or algorithm, algorithm, private)


ES = signer("ES256")


def write_keys(path: Path, *signers: Signer) -> None:
    path.write_text(json.dumps({"keys": [one.jwk() for one in signers]}))


@pytest.fixture
def trusting(world: World, tmp_path: Path) -> World:
    """A world whose service accepts tokens of three keys."""
    keys = tmp_path / "keys.json"
    write_keys(keys, ES, signer("RS256"), signer("EdDSA"))
    world.settings = replace(
        world.settings,
        jwt_keys=str(keys),
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        jwt_scopes="read=read churn.predict=predict churn.predict=features ops=admin",
    )
    return world


async def _get(client: Client, token: str) -> tuple[int, str]:
    response = await client.http.get("/v1/status", headers=bearer(token))
    if response.status_code == 200:
        return 200, ""
    assert_is_problem(response, response.json()["error"]["code"])
    assert token not in response.text
    return response.status_code, response.json()["error"]["code"]


def test_a_token_of_each_algorithm_is_accepted_for_its_scopes_only(trusting: World) -> None:
    async def use(client: Client) -> None:
        for algorithm in ("RS256", "ES256", "EdDSA"):
            assert await _get(client, signer(algorithm).token()) == (200, "")
        allowed = {
            "churn.predict": {"predict", "features"},
            "other read": {"read"},
            "ops": {"predict", "features", "push", "outcomes", "read"},
            "admin": set(),
        }
        for theirs, ours in allowed.items():
            for route, scope in ROUTE_SCOPES.items():
                if scope:
                    found = await status_of(client, route, bearer(ES.token(scope=theirs)))
                    assert (theirs, route, found) == (theirs, route, STATUSES[route] if scope in ours else 403)
        assert await _get(client, ES.token(scope=None, scp=["read"])) == (200, "")
        assert await _get(client, ES.token(aud=["another", AUDIENCE])) == (200, "")
        assert await _get(client, ES.token(scope=None)) == (403, "wrong_scope")

    serve(trusting, use)


def test_every_other_token_is_refused(trusting: World) -> None:
    public = ES.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = Signer("ES256", "ES256", ec.generate_private_key(ec.SECP256R1()))
    claims = jwt.decode(ES.token(), options={"verify_signature": False})
    # A JWT library refuses to use a public key as a secret, so the token is composed by hand.
    with_public_key = _signed_by_hand(claims, public)
    refused = {
        "unsigned": jwt.encode(claims, "", "none", headers={"kid": "ES256"}),
        "public key as a secret": with_public_key,
        "secret": jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "ES256"}),
        "another key": stranger.token(),
        "the key of another algorithm": ES.token({"kid": "RS256"}),
        "an unknown key": ES.token({"kid": "nobody"}),
        "no key id": jwt.encode(claims, ES.private, "ES256"),
        "another issuer": ES.token(iss="https://evil.example.com/"),
        "another audience": ES.token(aud="another"),
        "no audience": ES.token(aud=None),
        "no subject": ES.token(sub=None),
        "no end": ES.token(exp=None),
        "an end that is no time": ES.token(exp="tomorrow"),
        "an end beyond every time": ES.token(exp=1e300),
        "not yet valid": ES.token(nbf=NOW_SECONDS + 3_600),
        "changed": ES.token()[:-6] + "AAAAAA",
        "no token": "a.b.c",
        "too long": ES.token(more="x" * 9_000),
        "critical header": ES.token({"crit": ["exp"]}),
    }

    async def use(client: Client) -> None:
        for kind, token in refused.items():
            assert (kind, await _get(client, token)) == (kind, (401, "invalid_token"))
        assert await _get(client, ES.token(exp=NOW_SECONDS - 31)) == (401, "expired_token")
        assert await _get(client, ES.token(exp=NOW_SECONDS - 20)) == (200, "")  # the clocks may differ
        both = await client.http.get("/v1/status", headers={**bearer(ES.token()), "X-API-Key": "pp_live_1"})
        assert_is_problem(both, "several_keys")
        assert (await client.http.get("/v1/status")).status_code == 401  # also from this machine

    serve(trusting, use)


def _signed_by_hand(claims: dict[str, Any], secret: bytes) -> str:
    import base64
    import hashlib
    import hmac

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "kid": "ES256", "typ": "JWT"}).encode())
    signed = head + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def test_a_remembered_token_ends_with_its_time_and_with_its_key(trusting: World) -> None:
    async def use(client: Client) -> None:
        guard = client.app.state.guard._tokens
        token, later = ES.token(), ES.token(exp=NOW_SECONDS + 600)
        assert await _get(client, token) == await _get(client, token) == (200, "")
        guard._clock = lambda: NOW.replace(minute=2)
        assert await _get(client, token) == (401, "expired_token")
        assert await _get(client, later) == (200, "")
        write_keys(_path(trusting), signer("ES256", "next"))
        guard.keys._next_read = 0
        await guard.keys.refresh()
        assert await _get(client, later) == (401, "invalid_token")

    serve(trusting, use)


def _path(world: World) -> Path:
    from pathlib import Path

    return Path(world.settings.jwt_keys or "")


def test_an_unknown_key_is_looked_for_once_a_minute(trusting: World) -> None:
    now = [0.0]

    async def use(client: Client) -> None:
        keys = client.app.state.guard._tokens.keys = TokenKeys(str(_path(trusting)), lambda: now[0])
        rotated = signer("ES256", "next")
        assert await _get(client, ES.token()) == (200, "")
        write_keys(_path(trusting), ES, rotated)
        assert await _get(client, rotated.token()) == (401, "invalid_token")  # read less than a minute ago
        now[0] = 61.0
        assert await _get(client, rotated.token()) == (200, "")
        _path(trusting).write_text("{}")
        now[0] = 122.0
        assert await _get(client, signer("ES256", "third").token()) == (401, "invalid_token")
        assert await _get(client, ES.token()) == (200, "")  # a failed read changes nothing
        assert keys.known("next")

    serve(trusting, use)


def test_tokens_wait_for_a_set_that_was_never_read_and_keys_do_not(trusting: World) -> None:
    trusting.settings = replace(trusting.settings, jwt_keys="http://127.0.0.1:1/keys")
    key = make_key(trusting, "read")

    async def use(client: Client) -> None:
        assert await _get(client, ES.token()) == (503, "unavailable")
        assert await _get(client, key) == (200, "")

    serve(trusting, use)


async def _serve_keys(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = json.dumps({"keys": [ES.jwk()]}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


def test_the_keys_come_from_a_url(trusting: World) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_serve_keys, "127.0.0.1", 0)
        async with server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
            assert await TokenKeys(address).find("ES256")
            keys = TokenKeys(address)
            assert await keys.find("nobody") is None

    asyncio.run(run())


def test_the_log_of_requests_names_the_subject(trusting: World, caplog: pytest.LogCaptureFixture) -> None:
    async def use(client: Client) -> None:
        client.app.state.completed = CompletedRequests(client.app.state.meters, log=True)
        with caplog.at_level("INFO", REQUESTS.name):
            await _get(client, ES.token(sub="service-account-7"))
        (record,) = [record for record in caplog.records if record.name == REQUESTS.name]
        assert record.panthera_fields["subject"] == "service-account-7"  # type: ignore[attr-defined]

    serve(trusting, use)


def test_the_description_has_tokens_only_if_they_are_accepted(trusting: World) -> None:
    async def use(client: Client) -> None:
        described = (await client.http.get("/openapi.json", headers=bearer(ES.token()))).json()
        assert described["components"]["securitySchemes"]["token"]["bearerFormat"] == "JWT"
        security = described["paths"]["/v1/predict"]["post"]["security"]
        assert {"token": ["predict"]} in security
        assert "token" not in describe(client.app.state.runtime.plan)["components"]["securitySchemes"]

    serve(trusting, use)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"jwt_audience": None}, "PANTHERA_JWT_AUDIENCE is not set"),
        ({"jwt_keys": None}, "PANTHERA_JWT_KEYS is not set"),
        ({"jwt_keys": "http://login.example.com/keys"}, "expected https://"),
        ({"jwt_keys": "nothing.json"}, "cannot be read"),
        ({"jwt_scopes": "read=everything"}, "expected pairs THEIRS=OURS"),
        ({"jwt_scopes": "read"}, "expected pairs THEIRS=OURS"),
    ],
)
def test_settings_that_cannot_hold_are_refused_at_the_start(
    trusting: World, changed: dict[str, str | None], message: str
) -> None:
    settings: Settings = replace(trusting.settings, **changed)  # type: ignore[arg-type]
    with pytest.raises(PantheraError, match=message):
        TokenTerms.of(settings)


def test_keys_that_are_secret_weak_or_for_encryption_are_not_used() -> None:
    short = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - to be refused
    weak = {**json.loads(RSAAlgorithm.to_jwk(short)), "kid": "weak"}
    unused = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        weak,
        {**ES.jwk(), "use": "enc"},
        {**ES.jwk(), "alg": "HS256"},
        {**ES.jwk(), "alg": "none"},
        json.loads(ECAlgorithm.to_jwk(ES.private)),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"},
    ]
    for content in (json.dumps({"keys": unused}), "{}", "[]", "null", '{"keys": [1]}', "no json"):
        with pytest.raises(PantheraError):
            parse_keys(content.encode(), "keys.json")
    assert list(parse_keys(json.dumps({"keys": [*unused, ES.jwk()]}).encode(), "")) == ["ES256"]


def test_every_route_is_tried() -> None:
    assert set(SOUND) == {route for route, scope in ROUTE_SCOPES.items() if scope}
