"""A table without times, one row for each entity, from a csv file to answers, parity and a new delivery."""

from __future__ import annotations

import asyncio
import csv
import gc
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sklearn.datasets import load_breast_cancer

from benchmarks.stages import run_stages
from core.plan.file import read_plan
from core.settings import read_settings
from feature_repo.catch_up import catch_up
from models.data.split import TEST, TRAIN, VALIDATION, read_training_set
from models.data.split import part as of_part
from monitoring.performance_verb import performance_verb
from monitoring.verbs import parity_verb
from panthera import online_features
from serving.app import create_app
from tests.planner.decide.forecasted import both_training_sets, forecast_and_score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_project import Project

#: A stage leaves its connections to the end of its process, which is not the end of this one.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

PLAN = Path(__file__).with_name("tumours.yaml")
DATA = Path("data")
#: Entities whose diagnosis is not known.
UNKNOWN = 9
#: The split keeps the tumours of one clinic together.
CLINICS = 40


def rows() -> list[dict[str, Any]]:
    """The tumours of scikit-learn's set, under keys with leading zeros."""
    found = load_breast_cancer(as_frame=True).frame
    names = ["mean radius", "mean texture", "mean area", "mean concavity"]
    return [
        {
            "tumour_id": f"{number:04d}",
            "clinic": f"clinic {number % CLINICS}",
            **{name: float(row[name]) for name in names},
            "size": "large" if row["mean radius"] > 14 else "small",
            "diagnosis": "" if number < UNKNOWN else ["malignant", "benign"][int(row["target"])],
        }
        for number, (_, row) in enumerate(found.iterrows())
    ]


def write(folder: Path, table: list[dict[str, Any]]) -> None:
    with (folder / "tumours.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def ask(*bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """Send requests for predictions to the service, one after another; return the answers, with their status."""

    async def run() -> list[dict[str, Any]]:
        app = create_app()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            responses = [await http.post("/v1/predict", json=body) for body in bodies]
            return [{"http": response.status_code, **response.json()} for response in responses]

    return asyncio.run(run())


@pytest.fixture(scope="module")
def tumours(project: Project) -> Iterator[Project]:
    """The plan, run through every stage; the process stands in its folder."""
    (project.folder / "params.yaml").write_text(PLAN.read_text())
    write(project.folder, rows())
    with project.entered():
        run_stages()
        yield project
    gc.collect()  # what the stages left is closed here, where its warnings are ignored


def parity() -> dict[str, Any]:
    settings = read_settings()
    return parity_verb(settings, read_plan(settings.plan), data=DATA).to_dict()


def unequal_online() -> int:
    found = online_features.diff(read_plan(Path("params.yaml")), DATA, None)
    return sum(view.entities - view.equal for view in found.views)


def test_the_rows_without_a_diagnosis_are_not_trained_on_and_the_column_is_no_feature(tumours: Project) -> None:
    table = read_training_set(tumours.folder / "data" / "training_set.parquet")
    assert len(table) == 569 - UNKNOWN
    assert sum(table.column("label").to_pylist()) == 212 - UNKNOWN  # the first of the set are all malignant
    assert [name for name in table.column_names if name.startswith("shape__")] == [
        f"shape__{name}"
        for name in ("clinic", "radius", "texture", "area", "concavity", "size", "roundness", "concave")
    ]


def test_the_tumours_of_one_clinic_are_in_one_part_and_the_report_says_so(tumours: Project) -> None:
    table = read_training_set(tumours.folder / "data" / "training_set.parquet")
    clinics = {
        part: set(of_part(table, part).column("shape__clinic").to_pylist()) for part in (TRAIN, VALIDATION, TEST)
    }
    assert [len(names) for names in clinics.values()] == [24, 8, 8]
    assert len(set.union(*clinics.values())) == CLINICS
    page = (tumours.folder / "reports" / "evaluation.html").read_text()
    assert "a random sample of the groups of shape.clinic; they select nothing" in page
    assert "of the 8 test groups of shape.clinic, each with all of its rows" in page


def test_the_report_names_no_instant_that_the_plan_does_not_have(tumours: Project) -> None:
    page = (tumours.folder / "reports" / "evaluation.html").read_text()
    assert "2000-01-01" not in page


def test_the_forecast_before_training_holds_the_score_of_the_run(tumours: Project, tmp_path: Path) -> None:
    assert tumours.folder.exists()
    interval, score = forecast_and_score(DATA)
    assert interval.lower <= score <= interval.upper
    of_stages, made = both_training_sets(DATA, tmp_path)
    assert made.equals(of_stages.select(made.column_names))


def test_features_that_come_with_the_request_give_the_score_of_the_stored_ones(tumours: Project) -> None:
    ask({"entities": [{"tumour_id": "0002"}]})  # so that there is something to compare, whichever test comes first
    before = parity()
    row = rows()[0]
    radius, area = row["mean radius"], row["mean area"]
    features = {
        "clinic": "clinic 0",
        "radius": radius,
        "texture": row["mean texture"],
        "area": area,
        "concavity": row["mean concavity"],
        "size": row["size"],
        "roundness": 4 * 3.141592653589793 * area / (2 * 3.141592653589793 * radius) ** 2,
        "concave": bool(row["mean concavity"] > 0.1),
    }
    stored, given, partly = ask(
        {"entities": [{"tumour_id": "0000"}, {"tumour_id": "nobody"}]},
        {"entities": [{"tumour_id": "never seen", "features": {"shape": features}}]},
        {"entities": [{"tumour_id": "never seen", "features": {"shape": {"radius": 1.0}}}]},
    )
    known, unknown = stored["predictions"]
    assert known["features"] == {"shape": {"status": "FRESH", "event_time": None}}
    assert unknown["features"] == {"shape": {"status": "MISSING", "event_time": None}}
    (answer,) = given["predictions"]
    assert answer["features"] == {"shape": {"status": "GIVEN", "event_time": None}}
    assert answer["score"] == pytest.approx(known["score"], abs=1e-12)
    assert answer["positive"] == "malignant"
    assert partly["http"] == 422
    assert "found no 'area' in entities[0].features.shape" in partly["detail"]
    found = parity()
    checked = {name: found[name] - before[name] for name in ("predictions_checked", "given_values", "values_compared")}
    assert checked == {"predictions_checked": 3, "given_values": 8, "values_compared": 16}
    assert found["defects"] == 0
    assert unequal_online() == 0


def test_the_performance_of_answers_is_estimated_from_the_test_rows_before_any_outcome(tumours: Project) -> None:
    ask({"entities": [{"tumour_id": f"{number:04d}"} for number in range(100, 200)]})
    settings = read_settings()
    result = performance_verb(settings, read_plan(settings.plan), as_of=datetime.now(UTC))
    test_rows = len(of_part(read_training_set(tumours.folder / "data" / "training_set.parquet"), TEST))
    assert result.reference == f"the release's test rows ({test_rows} of {test_rows} entities)"
    assert {cohort.state for cohort in result.cohorts} == {"immature"}
    found = result.cohorts[-1].estimated
    malignant = sum(row["diagnosis"] == "malignant" for row in rows()[100:200])
    # The other tests may have asked for six more entities.
    assert found["positives"].lower - 6 <= malignant <= found["positives"].upper
    assert found["roc_auc"].value > 0.9


def test_a_row_that_is_new_and_one_that_is_corrected_are_taken_in_and_parity_says_so(tumours: Project) -> None:
    (before,) = ask({"entities": [{"tumour_id": "new"}, {"tumour_id": "0001"}]})
    table = rows()
    table[1]["mean radius"] = 25.0
    write(tumours.folder, [*table, {**table[0], "tumour_id": "new"}])
    settings = read_settings()
    caught_up = catch_up(settings, read_plan(settings.plan), DATA, datetime.now(UTC))
    assert (caught_up.changes["tumours"].new, caught_up.changes["tumours"].corrected) == (1, 1)
    assert "2000" not in caught_up.text()
    (after,) = ask({"entities": [{"tumour_id": "new"}, {"tumour_id": "0001"}]})
    assert [entry["features"]["shape"]["status"] for entry in after["predictions"]] == ["FRESH", "FRESH"]
    assert before["predictions"][0]["features"]["shape"]["status"] == "MISSING"
    assert before["predictions"][1]["score"] != after["predictions"][1]["score"]
    found = parity()
    assert found["defects"] == 0
    assert found["mismatches"]["late_or_restated"] > 0
    assert unequal_online() == 0
    run_stages()
    assert parity()["defects"] == 0
    assert unequal_online() == 0
