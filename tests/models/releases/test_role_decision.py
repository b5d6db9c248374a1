"""What becomes of the releases of a training: judged against the champion once, and given roles by what is said of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from benchmarks.small_release import FEATURES, PLAN, TEXT
from core.plan.file import parse_plan
from core.plan.train import LightGbmCandidate, MajorityCandidate
from core.postgres.database import connect
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import Revisions, bundle_contents, contract_of
from models.bundles.signing import read_signer, read_trusted
from models.candidates.candidates import fit
from models.data.split import TEST, TRAIN, part, rows_of
from models.evaluation.evaluation import CandidateResult
from models.releases import ledger, promotion
from models.releases.ledger import Act, LedgerRelease, NewRelease, Verdict
from models.releases.role_decision import compare_with_champion, decide_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import ContractFeature
    from core.plan.plan import Plan
    from core.plan.train import Candidate
    from core.roles import Role
    from core.settings import Settings
    from models.bundles.bundle import Bundle
    from models.releases.ledger import Outcome

MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def new(name: str) -> NewRelease:
    return NewRelease(name, "churn", name, f"digest-{name}", "all", "md5:1", "git:1", name, {})


def enter(url: str, *names: str) -> list[NewRelease]:
    releases = [new(name) for name in names]
    with connect(url) as connection:
        for release in releases:
            ledger.enter(connection, release)
    return releases


def roles(url: str) -> tuple[str | None, str | None]:
    with connect(url) as connection:
        found = ledger.roles(connection, "churn")
    return found["champion"], found["challenger"]


def promote(url: str, name: str, role: Role) -> None:
    with connect(url) as connection:
        release = ledger.find_release(connection, name)
        assert release is not None
        promotion.promote(connection, release, role, Act("promote", "bob", "by hand"))


def never(release: NewRelease, champion: LedgerRelease) -> Verdict:
    raise AssertionError(f"{release.release_id} was judged")


class Saying:
    """A judge whose verdict is known."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.judged: list[str] = []

    def __call__(self, release: NewRelease, champion: LedgerRelease) -> Verdict:
        self.judged.append(champion.release_id)
        return Verdict(release.release_id, champion.release_id, self.outcome, "so it is", ())


def first_training(url: str) -> None:
    decide_roles(url, enter(url, "a", "b", "c"), never, "ann")


def test_the_first_training_gives_both_roles(database_url: str) -> None:
    first_training(database_url)
    assert roles(database_url) == ("a", "b")
    with connect(database_url) as connection:
        (verdict,) = ledger.verdicts(connection, ["a"])
        history = ledger.history(connection, "churn")
    assert (verdict.outcome, verdict.against, verdict.actor) == ("first", None, "ann")
    assert [(change.cause, change.actor) for change in history] == [("register", "ann")] * 2


@pytest.mark.parametrize(
    ("outcome", "then"),
    [
        ("won", ("d", "a")),
        ("undecided", ("a", "d")),
        ("not_comparable", ("a", "d")),
        ("lost", ("a", "b")),
    ],
)
def test_a_later_training_gets_roles_by_its_verdict(
    database_url: str, outcome: Outcome, then: tuple[str | None, str | None]
) -> None:
    first_training(database_url)
    settled = decide_roles(database_url, enter(database_url, "d", "e"), Saying(outcome), "ann")
    assert roles(database_url) == then
    assert settled.words == f"d: {outcome}: so it is"
    with connect(database_url) as connection:
        assert [verdict.outcome for verdict in ledger.verdicts(connection, ["d"])] == [outcome]


def test_the_challenger_that_wins_leaves_its_role_to_the_champion_of_before(database_url: str) -> None:
    first_training(database_url)
    decide_roles(database_url, enter(database_url, "b", "a"), Saying("won"), "ann")
    assert roles(database_url) == ("b", "a")


def test_a_release_that_was_judged_is_not_judged_again_so_a_rollback_stays(database_url: str) -> None:
    first_training(database_url)
    later = enter(database_url, "d")
    decide_roles(database_url, later, Saying("won"), "ann")
    with connect(database_url) as connection:
        promotion.roll_back(connection, "churn", None, Act("rollback", "bob", "complaints"))
    settled = decide_roles(database_url, later, never, "ann")
    assert settled.verdict is None
    assert "was compared before (won, on " in settled.words
    assert roles(database_url) == ("a", None)


def test_the_champion_itself_is_not_judged(database_url: str) -> None:
    first_training(database_url)
    promote(database_url, "c", "champion")
    assert decide_roles(database_url, enter(database_url, "c"), never, "ann").words == "c is the champion already"


def test_a_challenger_that_a_person_chose_stays(database_url: str) -> None:
    first_training(database_url)
    promote(database_url, "c", "challenger")
    decide_roles(database_url, enter(database_url, "d"), Saying("undecided"), "ann")
    assert roles(database_url) == ("a", "c")
    decide_roles(database_url, enter(database_url, "e"), Saying("won"), "ann")
    assert roles(database_url) == ("e", "c")


def test_a_champion_that_changes_while_it_is_judged_is_judged_anew(database_url: str) -> None:
    first_training(database_url)
    judge = Saying("won")

    def interrupted(release: NewRelease, champion: LedgerRelease) -> Verdict:
        if not judge.judged:
            promote(database_url, "c", "champion")
        return judge(release, champion)

    decide_roles(database_url, enter(database_url, "d"), interrupted, "ann")
    assert judge.judged == ["a", "c"]
    assert roles(database_url) == ("d", "c")
    with connect(database_url) as connection:
        assert [verdict.against for verdict in ledger.verdicts(connection, ["d"])] == ["c"]


# Compared for real: bundles, test rows, and what keeps two releases from being compared.


def training_set(accounts: int = 600) -> pa.Table:
    """Two months of training, one of validation and one of test, in which few orders mean that an account leaves."""
    chance = np.random.default_rng(7)
    times = [
        datetime(2025, 12, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 30, tzinfo=UTC),
        MARCH,
    ]
    orders = chance.integers(0, 20, 4 * accounts)
    return pa.table(
        {
            "account_id": np.tile(np.arange(accounts), 4),
            "as_of": pa.array([time for time in times for _ in range(accounts)], pa.timestamp("us", tz="UTC")),
            "label": (chance.random(4 * accounts) < 1 / (1 + np.exp(0.4 * (orders - 10.0)))).astype(np.int32),
            "split": np.repeat(["train", "train", "validation", "test"], accounts),
            "history__orders": orders,
        }
    )


TABLE = training_set()


def released(settings: Settings, name: str, candidate: Candidate, table: pa.Table = TABLE) -> LedgerRelease:
    """Train a candidate, bundle it and enter it."""
    train = part(table, TRAIN)
    fitted = fit(candidate, FEATURES, rows_of(train, FEATURES), rows_of(train, FEATURES), 1)
    contract = contract_of(
        PLAN, CandidateResult(name, {}, {}, 0.5), fitted.model_format, table, Revisions("md5:1", "git:1", "sha256:1")
    )
    digest = write_bundle(settings.bundles, bundle_contents(contract, fitted.content, train), read_signer(settings))
    with psycopg.connect(settings.database_url or "") as connection:
        ledger.enter(connection, replace(new(name), bundle_digest=digest))
        found = ledger.find_release(connection, name)
    assert found is not None
    return found


TREES = LightGbmCandidate(estimator="lightgbm", rounds=30, params={"min_child_samples": 20})
MAJORITY = MajorityCandidate(estimator="majority")


def verdict(
    settings: Settings, one: NewRelease, other: LedgerRelease, plan: Plan = PLAN, table: pa.Table = TABLE
) -> Verdict:
    def load(digest: str) -> Bundle:
        return load_bundle(settings.bundles / digest, read_trusted(settings))

    def join(rows: pa.Table, features: Sequence[ContractFeature]) -> pa.Table:
        assert [feature.column for feature in features] == ["history__orders"]
        return rows.append_column("history__orders", part(TABLE, TEST).column("history__orders"))

    return compare_with_champion(plan, table, load, join, one, other, {})


def test_the_better_of_two_bundles_wins_on_the_test_rows_with_its_numbers(settings: Settings) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    won, lost = verdict(settings, trees, majority), verdict(settings, majority, trees)
    assert (won.outcome, lost.outcome) == ("won", "lost")
    area = won.checks[0]
    assert area["champion"] == 0.5
    assert 0.8 < area["challenger"] < 0.95
    assert area["lower"] < area["gain"] == area["challenger"] - 0.5 < area["upper"]
    json.dumps(won.checks, allow_nan=False)


def test_a_champion_of_another_feature_service_is_given_its_features(settings: Settings) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    narrow = TABLE.drop_columns("history__orders")
    found = verdict(settings, trees, majority, table=narrow)
    assert found.checks[0]["gain"] == verdict(settings, trees, majority).checks[0]["gain"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('sql: "count(*)"', 'sql: "count(*) + 1"', "the plan's definition of history has changed since it was trained"),
        ('value: "count(*) = 0"', 'value: "count(*) <= 1"', "it predicts another label"),
        ("horizon: 30d", "horizon: 29d", "it predicts another label"),
    ],
)
def test_a_champion_that_answers_another_question_is_not_compared(
    settings: Settings, old: str, new: str, reason: str
) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    assert TEXT.count(old) == 1
    found = verdict(settings, trees, majority, parse_plan(TEXT.replace(old, new)))
    assert found.outcome == "not_comparable"
    assert f"the champion cannot be measured on these rows: {reason}" in found.reason


def test_a_champion_that_has_seen_the_labels_of_the_test_period_is_not_compared(settings: Settings) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    earlier = shifted(TABLE, timedelta(days=-10))
    found = verdict(settings, trees, majority, table=earlier)
    assert found.outcome == "not_comparable"
    assert (
        "its labels reach until 2026-03-01, but the test rows are not its own and begin on 2026-02-19" in found.reason
    )


def test_a_champion_may_be_measured_on_the_very_rows_that_it_was_tested_on_whenever_they_were(
    settings: Settings,
) -> None:
    """Folds at random have no time that is later than another."""
    chance = np.random.default_rng(3)
    dealt = TABLE.set_column(3, "split", pa.array(chance.choice(["train", "validation", "test"], len(TABLE))))
    trees = released(settings, "trees", TREES, table=dealt)
    majority = released(settings, "majority", MAJORITY, table=dealt)
    assert verdict(settings, trees, majority, table=dealt).outcome == "won"
    dealt_anew = TABLE.set_column(3, "split", pa.array(chance.choice(["train", "validation", "test"], len(TABLE))))
    assert verdict(settings, trees, majority, table=dealt_anew).outcome == "not_comparable"


def shifted(table: pa.Table, by: timedelta) -> pa.Table:
    times = [time + by for time in table.column("as_of").to_pylist()]
    return table.set_column(1, "as_of", pa.array(times, pa.timestamp("us", tz="UTC")))


def test_a_champion_whose_bundle_is_gone_is_not_compared_and_stays(settings: Settings) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    shutil.rmtree(settings.bundles / majority.bundle_digest)
    found = verdict(settings, trees, majority)
    assert found.outcome == "not_comparable"
    assert "the champion's bundle cannot be loaded" in found.reason


def test_the_test_rows_alone_are_compared(settings: Settings) -> None:
    trees, majority = released(settings, "trees", TREES), released(settings, "majority", MAJORITY)
    test_only = part(TABLE, TEST)
    assert verdict(settings, trees, majority, table=test_only).checks[0]["gain"] == pytest.approx(
        verdict(settings, trees, majority).checks[0]["gain"], abs=1e-12
    )
