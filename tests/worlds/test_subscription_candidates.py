"""Every candidate kind, preprocessing step and selector over the subscription world, from its plan to the served score.

`make soak-candidates` runs this with 100,000 customers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import httpx
import mlflow
import numpy as np
import optuna
import psycopg
import pyarrow.compute as pc
import pytest
import yaml

from core.plan.file import read_plan
from core.plan.steps import CategoricalStep, JoinedStep, NumericStep, Selector, TextStep
from core.plan.train import Candidate
from core.postgres.database import sqlalchemy_url
from core.settings import read_settings
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.candidates.candidates import read_candidate
from models.data.split import TEST, part, read_training_set
from models.evaluation.evaluation import read_evaluation
from models.releases import ledger, promotion
from models.releases.ledger import Act
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import calibrated, load_model
from serving.app import create_app
from tests.fix_project import ROOT
from tests.worlds.subscription_candidates import CASES, TRIALS
from worlds.subscription.bayes import compare_with_bayes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.settings import Settings
    from models.bundles.bundle import Bundle
    from models.releases.ledger import LedgerRelease
    from tests.fix_project import Project

pytestmark = pytest.mark.long

CUSTOMERS = os.environ.get("SUBSCRIPTION_CUSTOMERS", "2000")
_ASKED = 100
_KILLED_AFTER = 3
#: Two instants train, one chooses, and the one that is materialized tells: the first of December to that of June.
_CHANGES: dict[str, dict[str, Any]] = {
    "build_features": {"snapshots": {"start": "2023-12-01", "end": "2024-06-01"}},
    "training_set": {
        "as_of": {"start": "2023-12-01", "end": "2024-06-01", "every": "2 months"},
        "split": {"kind": "temporal", "validation_from": "2024-04-01", "test_from": "2024-06-01", "gap": "28d"},
    },
    "train": {"candidates": CASES},
    "evaluate": {"baseline": "majority", "metrics": ["roc_auc", "log_loss"], "intervals": {"repeats": 100}},
    "serve": {"arms": {"champion": 1, "challenger": 0}},
}


def _plan() -> str:
    told = yaml.safe_load((ROOT / "worlds" / "subscription" / "plan.yaml").read_text())
    return yaml.safe_dump(
        {name: {**section, **_CHANGES.get(name, {})} for name, section in told.items()}, sort_keys=False
    )


@dataclass(frozen=True)
class Trained:
    """A project after its stages ran, the rows of the instant that is materialized, and the trials before a kill."""

    folder: Path
    settings: Settings
    releases: Mapping[str, LedgerRelease]
    test: pa.Table
    tried: Sequence[optuna.trial.FrozenTrial]

    @property
    def asked(self) -> pa.Table:
        """Some of the rows, spread evenly."""
        return self.test.take(np.linspace(0, len(self.test) - 1, _ASKED).astype(np.int64))

    def bundle(self, name: str) -> Bundle:
        return load_bundle(self.settings.bundles / self.releases[name].bundle_digest, read_trusted(self.settings))

    def offline(self, name: str, bundle: Bundle) -> NDArray[np.float64]:
        """Score the asked rows among all rows of their instant by what the stages `train` and `evaluate` wrote."""
        data = self.folder / "data"
        model = load_model(*read_candidate(data / "candidates" / name))
        outputs = model.outputs(encode_table(self.test, bundle.contract.features))
        calibration = read_evaluation(data / "evaluation.json").result(name).calibration
        place = pc.index_in(
            self.asked.column("customer_id"), value_set=self.test.column("customer_id").combine_chunks()
        )
        return np.asarray(calibrated(outputs, calibration)[place.to_numpy(), 0])


@pytest.fixture(scope="module")
def trained(project: Project) -> Trained:
    """Run the plan's stages over a world of their own: killed while they tune, and run again."""
    made = project.run("python", "-m", "worlds.subscription", "--customers", CUSTOMERS, "--out", "world", "--quiet")
    assert made.returncode == 0, made.stderr
    (project.folder / "params.yaml").write_text(_plan())
    keyed = replace(project, environment={**project.environment, "PANTHERA_PII_KEY": "a key of the tests"})
    settings = read_settings({**keyed.environment, "PANTHERA_PLAN": str(project.folder / "params.yaml")})
    _kill_while_it_tunes(keyed, settings.state)
    tried = finished_trials(settings.state)
    keyed.repro()
    with psycopg.connect(settings.database_url or "") as connection:
        releases = {release.candidate: release for release in ledger.newest(connection, None, len(CASES))}
    test = part(read_training_set(project.folder / "data" / "training_set.parquet"), TEST)
    return Trained(project.folder, settings, releases, test, tried)


def _kill_while_it_tunes(project: Project, state: Path) -> None:
    """Start `dvc repro`, and kill it with the stage that it runs once three trials are finished."""
    program = str(Path(sys.executable).with_name("dvc"))
    running = subprocess.Popen(
        [program, "repro"],
        cwd=project.folder,
        env=dict(project.environment),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while running.poll() is None and len(finished_trials(state)) < _KILLED_AFTER:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


def finished_trials(state: Path) -> list[optuna.trial.FrozenTrial]:
    """Read the finished trials of the one search from its journal."""
    from optuna.storages.journal import JournalFileBackend

    for journal in (state / "tuning").glob("*.journal"):
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
        for study in storage.get_all_studies():
            return list(storage.get_all_trials(study._study_id, states=[optuna.trial.TrialState.COMPLETE]))
    return []


Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def answers(trained: Trained) -> Answers:
    """Ask the service about the same customers, with one candidate after another as the champion."""
    as_of: datetime = read_plan(trained.settings.plan).materialize.as_of
    customers = [{"customer_id": customer} for customer in trained.asked.column("customer_id").to_pylist()]

    async def ask() -> Answers:
        app, told = create_app(lambda: trained.settings, lambda: as_of), {}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            for name, release in trained.releases.items():
                _make_champion(trained.settings, release)
                await app.state.runtime.look()
                body = {"entities": customers, "as_of": as_of.isoformat()}
                answer = (await client.post("/v1/predict", json=body)).raise_for_status()
                told[name] = answer.json()["predictions"]
        return told

    return asyncio.run(ask())


def _make_champion(settings: Settings, release: LedgerRelease) -> None:
    with psycopg.connect(settings.database_url or "") as connection:
        if ledger.roles(connection, release.model)["champion"] != release.release_id:
            promotion.promote(connection, release, "champion", Act("promote", "tests", "its turn"))


@pytest.mark.parametrize("name", CASES)
def test_the_served_score_is_the_offline_score_of_the_same_row(name: str, trained: Trained, answers: Answers) -> None:
    bundle = trained.bundle(name)
    offline = trained.offline(name, bundle)
    assert [entry["score"] for entry in answers[name]] == pytest.approx(offline.tolist(), rel=0, abs=1e-9)
    assert {entry["release"] for entry in answers[name]} == {trained.releases[name].release_id}
    decided = ["offer" if score >= bundle.contract.threshold else "leave_alone" for score in offline]
    assert [entry["decision"] for entry in answers[name]] == decided
    vectors = vectors_of(trained.asked, bundle.contract.features)
    assert [bundle.score([vector])[0] for vector in vectors] == pytest.approx(offline.tolist(), rel=0, abs=1e-9)
    assert np.ptp(offline) > 0 or name == "majority"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_no_candidate_ranks_the_customers_better_than_their_true_hazard_and_the_best_comes_near(
    trained: Trained,
) -> None:
    found = compare_with_bayes(trained.folder)
    assert found.candidates["majority"] == 0.5
    assert found.bayes > 0.85
    # A twentieth is what chance may do to the difference on some 1,000 rows.
    assert 0.85 < max(map(found.share, CASES)) < 1.05


def test_after_a_kill_in_the_middle_of_tuning_the_finished_trials_count(trained: Trained) -> None:
    finished = finished_trials(trained.settings.state)
    assert _KILLED_AFTER <= len(trained.tried) < TRIALS == len(finished)
    assert finished[: len(trained.tried)] == trained.tried
    client = mlflow.MlflowClient(*[sqlalchemy_url(trained.settings.database_url or "", "mlflow")] * 2)
    experiment = client.get_experiment_by_name("subscription-churn")
    assert experiment is not None
    runs = [run for run in client.search_runs([experiment.experiment_id]) if "study" in run.data.tags]
    (search,) = [run.info.run_id for run in runs if "trial" not in run.data.tags]
    nested = {run.data.tags["trial"]: run.data for run in runs if "trial" in run.data.tags}
    assert {data.tags["mlflow.parentRunId"] for data in nested.values()} == {search}
    assert [nested[str(number)].metrics["loss"] for number in range(TRIALS)] == [trial.value for trial in finished]
    assert len(runs) == 1 + TRIALS


def _words(union: Any, key: str) -> set[str]:
    members = get_args(get_args(union)[0])
    return {word for member in members for word in get_args(member.model_fields[key].annotation)}


def _told(steps: tuple[str, ...], key: str) -> set[str]:
    listed = [step for spec in CASES.values() for kind in steps for step in spec.get(kind, ())]
    return {step if isinstance(step, str) else step[key] for step in listed}


def test_no_word_of_the_plan_is_forgotten() -> None:
    of_regressions = {"linear_regression", "feature_value"}
    assert {spec["estimator"] for spec in CASES.values()} == _words(Candidate, "estimator") - of_regressions
    steps = {word for union in (NumericStep, CategoricalStep, TextStep, JoinedStep) for word in _words(union, "step")}
    assert _told(("numeric", "categorical", "text", "joined"), "step") == steps
    assert _told(("select",), "by") == _words(Selector, "by")
