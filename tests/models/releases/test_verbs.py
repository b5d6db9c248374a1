"""The verbs about releases: on real bundles, a real ledger and a real MLflow."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from benchmarks.small_release import PLAN, TABLE, enter
from core.errors import BundleError, PantheraError, ReleaseError, StaleStateError
from models.releases import ledger
from models.releases.ledger import Verdict
from models.releases.verbs import list_verb, promote_verb, retire_verb, rollback_verb, show_verb, sign_verb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def fill(url: str) -> None:
    """Bring five accounts online: account n has n orders."""
    with psycopg.connect(url) as connection:
        connection.execute(
            f"CREATE TABLE online.{TABLE} (account_id int8 PRIMARY KEY, event_timestamp timestamptz NOT NULL, "
            "created_timestamp timestamptz NOT NULL, orders int8)".encode()
        )
        connection.execute(
            f"INSERT INTO online.{TABLE} SELECT n, '2026-03-01Z', '2026-03-01Z', n FROM generate_series(1, 5) AS n".encode()
        )
        connection.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'history', %s, '2026-03-01Z', 5)", [TABLE]
        )


@pytest.fixture
def places(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a filled online table; the actor is named, and MLflow fails at once where it is not meant."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    fill(settings.database_url or "")
    return replace(settings, actor="ann")


@pytest.fixture
def without_mlflow(places: Settings) -> Settings:
    """The same with an MLflow that is away: a change of roles must not wait for it."""
    return replace(places, mlflow_url="http://127.0.0.1:9")


def champion(settings: Settings) -> str | None:
    with psycopg.connect(settings.database_url or "") as connection:
        return ledger.roles(connection, "churn")["champion"]


def test_roles_change_and_mlflow_follows(places: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.releases.registry import CandidateRun, open_registry

    monkeypatch.setenv("HOME", str(tmp_path))
    url = places.database_url or ""
    with open_registry(places, url, "world", "churn") as registry:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            entered = enter(places, name)
            run = CandidateRun(name, {}, {}, {"bundle_digest": entered.bundle_digest}, tmp_path / name)
            with psycopg.connect(url) as connection:
                release = replace(entered, release_id=f"{name}-v", registry_version=registry.register(run))
                ledger.enter(connection, release)
    first = promote_verb(places, PLAN, "one-v", "champion", "the first")
    assert first.mlflow_problem is None
    promote_verb(places, PLAN, "two-v", "challenger", "to compare")
    assert promote_verb(places, PLAN, "two-v", "champion", "better").roles == {"champion": "two-v", "challenger": None}
    back = rollback_verb(places, PLAN, None, "worse after all")
    assert back.to_dict() == {
        "model": "churn",
        "roles": {"champion": "one-v", "challenger": None},
        "mlflow_problem": None,
    }
    import mlflow

    from core.postgres.database import sqlalchemy_url

    aliases = mlflow.MlflowClient(*[sqlalchemy_url(url, "mlflow")] * 2).get_registered_model("churn").aliases
    assert {role: str(version) for role, version in aliases.items()} == {"champion": "1"}


def test_a_change_does_not_wait_for_mlflow_and_says_that_it_is_behind(without_mlflow: Settings) -> None:
    enter(without_mlflow, "one")
    found = promote_verb(without_mlflow, PLAN, "one", "champion", "the first")
    assert champion(without_mlflow) == "one"
    assert "MLflow (http://127.0.0.1:9) refuses" in (found.mlflow_problem or "")


def test_the_story_of_a_release_says_who_did_what_and_why(without_mlflow: Settings) -> None:
    for name, cut in (("one", 10), ("two", 20)):
        enter(without_mlflow, name, cut=cut)
        promote_verb(without_mlflow, PLAN, name, "champion", f"because of {name}")
    said = Verdict("two", "one", "won", "better", [{"check": "roc_auc", "passed": True, "found": "+0.1"}])
    with psycopg.connect(without_mlflow.database_url or "") as connection:
        ledger.enter_verdict(connection, "churn", said, "ann")
        connection.execute(
            "INSERT INTO panthera.prediction VALUES (gen_random_uuid(), '1', now(), 'two', 'e', 'champion', 0.5, 'd', "
            "'{}', '{}', '{}', now())"
        )
    rollback_verb(without_mlflow, PLAN, None, "too many complaints")
    story = show_verb(without_mlflow, PLAN, "two")
    found = json.loads(json.dumps(story.to_dict()))
    assert (found["role"], found["fault"]) == (None, None)
    assert (found["release"]["data_revision"], found["contract"]["lock"]) == ("md5:1", "sha256:1")
    assert [feature["name"] for feature in found["contract"]["features"]] == ["orders"]
    assert found["views"] == [
        {
            "name": "history",
            "definition": "f" * 64,
            "online_table": "history__1",
            "filled_until": "2026-03-01T00:00:00+00:00",
        }
    ]
    assert [verdict["outcome"] for verdict in found["verdicts"]] == ["won"]
    assert [(row["release_id"], row["replaced"], row["cause"], row["reason"]) for row in found["changes"]] == [
        ("two", "one", "promote", "because of two"),
        ("one", "two", "rollback", "too many complaints"),
    ]
    assert {row["actor"] for row in found["changes"]} == {"ann"}
    assert [(day["arm"], day["predictions"]) for day in found["served"]] == [("champion", 1)]


def test_story_and_list_can_be_laid_out_for_a_terminal(
    without_mlflow: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    for name in ("one", "two"):
        enter(without_mlflow, name)
    promote_verb(without_mlflow, PLAN, "one", "champion", "the first")
    console = Console(width=200)
    console.print(show_verb(without_mlflow, PLAN, "one").table())
    console.print(list_verb(without_mlflow, PLAN, 20).table())
    printed = capsys.readouterr().out
    for words in ("Release one", "history.orders", "the first", "Releases of churn", "champion", "0.8000"):
        assert words in printed


def test_the_list_has_the_newest_first_with_roles_and_verdicts(without_mlflow: Settings) -> None:
    for name in ("one", "two"):
        enter(without_mlflow, name)
    enter(without_mlflow, "other", model="fraud")
    promote_verb(without_mlflow, PLAN, "one", "champion", "the first")
    with psycopg.connect(without_mlflow.database_url or "") as connection:
        ledger.enter_verdict(connection, "churn", Verdict("two", "one", "lost", "worse", []), "ann")
    found = list_verb(without_mlflow, PLAN, 20).to_dict()
    assert [(row["release_id"], row["role"], row["verdict"]) for row in found["releases"]] == [
        ("two", None, "lost"),
        ("one", "champion", None),
    ]
    assert found["releases"][0]["test"] == {"roc_auc": 0.8}
    assert len(list_verb(without_mlflow, PLAN, 1).releases) == 1


def _strange_model(settings: Settings) -> None:
    enter(settings, "two", model="fraud")


def _strange_entity(settings: Settings) -> None:
    enter(settings, "two", key="household_id")


def _unfilled(settings: Settings) -> None:
    enter(settings, "two", table="history__2")


def _tampered(settings: Settings) -> None:
    model = settings.bundles / enter(settings, "two").bundle_digest / "model"
    model.write_bytes(model.read_bytes()[:-1])


def _gone(settings: Settings) -> None:
    shutil.rmtree(settings.bundles / enter(settings, "two", cut=5).bundle_digest)


def _unsigned(settings: Settings) -> None:
    (settings.bundles / enter(settings, "two").bundle_digest / "manifest.sig").unlink()


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (_strange_model, ReleaseError, "two belongs to the model 'fraud', this plan registers 'churn'"),
        (_strange_entity, ReleaseError, "two predicts for household_id"),
        (
            _unfilled,
            ReleaseError,
            "reads the online table history__2, which is missing or was never filled; run `dvc repro`",
        ),
        (_tampered, BundleError, "model was altered"),
        (_gone, BundleError, "cannot be read .* run `panthera repair`"),
        (_unsigned, BundleError, "is not signed.*panthera release sign"),
    ],
)
def test_a_release_that_cannot_answer_gets_no_role(
    without_mlflow: Settings, make: Callable[[Settings], None], kind: type[PantheraError], message: str
) -> None:
    enter(without_mlflow, "one")
    promote_verb(without_mlflow, PLAN, "one", "champion", "the first")
    make(without_mlflow)
    with pytest.raises(kind, match=message) as refused:
        promote_verb(without_mlflow, PLAN, "two", "champion", "better")
    assert "\n" not in str(refused.value)
    assert champion(without_mlflow) == "one"


def test_a_rollback_to_a_release_that_cannot_answer_changes_nothing(without_mlflow: Settings) -> None:
    for name in ("one", "two"):
        enter(without_mlflow, name)
        promote_verb(without_mlflow, PLAN, name, "champion", "better")
    with psycopg.connect(without_mlflow.database_url or "") as connection:
        connection.execute("ALTER TABLE online.history__1 RENAME TO away")
    with pytest.raises(ReleaseError, match="one reads the online table history__1, which is missing"):
        rollback_verb(without_mlflow, PLAN, None, "worse")
    assert champion(without_mlflow) == "two"


def test_an_unknown_release_is_met_with_the_one_that_may_have_been_meant(places: Settings) -> None:
    enter(places, "lightgbm-0123456789ab")
    for ask in (
        lambda: show_verb(places, PLAN, "lightgbm-0123456789ba"),
        lambda: promote_verb(places, PLAN, "lightgbm-0123456789ba", "champion", "why"),
        lambda: rollback_verb(places, PLAN, "lightgbm-0123456789ba", "why"),
    ):
        with pytest.raises(StaleStateError, match="did you mean 'lightgbm-0123456789ab'"):
            ask()


def test_a_release_is_found_by_its_role_as_well(without_mlflow: Settings) -> None:
    for name, role in (("one", "champion"), ("two", "challenger")):
        enter(without_mlflow, name)
        promote_verb(without_mlflow, PLAN, name, role, "why")  # type: ignore[arg-type]
    assert show_verb(without_mlflow, PLAN, "champion").release.release_id == "one"
    assert promote_verb(without_mlflow, PLAN, "challenger", "champion", "better").roles["champion"] == "two"
    with pytest.raises(StaleStateError, match="'churn' has no challenger"):
        retire_verb(without_mlflow, PLAN, "challenger", "why")


def test_a_change_without_a_reason_is_refused(places: Settings) -> None:
    enter(places, "one")
    with pytest.raises(ReleaseError, match="the reason is empty"):
        promote_verb(places, PLAN, "one", "champion", "  ")


def test_a_challenger_is_retired(without_mlflow: Settings) -> None:
    for name, role in (("one", "champion"), ("two", "challenger")):
        enter(without_mlflow, name)
        promote_verb(without_mlflow, PLAN, name, role, "why")  # type: ignore[arg-type]
    assert retire_verb(without_mlflow, PLAN, "two", "it lost").roles == {"champion": "one", "challenger": None}


def test_a_bundle_without_a_signature_loads_once_somebody_vouches_for_it(without_mlflow: Settings) -> None:
    _unsigned(without_mlflow)
    assert "is not signed" in (show_verb(without_mlflow, PLAN, "two").fault or "")
    public = sign_verb(without_mlflow, PLAN, "two")
    assert public in (without_mlflow.state / "keys" / "trusted").read_text()
    assert show_verb(without_mlflow, PLAN, "two").fault is None


def test_the_actor_is_whom_the_environment_names_or_git_or_the_system(places: Settings, tmp_path: Path) -> None:
    import getpass
    import subprocess

    from models.bundles.revisions import actor

    assert actor(places, tmp_path) == "ann"
    unnamed = replace(places, actor=None)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "user.email", "bob@example.org"], cwd=tmp_path, check=True)
    assert actor(unnamed, tmp_path) == "bob@example.org"
    subprocess.run(["git", "config", "user.email", ""], cwd=tmp_path, check=True)
    assert actor(unnamed, tmp_path) == getpass.getuser()
