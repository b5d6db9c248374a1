"""MLflow, real, in the tables of this test's own database."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest

from core.errors import PantheraError
from core.postgres.database import connect, sqlalchemy_url
from models.candidates.tuning import Trial
from models.releases.ledger import LedgerRelease
from models.releases.registry import DIGEST, CandidateRun, artifact_folder, open_registry, open_trial_log, runs_of
from models.releases.registry_faults import registry_faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.entities.model_registry import ModelVersion

    from core.roles import Role
    from core.settings import Settings


def run_of(folder: Path, digest: str) -> CandidateRun:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").write_text(digest)
    return CandidateRun("trees", {"rounds": "3"}, {"test_roc_auc": 0.75}, {DIGEST: digest}, folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_bundle_is_registered_once_and_the_aliases_follow_the_roles(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    url = settings.database_url or ""
    with open_registry(settings, url, "project", "churn") as registry:
        first = registry.register(run_of(tmp_path / "one", "d1"))
        assert registry.register(run_of(tmp_path / "one", "d1")) == first
        second = registry.register(run_of(tmp_path / "two", "d2"))
        assert second != first
        one, two = run_of(tmp_path / "one", "d1"), run_of(tmp_path / "two", "d2")
        registry.follow({"champion": one, "challenger": two})
        registry.follow({"champion": two, "challenger": None})
        registry.follow({"champion": two, "challenger": None})
    client = mlflow.MlflowClient(*[sqlalchemy_url(url, "mlflow")] * 2)
    assert client.get_registered_model("churn").aliases.keys() == {"champion"}
    version = client.get_model_version_by_alias("churn", "champion")
    assert str(version.version) == second
    run = client.get_run(version.run_id)
    assert run.data.metrics == {"test_roc_auc": 0.75}
    assert run.data.params == {"rounds": "3"}
    assert Path(run.info.artifact_uri.removeprefix("file://"), "bundle", "model").read_text() == "d2"


def test_every_trial_is_one_run_nested_in_its_search(settings: Settings) -> None:
    url = settings.database_url or ""
    trials = [Trial(0, {"rounds": 3}, 0.5, False, 1.5), Trial(1, {"rounds": 4}, math.nan, True, 0.5)]
    with open_trial_log(settings, url, "project") as log:
        log.log("trees", "study1", trials[:1])
        log.log("trees", "study1", trials)
    with open_trial_log(settings, url, "project") as log:  # another process, after the first was killed
        log.log("trees", "study1", trials)
    client = mlflow.MlflowClient(*[sqlalchemy_url(url, "mlflow")] * 2)
    experiment = client.get_experiment_by_name("project")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    parent, first, second = sorted(runs, key=lambda run: run.data.tags.get("trial", ""))
    assert {run.data.tags["mlflow.parentRunId"] for run in (first, second)} == {parent.info.run_id}
    assert (first.data.params, first.data.metrics) == ({"rounds": "3"}, {"loss": 0.5, "seconds": 1.5})
    assert (second.data.metrics, second.info.status) == ({"seconds": 0.5}, "KILLED")


def test_a_trial_whose_writer_was_killed_is_written_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, trial = settings.database_url or "", Trial(0, {"rounds": 3}, 0.5, False, 1.5)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with open_trial_log(settings, url, "project") as log, monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            log.log("trees", "study1", [trial])
    with open_trial_log(settings, url, "project") as log:
        log.log("trees", "study1", [trial])
    client = mlflow.MlflowClient(*[sqlalchemy_url(url, "mlflow")] * 2)
    experiment = client.get_experiment_by_name("project")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.trial = '0'")
    assert [(run.data.metrics, run.info.status) for run in runs] == [({"loss": 0.5, "seconds": 1.5}, "FINISHED")]


def test_an_mlflow_that_cannot_be_reached_is_one_clear_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(settings, mlflow_url="http://127.0.0.1:9")
    with pytest.raises(PantheraError, match=r"MLflow \(http://127.0.0.1:9\) refuses: .*PANTHERA_MLFLOW_URL") as refused:  # noqa: SIM117
        with open_registry(away, settings.database_url or "", "project", "churn"):
            pass
    assert "\n" not in str(refused.value)


def test_the_login_of_an_mlflow_server_is_never_shown(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(settings, mlflow_url="http://me:hunter3@127.0.0.1:9/")
    with pytest.raises(PantheraError) as refused:  # noqa: SIM117
        with open_registry(away, settings.database_url or "", "project", "churn"):
            pass
    assert "hunter3" not in str(refused.value)
    assert "http://127.0.0.1:9" in str(refused.value)


def test_artifacts_lie_in_the_state_folder(tmp_path: Path) -> None:
    assert artifact_folder(tmp_path / "state", tmp_path) == tmp_path / "state" / "mlflow"


def test_artifacts_of_a_checkout_in_a_long_path_lie_below_the_home(tmp_path: Path) -> None:
    found = artifact_folder(tmp_path / ("y" * 150) / ".panthera", tmp_path)
    assert found.is_relative_to(tmp_path / ".panthera")
    assert found.is_dir()


def test_a_path_that_is_too_long_everywhere_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match="set PANTHERA_STATE to a shorter path"):
        artifact_folder(tmp_path / ("y" * 150), tmp_path / ("z" * 150))


@dataclass(frozen=True)
class Churn:
    """A model of two releases in the ledger and in MLflow."""

    settings: Settings
    url: str
    bundles: Path

    def release(self, digest: str) -> LedgerRelease:
        run_of(self.bundles / digest, digest)
        return LedgerRelease(
            **dict.fromkeys(("feature_service", "data_revision", "code_revision"), "r"),
            release_id=f"trees-{digest}",
            model="churn",
            candidate="trees",
            bundle_digest=digest,
            registry_version="1",
            metrics={"test_roc_auc": 0.75},
            format_version=1,
            created_at=datetime(2024, 1, 1, tzinfo=UTC),
        )

    @property
    def holders(self) -> dict[Role, LedgerRelease | None]:
        return {"champion": self.release("d1"), "challenger": self.release("d2")}

    def follow(self) -> None:
        with open_registry(self.settings, self.url, "project", "churn") as registry:
            registry.follow(runs_of(self.holders, self.bundles))

    def faults(self) -> list[str]:
        with connect(self.url) as connection:
            return list(registry_faults(connection, "project", "churn", self.holders))

    def champion(self) -> str:
        """Read the bundle of the champion as who loads models:/churn@champion does."""
        version = self.client().get_model_version_by_alias("churn", "champion")
        return Path(self.client().download_artifacts(version.run_id, "bundle"), "model").read_text()

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(*[sqlalchemy_url(self.url, "mlflow")] * 2)


@pytest.fixture
def churn(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Churn:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Churn(settings, settings.database_url or "", tmp_path / "bundles")


def _purge(churn: Churn) -> None:
    client = churn.client()
    run_id = client.get_model_version_by_alias("churn", "champion").run_id
    client.delete_run(run_id)
    client._tracking_client.store._hard_delete_run(run_id)


def _delete_files(churn: Churn) -> None:
    shutil.rmtree(churn.settings.state / "mlflow")


def _move_alias(churn: Churn) -> None:
    challenger = churn.client().get_model_version_by_alias("churn", "challenger")
    churn.client().set_registered_model_alias("churn", "champion", challenger.version)


def _delete_experiment(churn: Churn) -> None:
    found = churn.client().get_experiment_by_name("project")
    assert found is not None
    churn.client().delete_experiment(found.experiment_id)


def _champion(churn: Churn) -> ModelVersion:
    return churn.client().get_model_version_by_alias("churn", "champion")


MISHAPS: dict[str, tuple[Callable[[Churn], object], str]] = {
    "the model": (lambda churn: churn.client().delete_registered_model("churn"), "names no version"),
    "the model is renamed": (lambda churn: churn.client().rename_registered_model("churn", "old"), "names no version"),
    "a version": (lambda churn: churn.client().delete_model_version("churn", _champion(churn).version), "no version"),
    "an alias": (lambda churn: churn.client().delete_registered_model_alias("churn", "champion"), "no version"),
    "an alias is moved": (_move_alias, "names another version"),
    "a run": (lambda churn: churn.client().delete_run(_champion(churn).run_id), "whose run was deleted"),
    "a run is purged": (_purge, "whose run was deleted"),
    "the files": (_delete_files, "whose files are gone"),
    "the experiment": (_delete_experiment, "the experiment 'project' was deleted"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_what_somebody_deleted_or_moved_in_mlflow_is_named_and_mended(churn: Churn) -> None:
    churn.follow()
    assert churn.champion() == "d1"
    for mishap, (befall, fault) in MISHAPS.items():
        assert churn.faults() == [], mishap
        befall(churn)
        assert any(fault in found for found in churn.faults()), mishap
        churn.follow()
        assert churn.champion() == "d1", mishap


def test_a_role_that_nobody_has_leaves_no_alias_and_a_lost_bundle_neither(churn: Churn) -> None:
    lost = runs_of({"champion": churn.release("d1"), "challenger": None}, churn.bundles)
    shutil.rmtree(churn.bundles)
    with open_registry(churn.settings, churn.url, "project", "churn") as registry:
        registry.follow(lost)
    assert churn.client().get_registered_model("churn").aliases == {}
