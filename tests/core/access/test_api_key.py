"""API keys by themselves: what has the form of a key, and what a stored one accepts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from core.access.api_key import SCOPES, ApiKey, generate_key, holds_key, id_in, parse_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID = "0123456789ab"
TEXT = f"pp_test_{ID}_{'0123456789abcdef' * 4}"


def stored(*scopes: str, expires_at: datetime | None = None, revoked_at: datetime | None = None) -> ApiKey:
    digest = sha256(TEXT.encode()).digest()
    return ApiKey(
        ID, "test", None, digest, scopes, None, expires_at, None, NOW, "ann", "trial", revoked_at, "ben", "leaked"
    )


def test_a_generated_key_has_256_random_bits_and_is_parsed_into_its_parts() -> None:
    key, other = generate_key("live"), generate_key("live")
    assert re.fullmatch(r"pp_live_[0-9a-f]{12}_[0-9a-f]{64}", key.text)
    assert parse_key(key.text) == key
    assert key.text[-64:] != other.text[-64:]
    assert not key.is_guessable


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pp",
        TEXT[:-1],
        f"{TEXT}0",
        f"{TEXT}\n",
        f" {TEXT}",
        TEXT.upper(),
        TEXT.replace("pp_", "sk_"),
        TEXT.replace("test", "te-st"),
        TEXT.replace("test", ""),
        TEXT.replace(ID, "0123456789aé"),
        TEXT.replace("0", "\N{ARABIC-INDIC DIGIT ZERO}"),
        TEXT * 1000,
    ],
)
def test_what_has_not_the_form_of_a_key_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_a_stored_key_accepts_itself_and_no_other_secret_environment_or_id() -> None:
    key = stored("predict")
    for text, expected in {
        TEXT: True,
        f"{TEXT[:-1]}0": False,
        TEXT.replace("_test_", "_live_"): False,
        TEXT.replace(ID, "0123456789ac"): False,
    }.items():
        plain = parse_key(text)
        assert plain is not None
        assert key.matches(plain) is expected


def test_the_scope_admin_has_all_others_and_any_other_has_itself() -> None:
    assert all(stored("admin").allows(scope) for scope in SCOPES)
    for mine in set(SCOPES) - {"admin"}:
        assert [scope for scope in SCOPES if stored(mine).allows(scope)] == [mine]


def test_a_key_ends_at_the_instant_of_its_expiry_and_a_revoked_one_is_called_revoked() -> None:
    key = stored("read", expires_at=NOW)
    assert key.state(NOW - timedelta(microseconds=1)) == "live"
    assert key.state(NOW) == "expired"
    assert stored("read", expires_at=NOW, revoked_at=NOW).state(NOW) == "revoked"


def test_neither_text_nor_hash_of_a_key_is_in_its_representation() -> None:
    plain = parse_key(TEXT)
    assert plain is not None
    assert "abcdef" not in repr(plain)
    assert repr(plain.digest) not in repr(stored("read"))


def test_the_id_of_a_key_is_taken_from_the_id_or_the_whole_key() -> None:
    assert id_in(ID) == id_in(TEXT) == ID
    assert id_in("storefront") is id_in(ID.upper()) is id_in(TEXT[:-1]) is None


def test_a_key_is_found_within_a_text() -> None:
    assert holds_key(f"leaked: {TEXT}, in a mail")
    assert not holds_key(f"leaked: {ID}, in a mail")


def test_a_placeholder_is_a_guessable_secret() -> None:
    plain = parse_key(f"pp_live_{ID}_{'0' * 64}")
    assert plain is not None
    assert plain.is_guessable
