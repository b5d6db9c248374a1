"""Another world, two tables of other kinds and a key of text, by changing the plan alone: trained, served, compared.

All of it in a folder whose name means something to shells, patterns, URLs and SQL, and in a database whose settings, like
those of the role and of the environment, are all other ones than ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from core.postgres.database import connect
from core.roles import ROLES
from core.settings import read_settings
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.evaluation.evaluation import read_evaluation
from models.scoring.encoding import vectors_of
from panthera.service.process import running_service
from tests.fix_database import HOSTILE_ENVIRONMENT, make_hostile

if TYPE_CHECKING:
    import subprocess

    import pyarrow as pa

    from models.evaluation.evaluation import Evaluation
    from tests.fix_project import Project

pytestmark = pytest.mark.long

#: This one looks at the sources at every run.
LOOK = "source_versions"
STAGES = [
    LOOK,
    "ingest",
    "inputs",
    "validate",
    "build_features",
    "apply",
    "training_set",
    "leakage",
    "train",
    "evaluate",
    "register",
    "materialize",
]
AS_OF = "2024-05-13T00:00:00+00:00"
MEMBERS = 400


def write_world(folder: Path) -> None:
    """Members come as often as their tariff says, and some stop; every tenth upload is a day late."""
    chance = np.random.default_rng(11)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    signups, visits = ["member_id,signed_up,tariff,age"], []
    for number in range(MEMBERS):
        member, tariff = f"m{number:03d}", ["day", "full", "trial"][number % 3]
        signed_up = start + timedelta(days=int(chance.integers(0, 40)))
        signups.append(f"{member},{signed_up:%Y-%m-%d},{tariff},{chance.integers(18, 80)}")
        stops = signed_up + timedelta(days=float(chance.exponential({"day": 60, "full": 200, "trial": 20}[tariff])))
        time = signed_up + timedelta(hours=10)
        while time < min(stops, datetime(2024, 6, 1, tzinfo=UTC) - timedelta(days=2)):
            delay = timedelta(days=1) if chance.random() < 0.1 else timedelta()
            minutes = None if chance.random() < 0.01 else round(float(chance.uniform(10, 120)), 1)
            visit = {
                "member": member,
                "entered": time.isoformat(),
                "uploaded": (time + delay).isoformat(),
                "minutes": minutes,
            }
            visits += [visit] * (2 if chance.random() < 0.01 else 1)
            time += timedelta(days=float(chance.exponential(4)) + 0.1)
    (folder / "gym").mkdir()
    (folder / "gym" / "signups.csv").write_text("\n".join(signups) + "\n")
    (folder / "gym" / "visits.jsonl").write_text("".join(json.dumps(visit) + "\n" for visit in visits))


@pytest.fixture(scope="module")
def checkout_name() -> str:
    return 'o\'br "q" $HOME [1] #?%41 ü*x:y'


@pytest.fixture(scope="module")
def trained(project: Project, module_database_url: str) -> Project:
    """The checkout with the gym's plan, after the first `dvc repro`."""
    make_hostile(module_database_url)
    project = replace(project, environment={**project.environment, **HOSTILE_ENVIRONMENT})
    write_world(project.folder)
    (project.folder / "params.yaml").write_text((Path(__file__).parent / "gym.yaml").read_text())
    assert sorted(project.repro()) == sorted(STAGES)
    return project


@dataclass(frozen=True)
class Served:
    """What the service of the trained checkout said, before any test changed the plan."""

    predictions: list[dict[str, Any]]
    features: dict[str, Any]
    stale: httpx.Response
    parity: subprocess.CompletedProcess[str]
    register: dict[str, Any]
    evaluation: Evaluation
    training_set: pa.Table
    feast: dict[str, str]


@pytest.fixture(scope="module")
def served(trained: Project) -> Served:
    """Ask the service of the gym everything that the tests look at, under `bentoml serve` in its own checkout."""
    members = [{"member_id": f"m{number:03d}"} for number in range(MEMBERS)]
    with (
        trained.entered(),
        running_service(trained.folder / ".panthera") as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        answer = client.post("/v1/predict", json={"entities": members, "as_of": AS_OF}).raise_for_status()
        features = client.get("/v1/features", params={"member_id": "m001", "as_of": AS_OF}).raise_for_status()
        stale = client.post("/v1/predict", json={"entities": members[:1], "as_of": "2024-05-30T00:00:00Z"})
    data = trained.folder / "data"
    commands = (["plan"], ["apply"], ["materialize", "2024-01-01T00:00:00", "2024-05-13T00:00:00"])
    own = ["feast", "-c", "feature_repo", "plan"]
    return Served(
        predictions=answer.json()["predictions"],
        features=features.json(),
        stale=stale,
        parity=trained.run("panthera", "parity", "--json"),
        register=json.loads((data / "receipts" / "register.json").read_text()),
        evaluation=read_evaluation(data / "evaluation.json"),
        training_set=pq.read_table(data / "training_set.parquet"),
        feast={
            "own plan": trained.run(*own).stdout,
            **{command[0]: trained.run("panthera", "feast", *command).stdout for command in commands},
        },
    )


def test_feasts_own_commands_find_what_the_plan_defines(served: Served) -> None:
    for plan in (served.feast["own plan"], served.feast["plan"]):
        assert "No changes to registry" in plan
        assert "No changes to infrastructure" in plan
    for command in ("apply", "materialize"):
        assert "profile" in served.feast[command]
        assert "attendance" in served.feast[command]
    assert "Removing" not in served.feast["apply"]


def test_every_candidate_beats_or_is_the_majority_rule(served: Served) -> None:
    loss = {result.candidate: result.test["log_loss"] for result in served.evaluation.results}
    assert loss["majority"] == max(loss.values())
    assert served.evaluation.result("trees").test["roc_auc"] > 0.8


def test_an_attribute_parts_the_test_rows_and_is_no_input(trained: Project, served: Served) -> None:
    findings = json.loads((trained.folder / "data" / "findings.json").read_text())
    assert {part["part"] for part in findings["parts"] if part["group"] == "age"} == {"below 40", "40 to 60", "from 60"}
    assert [one["group"] for one in findings["fairness"]] == ["age"]
    assert "profile__age" in served.training_set.column_names


def test_the_score_over_http_is_the_offline_score_of_the_same_row(trained: Project, served: Served) -> None:
    table, at = served.training_set, datetime.fromisoformat(AS_OF)
    rows = {row["member_id"]: number for number, row in enumerate(table.to_pylist()) if row["as_of"] == at}
    assert len(rows) == len(served.predictions) == MEMBERS
    with connect(trained.environment["PANTHERA_DATABASE_URL"]) as connection:
        digests: dict[str, str] = dict(
            connection.execute("SELECT release_id, bundle_digest FROM panthera.release").fetchall()
        )
        stored = connection.execute("SELECT prediction_id::text, score FROM panthera.prediction").fetchall()
    assert {answer["release"] for answer in served.predictions} == {served.register[role] for role in ROLES}
    state = trained.folder / ".panthera"
    settings = read_settings({"PANTHERA_STATE": str(state)})
    bundles = {
        served.register[role]: load_bundle(state / "bundles" / digests[served.register[role]], read_trusted(settings))
        for role in ROLES
    }
    for answer in served.predictions:
        bundle = bundles[answer["release"]]
        offline = bundle.score(vectors_of(table.slice(rows[answer["member_id"]], 1), bundle.contract.features))[0]
        assert abs(answer["score"] - offline) <= 1e-9
        assert answer["decision"] == ("call" if offline >= bundle.contract.threshold else "wait")
    assert dict(stored) == {answer["prediction_id"]: answer["score"] for answer in served.predictions}


def test_parity_holds_value_by_value(served: Served) -> None:
    assert served.parity.returncode == 0, served.parity.stderr
    found = json.loads(served.parity.stdout)
    assert found["values_compared"] == MEMBERS * 8
    assert found["score_mismatches"] == 0
    assert set(found["mismatches"].values()) == {0}


def test_the_stale_policy_of_this_plan_refuses(served: Served) -> None:
    assert served.stale.status_code == 422
    assert "STALE" in served.stale.text


def test_features_come_with_their_times_and_their_freshness(served: Served) -> None:
    entity = served.features["entities"][0]
    assert entity["member_id"] == "m001"
    assert entity["features"]["profile"]["status"] == "FRESH"
    assert entity["features"]["profile"]["values"]["tariff"] == "full"


def test_what_is_known_of_a_members_tariff_comes_by_the_link(served: Served) -> None:
    tariff = served.features["entities"][0]["features"]["tariff_attendance"]
    assert tariff["status"] == "FRESH"
    # Every third of the 400 members signed up for "full", by then all of them.
    assert tariff["values"]["signups"] == 133
    assert tariff["values"]["active_share"] == tariff["values"]["members_28d"] / 133


def test_a_tariff_is_trained_on_as_it_stood(served: Served) -> None:
    rows = [row for row in served.training_set.to_pylist() if row["profile__tariff"] == "day"]
    told = {row["as_of"]: row["tariff_attendance__signups"] for row in rows}
    assert len(told) > 1
    assert list(told.values()) == sorted(told.values())
    for as_of, signups in told.items():
        assert signups == sum(row["as_of"] == as_of for row in rows)


@pytest.mark.usefixtures("served")
def test_the_evaluation_has_a_report_curves_and_metrics_for_dvc(trained: Project) -> None:
    page = (trained.folder / "reports" / "evaluation.html").read_text()
    assert "Which members will not come within two weeks?" in page
    assert "Feature contributions" in page
    drawn = trained.run("dvc", "plots", "show", "--out", "drawn")
    assert drawn.returncode == 0, drawn.stderr
    drawing = (trained.folder / "drawn" / "index.html").read_text()
    assert all(f"data_plots_{curve}_csv" in drawing for curve in ("roc", "gains", "calibration", "precision_recall"))
    assert "absence.roc_auc" in trained.run("dvc", "metrics", "show").stdout


@pytest.mark.usefixtures("served")
def test_a_second_repro_looks_at_the_sources_alone_and_a_leaf_runs_only_what_follows_it(trained: Project) -> None:
    trained.repro()
    assert trained.repro() == [LOOK]
    trained.replace("num_leaves: 7", "num_leaves: 5")
    assert sorted(trained.repro()) == sorted([LOOK, "inputs", "train", "evaluate", "register"])
    trained.replace("every: 1 week}\n  split", "every: 1 week}  # a comment changes nothing\n  split")
    assert sorted(trained.repro()) == ["inputs", LOOK]
    trained.replace("register: {model: gym}", "register: {model: gymnasium}")
    assert sorted(trained.repro()) == ["inputs", "register", LOOK]


@pytest.mark.usefixtures("served")
def test_a_wiped_database_is_noticed_by_the_stages_and_the_status(trained: Project) -> None:
    with connect(trained.environment["PANTHERA_DATABASE_URL"]) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'online'").fetchall()
        for (name,) in names:
            connection.execute(f'DROP TABLE online."{name}"')
    assert trained.run("panthera", "status").returncode == 3
    refused = trained.run("dvc", "repro", "--force", "--single-item", "training_set")
    assert refused.returncode != 0
    assert "run `panthera repair`" in refused.stderr
    assert trained.run("panthera", "repair").returncode == 0
    assert trained.run("panthera", "status").returncode == 0
    assert trained.repro() == [LOOK]
