"""The keys in the database: created, rotated, revoked, and nothing of them rewritten."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING

import psycopg
import pytest

from core.access.api_key import generate_key
from core.access.key_table import Change, KeyTerms, adopt_admin_key, create_key, fetch_keys, revoke_key, rotate_key
from core.errors import PantheraError
from core.postgres.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN, BEN = Change("ann", "a new shop"), Change("ben", "found in a mail")


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as connection:
        yield connection


def test_a_key_is_kept_with_its_terms_and_who_made_it_why(connection: psycopg.Connection) -> None:
    terms = KeyTerms(("push", "predict", "push"), "shop", timedelta(days=90), 2.5, "test")
    plain = create_key(connection, terms, ANN)
    (key,) = fetch_keys(connection)
    assert (key.key_id, key.environment, key.name, key.rate) == (plain.key_id, "test", "shop", 2.5)
    assert tuple(key.scopes) == ("predict", "push")
    assert key.expires_at == key.created_at + timedelta(days=90)
    assert (key.created_by, key.reason, key.revoked_at) == ("ann", "a new shop", None)
    assert key.matches(plain)


def test_a_revocation_is_kept_with_who_why_and_when_and_happens_once(connection: psycopg.Connection) -> None:
    key_id = create_key(connection, KeyTerms(("read",)), ANN).key_id
    revoke_key(connection, key_id, BEN)
    (key,) = fetch_keys(connection)
    assert (key.revoked_by, key.revoked_why) == ("ben", "found in a mail")
    assert key.revoked_at is not None
    for again in (revoke_key, rotate_key):
        with pytest.raises(PantheraError, match=rf"the key {key_id} was revoked at .* by ben \(found in a mail\)"):
            again(connection, key_id, ANN)
    with pytest.raises(PantheraError, match="no key ffffffffffff; `panthera keys list`"):
        revoke_key(connection, "ffffffffffff", BEN)


def test_a_rotation_makes_a_second_live_key_of_the_same_terms_and_no_third(connection: psycopg.Connection) -> None:
    terms = KeyTerms(("predict",), "shop", timedelta(days=90), 5.0, "test")
    old = create_key(connection, terms, ANN)
    new = rotate_key(connection, old.key_id, BEN)
    first, second = fetch_keys(connection)
    assert (first.revoked_at, second.revoked_at, second.replaces) == (None, None, old.key_id)
    for name in ("environment", "name", "scopes", "rate"):
        assert getattr(first, name) == getattr(second, name)
    assert second.expires_at == second.created_at + timedelta(days=90)
    assert second.matches(new)
    with pytest.raises(PantheraError, match=rf"to {new.key_id}, which is not revoked; revoke one of the two"):
        rotate_key(connection, old.key_id, BEN)
    revoke_key(connection, new.key_id, BEN)
    assert rotate_key(connection, old.key_id, BEN).key_id not in {old.key_id, new.key_id}


def test_the_admin_key_of_the_environment_is_stored_once_and_stays_revoked(connection: psycopg.Connection) -> None:
    text = generate_key().text
    first = adopt_admin_key(connection, text, ANN)
    assert adopt_admin_key(connection, text, BEN) == first
    assert (tuple(first.scopes), first.created_by) == (("admin",), "ann")
    revoke_key(connection, first.key_id, BEN)
    assert adopt_admin_key(connection, text, ANN).revoked_by == "ben"
    assert len(fetch_keys(connection)) == 1


def test_an_admin_key_that_is_malformed_or_guessable_is_refused_and_not_quoted(connection: psycopg.Connection) -> None:
    for text in ("hunter2", "pp_live_0123456789ab_" + "0" * 64, "pp_live_" + "0123456789abcdef" * 4):
        with pytest.raises(PantheraError, match=r"PANTHERA_ADMIN_KEY .*openssl rand") as refused:
            adopt_admin_key(connection, text, ANN)
        assert text not in str(refused.value)
    assert fetch_keys(connection) == []


def test_an_admin_key_with_the_id_of_another_key_is_refused(connection: psycopg.Connection) -> None:
    key, other = create_key(connection, KeyTerms(("read",)), ANN), generate_key()
    with pytest.raises(PantheraError, match=f"has the id {key.key_id}, which another key"):
        adopt_admin_key(connection, other.text.replace(other.key_id, key.key_id), ANN)


def test_no_key_and_no_change_can_be_taken_out_so_that_the_service_opens(database_url: str) -> None:
    with connect(database_url) as connection:
        create_key(connection, KeyTerms(("read",)), ANN)
    statements = ("DELETE FROM panthera.{}", "TRUNCATE panthera.{} CASCADE", "UPDATE panthera.{} SET key_id = NULL")
    for table, statement in product(("api_key", "api_key_change"), statements):
        with psycopg.connect(database_url) as bare, pytest.raises(psycopg.errors.RaiseException, match="is a history"):
            bare.execute(statement.format(table).encode())
