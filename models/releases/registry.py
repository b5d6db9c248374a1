"""MLflow: runs, registered versions and their aliases, for people to browse. Serving never loads anything from it."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from core.errors import PantheraError
from core.postgres.database import shown, sqlalchemy_url
from core.settings import silence_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import mlflow
    from mlflow.entities import RunInfo

    from core.contracts import Contract
    from core.roles import Role
    from core.settings import Settings
    from models.candidates.tuning import Trial
    from models.releases.ledger import LedgerRelease

#: MLflow keeps 200 characters of a run's artifact address, of which the run takes `/<32 digits>/artifacts`.
_LONGEST_ARTIFACT_URI = 200 - len("/artifacts") - 33
_DEFAULT_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
#: Tag of a registered version: the digest of its bundle.
DIGEST = "bundle_digest"
#: Tags of a trial and of its search: which search, and the number of the trial in it.
_STUDY, _TRIAL = "study", "trial"


@dataclass(frozen=True)
class CandidateRun:
    """What MLflow is told of a candidate."""

    candidate: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    bundle: Path


def run_of(
    made: Contract | LedgerRelease, bundle: Path, params: Mapping[str, str], metrics: Mapping[str, float]
) -> CandidateRun:
    """Compose what MLflow is told of a bundle."""
    tags = {
        DIGEST: bundle.name,
        "candidate": made.candidate,
        "data_revision": made.data_revision,
        "code_revision": made.code_revision,
    }
    return CandidateRun(made.candidate, params, metrics, tags, bundle)


def runs_of(holders: Mapping[Role, LedgerRelease | None], bundles: Path) -> dict[Role, CandidateRun | None]:
    """Compose what MLflow is told of those who hold roles, of whose parameters the ledger knows nothing."""
    return {
        role: run_of(release, bundles / release.bundle_digest, {}, release.metrics) if release else None
        for role, release in holders.items()
    }


class Registry:
    """The runs of a project and the versions of its registered model."""

    def __init__(self, client: mlflow.MlflowClient, experiment: str, model: str) -> None:
        self._client = client
        self._experiment = experiment
        self._model = model
        if not client.search_registered_models(filter_string=f"name = '{model}'"):
            client.create_registered_model(model)

    def register(self, run: CandidateRun) -> str:
        """Register `run` with its bundle; return the version, the present one if it is there with its run and files.

        A run that somebody deleted is restored, and files that are gone are logged again. What was purged is made anew.
        """
        return self._found(run) or self._enter(run)

    def _found(self, run: CandidateRun) -> str | None:
        wanted = f"name = '{self._model}' AND tags.{DIGEST} = '{run.tags[DIGEST]}'"
        for version in self._client.search_model_versions(wanted, order_by=["version_number DESC"]):
            if self._restored(version.run_id) and self._with_files(version.run_id, run.bundle):
                return str(version.version)
        return None

    def _restored(self, run_id: str) -> bool:
        """Restore a run that was deleted; return whether there is one."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

        try:
            stage = self._client.get_run(run_id).info.lifecycle_stage
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return False
        if stage == "deleted":
            self._client.restore_run(run_id)
        return True

    def _with_files(self, run_id: str, bundle: Path) -> bool:
        """Log the files of the bundle again where some are gone; return whether all are there."""
        logged = {Path(file.path).name for file in self._client.list_artifacts(run_id, "bundle")}
        if not bundle.is_dir():
            return bool(logged)
        if not logged >= {file.name for file in bundle.iterdir()}:
            self._client.log_artifacts(run_id, str(bundle), "bundle")
        return True

    def _enter(self, run: CandidateRun) -> str:
        logged = self._client.create_run(self._experiment, tags=dict(run.tags), run_name=run.candidate)
        run_id = logged.info.run_id
        _write(self._client, logged.info, run.params, run.metrics)
        self._client.log_artifacts(run_id, str(run.bundle), "bundle")
        self._client.set_terminated(run_id)
        source = f"{logged.info.artifact_uri}/bundle"
        version = self._client.create_model_version(self._model, source, run_id, tags=dict(run.tags))
        return str(version.version)

    def follow(self, holders: Mapping[Role, CandidateRun | None]) -> None:
        """Make the aliases say what the ledger says: each role points to the version of who holds it, or to none.

        A version that is gone is registered again, so its number may be another one. Without its bundle it cannot be.
        """
        for role, run in holders.items():
            version = self._found(run) if run else None
            if run and not version and run.bundle.is_dir():
                version = self._enter(run)
            if version:
                self._client.set_registered_model_alias(self._model, role, version)
            else:
                self._client.delete_registered_model_alias(self._model, role)


class TrialLog:
    """The trials of searches, each a run nested in that of its search; what is there already is not written again."""

    def __init__(self, client: mlflow.MlflowClient, experiment: str) -> None:
        self._client = client
        self._experiment = experiment
        self._parents: dict[str, str] = {}
        self._logged: dict[str, set[int]] = {}
        self._begun: dict[str, dict[int, RunInfo]] = {}

    def log(self, candidate: str, study: str, trials: Sequence[Trial]) -> None:
        """Write those of the finished `trials` of a candidate's `study` that are not there yet."""
        if study not in self._parents:
            self._find(candidate, study)
        for trial in trials:
            if trial.number not in self._logged[study]:
                self._write(candidate, study, trial)
                self._logged[study].add(trial.number)

    def _find(self, candidate: str, study: str) -> None:
        found = self._client.search_runs([self._experiment], f"tags.{_STUDY} = '{study}'", max_results=50_000)
        trials = {int(run.data.tags[_TRIAL]): run.info for run in found if _TRIAL in run.data.tags}
        # Of a process that was killed while it wrote one, the run is there, but not all that belongs into it.
        self._begun[study] = {number: run for number, run in trials.items() if run.status == "RUNNING"}
        self._logged[study] = set(trials) - set(self._begun[study])
        parents = [run.info.run_id for run in found if _TRIAL not in run.data.tags]
        if not parents:
            made = self._client.create_run(self._experiment, tags={_STUDY: study}, run_name=f"search of {candidate}")
            self._client.set_terminated(made.info.run_id)
            parents = [made.info.run_id]
        self._parents[study] = parents[0]

    def _write(self, candidate: str, study: str, trial: Trial) -> None:
        run = self._begun[study].pop(trial.number, None) or self._begin(candidate, study, trial.number)
        loss = {} if math.isnan(trial.loss) else {"loss": trial.loss}
        _write(self._client, run, trial.values, {**loss, "seconds": trial.seconds})
        self._client.set_terminated(run.run_id, "KILLED" if trial.given_up else "FINISHED")

    def _begin(self, candidate: str, study: str, number: int) -> RunInfo:
        tags = {_STUDY: study, _TRIAL: str(number), "mlflow.parentRunId": self._parents[study]}
        return self._client.create_run(self._experiment, tags=tags, run_name=f"{candidate} trial {number}").info


def _write(
    client: mlflow.MlflowClient, run: RunInfo, params: Mapping[str, object], metrics: Mapping[str, float]
) -> None:
    """Log all in one call, as of the start of the run: one by one, each takes a transaction of its own."""
    from mlflow.entities import Metric, Param

    numbers = [Metric(name, number, run.start_time, 0) for name, number in metrics.items()]
    client.log_batch(run.run_id, numbers, [Param(name, str(value)) for name, value in params.items()])


@contextmanager
def open_registry(settings: Settings, url: str, project: str, model: str) -> Iterator[Registry]:
    """Open MLflow's registry of models."""
    with _open_mlflow(settings, url) as (client, artifacts):
        yield Registry(client, experiment_of(client, project, artifacts), model)


@contextmanager
def open_trial_log(settings: Settings, url: str, project: str) -> Iterator[TrialLog]:
    """Open MLflow for the trials of searches."""
    with _open_mlflow(settings, url) as (client, artifacts):
        yield TrialLog(client, experiment_of(client, project, artifacts))


def experiment_of(client: mlflow.MlflowClient, project: str, artifacts: Path | None) -> str:
    """Return the id of the project's experiment: made with its files below `artifacts`, or restored if it was deleted."""
    found = client.get_experiment_by_name(project)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    return str(client.create_experiment(project, artifact_location=artifacts.as_uri() if artifacts else None))


@contextmanager
def _open_mlflow(settings: Settings, url: str) -> Iterator[tuple[mlflow.MlflowClient, Path | None]]:
    """Open MLflow: the tracking server that the settings name, or its tables in our own database at `url`."""
    silence_telemetry()
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    # Eight tries, its default, would keep silent for four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow

    # After the import, which sets levels of its own.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)

    address = settings.mlflow_url or sqlalchemy_url(url, "mlflow")
    try:
        artifacts = None if settings.mlflow_url else artifact_folder(settings.state, Path.home())
        if artifacts:
            # For MLflow's own experiment 0, whose folder it writes into SQL unquoted: a URI has no letter that could matter.
            os.environ[_DEFAULT_ARTIFACT_ROOT] = artifacts.as_uri()
        yield mlflow.MlflowClient(address, address), artifacts
    except mlflow.exceptions.MlflowException as error:
        place = without_login(settings.mlflow_url) if settings.mlflow_url else f"its tables in {shown(url)}"
        told = [line for line in str(error).splitlines() if not line.startswith(("(Background", "[SQL", "[parameters"))]
        reason = " ".join(" ".join(told).split()).replace(address.rstrip("/"), place)[:300]
        raise PantheraError(
            f"MLflow ({place}) refuses: {reason}; check PANTHERA_MLFLOW_URL, or the state of the server"
        ) from None


def without_login(address: str) -> str:
    """Give the address of a server as a message may show it: without user and password, path and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))


def artifact_folder(state: Path, home: Path) -> Path:
    """Make and give the folder of MLflow's artifacts: in the state folder, or below `home` where its path is too long.

    Raises
    ------
    PantheraError
        If both are too long for MLflow's table.

    """
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:12]
    for folder in (state / "mlflow", home / ".panthera" / digest / "mlflow"):
        if len(folder.as_uri()) <= _LONGEST_ARTIFACT_URI:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    raise PantheraError(
        f"{state} is too long a path for MLflow, which keeps {_LONGEST_ARTIFACT_URI} characters of it, and so is {home}; "
        "set PANTHERA_STATE to a shorter folder"
    )
