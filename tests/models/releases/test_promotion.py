"""Who answers after promotions, rollbacks and retirements, and what is refused."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ReleaseError
from models.releases import ledger
from models.releases.ledger import Act, LedgerRelease, NewRelease, RoleChange
from models.releases.promotion import champion_chain, promote, retire, roll_back

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMOTE, ROLLBACK, RETIRE = (Act(cause, "ann", "because") for cause in ("promote", "rollback", "retire"))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A ledger with the releases a, b, c and d, none of which has a role."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        for name in "abcd":
            ledger.enter(opened, NewRelease(name, "churn", name, f"d{name}", "service", "md5:1", "git:1", name, {}))
        yield opened


def named(connection: psycopg.Connection, release_id: str) -> LedgerRelease:
    found = ledger.find_release(connection, release_id)
    assert found is not None
    return found


def held(connection: psycopg.Connection) -> tuple[str | None, str | None]:
    roles = ledger.roles(connection, "churn")
    return roles["champion"], roles["challenger"]


def test_a_challenger_that_becomes_champion_is_no_longer_the_challenger(connection: psycopg.Connection) -> None:
    promote(connection, named(connection, "a"), "champion", PROMOTE)
    promote(connection, named(connection, "b"), "challenger", PROMOTE)
    assert held(connection) == ("a", "b")
    promote(connection, named(connection, "b"), "champion", PROMOTE)
    assert held(connection) == ("b", None)


def test_a_rollback_goes_one_step_back_and_the_next_one_further(connection: psycopg.Connection) -> None:
    for name in "abc":
        promote(connection, named(connection, name), "champion", PROMOTE)
    promote(connection, named(connection, "a"), "challenger", PROMOTE)
    assert roll_back(connection, "churn", None, ROLLBACK) == "b"
    assert held(connection) == ("b", "a")
    assert roll_back(connection, "churn", None, ROLLBACK) == "a"
    assert held(connection) == ("a", None)
    with pytest.raises(ReleaseError, match="a is the first champion of 'churn': there is no earlier one"):
        roll_back(connection, "churn", None, ROLLBACK)


def test_a_rollback_goes_to_any_earlier_champion(connection: psycopg.Connection) -> None:
    for name in "abc":
        promote(connection, named(connection, name), "champion", PROMOTE)
    assert roll_back(connection, "churn", "a", ROLLBACK) == "a"
    # Back to one that a rollback left behind: it was a champion, too.
    assert roll_back(connection, "churn", "c", ROLLBACK) == "c"
    assert roll_back(connection, "churn", None, ROLLBACK) == "a"


def test_a_promotion_after_a_rollback_is_rolled_back_to_where_it_came_from(connection: psycopg.Connection) -> None:
    for name in "ab":
        promote(connection, named(connection, name), "champion", PROMOTE)
    roll_back(connection, "churn", None, ROLLBACK)
    promote(connection, named(connection, "c"), "champion", PROMOTE)
    assert roll_back(connection, "churn", None, ROLLBACK) == "a"


def test_what_cannot_be_is_refused_and_leaves_no_entry(connection: psycopg.Connection) -> None:
    with pytest.raises(ReleaseError, match="'churn' has no champion; run `dvc repro`"):
        roll_back(connection, "churn", None, ROLLBACK)
    with pytest.raises(ReleaseError, match="has no champion to challenge"):
        promote(connection, named(connection, "a"), "challenger", PROMOTE)
    promote(connection, named(connection, "a"), "champion", PROMOTE)
    before = ledger.history(connection, "churn")
    with pytest.raises(ReleaseError, match="a is the champion of 'churn' already; nothing was changed"):
        promote(connection, named(connection, "a"), "champion", PROMOTE)
    with pytest.raises(ReleaseError, match="a is the champion of 'churn', expected another release"):
        promote(connection, named(connection, "a"), "challenger", PROMOTE)
    with pytest.raises(ReleaseError, match="a is the champion of 'churn' already"):
        roll_back(connection, "churn", "a", ROLLBACK)
    with pytest.raises(ReleaseError, match="b was never the champion of 'churn'; use `panthera promote`"):
        roll_back(connection, "churn", "b", ROLLBACK)
    with pytest.raises(ReleaseError, match="only a challenger can be retired"):
        retire(connection, named(connection, "a"), RETIRE)
    with pytest.raises(ReleaseError, match="b has no role of 'churn'; nothing was changed"):
        retire(connection, named(connection, "b"), RETIRE)
    assert ledger.history(connection, "churn") == before


def test_a_retired_challenger_has_no_role(connection: psycopg.Connection) -> None:
    promote(connection, named(connection, "a"), "champion", PROMOTE)
    promote(connection, named(connection, "b"), "challenger", PROMOTE)
    retire(connection, named(connection, "b"), RETIRE)
    assert held(connection) == ("a", None)
    assert [change.cause for change in ledger.history(connection, "churn")] == ["promote", "promote", "retire"]


def test_promotions_at_once_come_one_after_another(connection: psycopg.Connection, database_url: str) -> None:
    promote(connection, named(connection, "a"), "champion", PROMOTE)

    def become_champion(name: str) -> None:
        with psycopg.connect(database_url) as own:
            promote(own, named(own, name), "champion", PROMOTE)

    threads = [threading.Thread(target=become_champion, args=name) for name in "bcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = ledger.history(connection, "churn")
    assert sorted(change.release_id or "" for change in history) == list("abcd")
    assert [change.replaced for change in history[1:]] == [change.release_id for change in history[:-1]]


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.one_of(st.sampled_from("abcd"), st.none()), max_size=30))
def test_each_rollback_takes_away_the_last_promotion_that_still_stands(steps: list[str | None]) -> None:
    changes: list[RoleChange] = []
    oracle: list[str] = []
    for number, step in enumerate(steps):
        if step is None and len(oracle) > 1:
            oracle.pop()
            changes.append(RoleChange(number, "champion", oracle[-1], None, "rollback", "ann", "", NOW))
        elif step is not None and (not oracle or oracle[-1] != step):
            oracle.append(step)
            changes.append(RoleChange(number, "champion", step, None, "promote", "ann", "", NOW))
    assert champion_chain(changes) == oracle
