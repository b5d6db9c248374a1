"""A multiclass and a regression plan through the stages that train, evaluate and register, to a release that scores."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.small_release import TEXT
from core.settings import read_settings
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.candidates.candidates import read_candidate
from models.data.split import TEST, TRAIN, VALIDATION
from models.evaluation.evaluation import read_evaluation
from models.releases import ledger
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import calibrated, load_model

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_project import Project

_ROWS = 900
_CLASSES = ("low", "middle", "high")
_TREES = {"estimator": "lightgbm", "rounds": 30, "early_stopping": 30}
_CHANGES: dict[str, dict[str, Any]] = {
    "multiclass": {
        "evaluate": {
            "primary": "log_loss",
            "metrics": ["log_loss", "accuracy", "f1", "quadratic_kappa", "ordinal_mae"],
            "calibration": "sigmoid",
        },
        "label": {"order": list(_CLASSES)},
        "weight": "history.weight",
        "line": {"estimator": "logistic_regression"},
    },
    "regression": {
        "evaluate": {"primary": "rmse", "metrics": ["rmse", "mae", "r2", "coverage"], "interval": {"coverage": 0.8}},
        "label": {},
        "weight": None,
        "line": {"estimator": "linear_regression"},
    },
}


def _plan(problem: str) -> str:
    told, changes = yaml.safe_load(TEXT), _CHANGES[problem]
    told["project"]["problem"] = problem
    told["register"]["model"] = problem
    told["label"] |= changes["label"]
    told["training_set"]["weight"] = changes["weight"]
    told["evaluate"] = {**changes["evaluate"], "baseline": "majority", "intervals": {"repeats": 100}}
    told["train"]["candidates"] = {"majority": {"estimator": "majority"}, "line": changes["line"], "trees": _TREES}
    told["build_features"]["views"]["history"]["features"]["kind"] = {
        "sql": "'a'",
        "dtype": "string",
        "meaning": "kind",
    }
    weight = {"sql": "count(*)", "dtype": "float64", "unit": "rows"}
    told["build_features"]["views"]["history"]["features"]["weight"] = weight
    told["build_features"]["services"]["all"] = ["history.orders", "history.kind"]
    del told["serve"]["decisions"]
    return yaml.safe_dump(told)


def _training_set(problem: str) -> pa.Table:
    """Draw rows in which the label follows the orders and the kind."""
    chance = np.random.default_rng(4)
    orders, kind = chance.integers(0, 20, _ROWS), chance.integers(0, 2, _ROWS)
    number = orders + 6 * kind + chance.normal(scale=2, size=_ROWS)
    classes = np.array(_CLASSES)[np.digitize(number, [9, 16])]
    parts = np.repeat([TRAIN, VALIDATION, TEST], _ROWS // 3)
    months = {TRAIN: 0, VALIDATION: 31, TEST: 59}
    return pa.table(
        {
            "account_id": np.arange(_ROWS),
            "as_of": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=months[part]) for part in parts],
            "label": classes if problem == "multiclass" else number,
            "split": parts,
            "history__orders": [None if at % 17 == 0 else int(found) for at, found in enumerate(orders)],
            "history__kind": np.array(["a", "b"])[kind],
            "history__weight": chance.integers(0, 4, _ROWS).astype(float),
        }
    )


def _run(project: Project, stage: str) -> None:
    command = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"][stage]["cmd"]
    done = project.run(*shlex.split(command))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("problem", _CHANGES)
def test_a_plan_of_another_problem_is_trained_registered_and_scored(project: Project, problem: str) -> None:
    data: Path = project.folder / "data"
    (data / "receipts").mkdir(parents=True, exist_ok=True)
    table = _training_set(problem)
    pq.write_table(table, data / "training_set.parquet")
    (project.folder / "params.yaml").write_text(_plan(problem))
    for stage in ("train", "evaluate", "register"):
        _run(project, stage)
    settings = read_settings(project.environment)
    with psycopg.connect(settings.database_url or "") as connection:
        releases = [one for one in ledger.newest(connection, None, 10) if one.model == problem]
        roles = ledger.roles(connection, problem)
    assert {release.candidate for release in releases} == {"majority", "line", "trees"}
    assert roles["champion"] in {release.release_id for release in releases if release.candidate != "majority"}
    for release in releases:
        bundle = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))
        outputs = load_model(*read_candidate(data / "candidates" / release.candidate)).outputs(
            encode_table(table, bundle.contract.features)
        )
        offline = calibrated(outputs, read_evaluation(data / "evaluation.json").result(release.candidate).calibration)
        np.testing.assert_allclose(bundle.outputs(vectors_of(table, bundle.contract.features)), offline, atol=1e-9)
        assert bundle.contract.classes == (_CLASSES if problem == "multiclass" else ())
        assert bundle.contract.weight == ("history.weight" if problem == "multiclass" else "")
        result = read_evaluation(data / "evaluation.json").result(release.candidate)
        assert bundle.contract.interval == result.interval
        if problem == "regression":
            # Of 300 test rows: a standard error of 2.3 percentage points, and as much from the validation rows.
            assert result.test["coverage"] == pytest.approx(0.8, abs=0.1)
            assert result.test_lower["coverage"] < result.test["coverage"] < result.test_upper["coverage"]
        assert "threshold" not in release.metrics
