"""Write runs, registered versions and aliases to MLflow, for users to browse. Serving never loads anything from MLflow."""

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

#: MLflow stores 200 characters of a run's artifact URI, which ends with `/<32 digits>/artifacts`.
_LONGEST_ARTIFACT_URI = 200 - len("/artifacts") - 33
_DEFAULT_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
#: Tag of a registered version: the digest of its bundle.
DIGEST = "bundle_digest"
#: Tags of runs: the name of the search, and the number of the trial in it.
_STUDY, _TRIAL = "study", "trial"


@dataclass(frozen=True)
class CandidateRun:
    """The run of a candidate in MLflow."""

    candidate: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    bundle: Path


def run_of(
    origin: Contract | LedgerRelease, bundle: Path, params: Mapping[str, str], metrics: Mapping[str, float]
) -> CandidateRun:
    """Return the MLflow run of a bundle."""
    tags = {
        DIGEST: bundle.name,
        "candidate": origin.candidate,
        "data_revision": origin.data_revision,
        "code_revision": origin.code_revision,
    }
    return CandidateRun(origin.candidate, params, metrics, tags, bundle)


def runs_of(holders: Mapping[Role, LedgerRelease | None], bundles: Path) -> dict[Role, CandidateRun | None]:
    """Return the MLflow runs of the releases with roles, without parameters, which the ledger does not store."""
    return {
        role: run_of(release, bundles / release.bundle_digest, {}, release.metrics) if release else None
        for role, release in holders.items()
    }


class Registry:
    """Writes the runs of a project and the versions of its registered model."""

    def __init__(self, client: mlflow.MlflowClient, experiment: str, model: str) -> None:
        self._client = client
        self._experiment = experiment
        self._model = model
        if not client.search_registered_models(filter_string=f"name = '{model}'"):
            client.create_registered_model(model)

    def register(self, run: CandidateRun) -> str:
        """Register `run` with its bundle, unless it is registered already; return the version.

        A deleted run is restored, and missing files are logged again. A purged run is registered as a new version.
        """
        return self._found(run) or self._enter(run)

    def _found(self, run: CandidateRun) -> str | None:
        wanted = f"name = '{self._model}' AND tags.{DIGEST} = '{run.tags[DIGEST]}'"
        for version in self._client.search_model_versions(wanted, order_by=["version_number DESC"]):
            if self._restored(version.run_id) and self._with_files(version.run_id, run.bundle):
                return str(version.version)
        return None

    def _restored(self, run_id: str) -> bool:
        """Restore a deleted run; return whether the run exists."""
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
        """Log missing files of the bundle again; return whether all exist."""
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
        """Set the aliases to the roles of the ledger: each points to the version of its release, or is deleted.

        A missing version is registered again with a new number, if its bundle exists.
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
    """Writes the trials of searches, each a run nested in that of its search; existing runs are not written again."""

    def __init__(self, client: mlflow.MlflowClient, experiment: str) -> None:
        self._client = client
        self._experiment = experiment
        self._parents: dict[str, str] = {}
        self._logged: dict[str, set[int]] = {}
        self._begun: dict[str, dict[int, RunInfo]] = {}

    def log(self, candidate: str, study: str, trials: Sequence[Trial]) -> None:
        """Write the finished `trials` of a candidate's `study` that MLflow lacks."""
        if study not in self._parents:
            self._find(candidate, study)
        for trial in trials:
            if trial.number not in self._logged[study]:
                self._write(candidate, study, trial)
                self._logged[study].add(trial.number)

    def _find(self, candidate: str, study: str) -> None:
        found = self._client.search_runs([self._experiment], f"tags.{_STUDY} = '{study}'", max_results=50_000)
        trials = {int(run.data.tags[_TRIAL]): run.info for run in found if _TRIAL in run.data.tags}
        # A process that was killed while it wrote a run leaves it RUNNING and incomplete.
        self._begun[study] = {number: run for number, run in trials.items() if run.status == "RUNNING"}
        self._logged[study] = set(trials) - set(self._begun[study])
        parents = [run.info.run_id for run in found if _TRIAL not in run.data.tags]
        if not parents:
            parent = self._client.create_run(self._experiment, tags={_STUDY: study}, run_name=f"search of {candidate}")
            self._client.set_terminated(parent.info.run_id)
            parents = [parent.info.run_id]
        self._parents[study] = parents[0]

    def _write(self, candidate: str, study: str, trial: Trial) -> None:
        run = self._begun[study].pop(trial.number, None) or self._begin(candidate, study, trial.number)
        loss = {} if math.isnan(trial.loss) else {"loss": trial.loss}
        _write(self._client, run, trial.values, {**loss, "seconds": trial.seconds})
        self._client.set_terminated(run.run_id, "KILLED" if trial.pruned else "FINISHED")

    def _begin(self, candidate: str, study: str, number: int) -> RunInfo:
        tags = {_STUDY: study, _TRIAL: str(number), "mlflow.parentRunId": self._parents[study]}
        return self._client.create_run(self._experiment, tags=tags, run_name=f"{candidate} trial {number}").info


def _write(
    client: mlflow.MlflowClient, run: RunInfo, params: Mapping[str, object], metrics: Mapping[str, float]
) -> None:
    """Log params and metrics in one batch, at the start of the run; single calls take a transaction each."""
    from mlflow.entities import Metric, Param

    numbers = [Metric(name, number, run.start_time, 0) for name, number in metrics.items()]
    client.log_batch(run.run_id, numbers, [Param(name, str(value)) for name, value in params.items()])


@contextmanager
def open_registry(settings: Settings, url: str, project: str, model: str) -> Iterator[Registry]:
    """Open MLflow's registry of `model`."""
    with _open_mlflow(settings, url) as (client, artifacts):
        yield Registry(client, experiment_of(client, project, artifacts), model)


@contextmanager
def open_trial_log(settings: Settings, url: str, project: str) -> Iterator[TrialLog]:
    """Open MLflow for the trials of searches."""
    with _open_mlflow(settings, url) as (client, artifacts):
        yield TrialLog(client, experiment_of(client, project, artifacts))


def experiment_of(client: mlflow.MlflowClient, project: str, artifacts: Path | None) -> str:
    """Return the id of the project's experiment; create it with its files in `artifacts`, or restore it if it was deleted."""
    found = client.get_experiment_by_name(project)
    if found:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    return str(client.create_experiment(project, artifact_location=artifacts.as_uri() if artifacts else None))


@contextmanager
def _open_mlflow(settings: Settings, url: str) -> Iterator[tuple[mlflow.MlflowClient, Path | None]]:
    """Open MLflow: the tracking server of the settings, or its tables in the database at `url`."""
    silence_telemetry()
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    # MLflow's default of eight retries would block for four minutes without a message.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow

    # After the import, because the import sets log levels.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)

    address = settings.mlflow_url or sqlalchemy_url(url, "mlflow")
    try:
        artifacts = None if settings.mlflow_url else artifact_folder(settings.state, Path.home())
        if artifacts:
            # MLflow writes the folder of its experiment 0 into SQL unquoted; a URI has no character that needs quoting.
            os.environ[_DEFAULT_ARTIFACT_ROOT] = artifacts.as_uri()
        yield mlflow.MlflowClient(address, address), artifacts
    except mlflow.exceptions.MlflowException as error:
        where = without_login(settings.mlflow_url) if settings.mlflow_url else f"its tables in {shown(url)}"
        lines = [
            line for line in str(error).splitlines() if not line.startswith(("(Background", "[SQL", "[parameters"))
        ]
        reason = " ".join(" ".join(lines).split()).replace(address.rstrip("/"), where)[:300]
        raise PantheraError(
            f"MLflow ({where}) refuses: {reason}; check PANTHERA_MLFLOW_URL, or the state of the server"
        ) from None


def without_login(address: str) -> str:
    """Return the URL of a server for messages: without user, password, path and query."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))


def artifact_folder(state: Path, home: Path) -> Path:
    """Create and return the folder of MLflow's artifacts: in the state folder, or in `home` if that path is too long.

    Raises
    ------
    PantheraError
        If both paths are too long for MLflow's table.

    """
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:12]
    for folder in (state / "mlflow", home / ".panthera" / digest / "mlflow"):
        if len(folder.as_uri()) <= _LONGEST_ARTIFACT_URI:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    raise PantheraError(
        f"the paths {state} and {home} are too long for MLflow, expected at most {_LONGEST_ARTIFACT_URI} characters; set "
        "PANTHERA_STATE to a shorter path"
    )
