"""A bundle scores as it did when it was written, or is refused before any of it is parsed."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from core.contracts import Contract, ContractFeature, ContractView, Value
from core.errors import BundleError
from core.plan import Candidate, LightGbmCandidate, LogisticCandidate, MajorityCandidate, SingleFeatureCandidate
from models.bundle import contract_from_json, contract_to_json, golden_rows, load_bundle, write_bundle
from models.candidates import Rows, fit, load_model
from models.encoding import encode
from models.register import bundle_contents

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = (
    ContractFeature("v", "amount", "float64"),
    ContractFeature("v", "kind", "string", ("a", "b")),
    ContractFeature("v", "member", "bool"),
    ContractFeature("v", "since", "timestamp"),
)
CANDIDATES: dict[str, Candidate] = {
    "majority": MajorityCandidate(estimator="majority"),
    "single_feature": SingleFeatureCandidate(estimator="single_feature", feature="v.amount"),
    "logistic_regression": LogisticCandidate(estimator="logistic_regression"),
    "lightgbm": LightGbmCandidate(estimator="lightgbm", rounds=20, params={"min_child_samples": 5}),
}


def contract(candidate: str, estimator: str) -> Contract:
    return Contract(
        format_version=1,
        project="p",
        problem="binary",
        candidate=candidate,
        estimator=estimator,
        feature_service="s",
        entity_key="who",
        entity_dtype="int64",
        views=(ContractView("v", "v__1", timedelta(days=3)),),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=30),
        data_revision="d",
        code_revision="c",
    )


def world(rows: int = 200) -> pa.Table:
    chance = np.random.default_rng(5)
    amount = [None if chance.random() < 0.1 else float(value) for value in chance.normal(size=rows)]
    kind = [["a", "b", None][place] for place in chance.integers(0, 3, rows)]
    label = [
        int((value or 0) + (name == "a") + chance.normal() > 0.5) for value, name in zip(amount, kind, strict=True)
    ]
    return pa.table(
        {
            "v__amount": amount,
            "v__kind": kind,
            "v__member": [bool(value) for value in chance.integers(0, 2, rows)],
            "v__since": [
                datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(day)) for day in chance.integers(0, 99, rows)
            ],
            "label": label,
        }
    )


def vectors(table: pa.Table) -> list[tuple[Value, ...]]:
    return list(zip(*(table.column(feature.column).to_pylist() for feature in FEATURES), strict=True))


def written(kind: str, folder: Path) -> tuple[str, list[float]]:
    table = world()
    rows = Rows(encode(vectors(table), FEATURES), np.array(table.column("label").to_pylist(), dtype=np.int32))
    fitted = fit(CANDIDATES[kind], FEATURES, rows, rows, 1)
    scores = load_model(fitted.model_format, fitted.content).score(rows.inputs)
    contents = bundle_contents(contract(kind, fitted.model_format), fitted.content, table.drop_columns("label"))
    return write_bundle(folder, contents), scores.tolist()


@pytest.mark.parametrize("kind", CANDIDATES)
def test_a_loaded_bundle_scores_one_row_as_the_fitted_model_scored_all(kind: str, tmp_path: Path) -> None:
    digest, scores = written(kind, tmp_path)
    bundle = load_bundle(tmp_path / digest)
    alone = [bundle.score([vector])[0] for vector in vectors(world())]
    assert alone == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize("kind", CANDIDATES)
def test_the_same_rows_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    assert written(kind, tmp_path / "one")[0] == written(kind, tmp_path / "two")[0]


@pytest.mark.parametrize("kind", ["logistic_regression", "lightgbm"])
def test_any_byte_that_changes_is_refused(kind: str, tmp_path: Path) -> None:
    digest, _ = written(kind, tmp_path)
    files = sorted((tmp_path / digest).iterdir())
    chance = random.Random(3)  # noqa: S311 - places to break, no secret
    for _ in range(60):
        file = chance.choice(files)
        content = bytearray(file.read_bytes())
        place = chance.randrange(len(content))
        content[place] ^= 1 << chance.randrange(8)
        kept = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(BundleError, match="altered"):
            load_bundle(tmp_path / digest)
        file.write_bytes(kept)
    load_bundle(tmp_path / digest)


def test_a_file_that_does_not_belong_there_is_refused(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    (tmp_path / digest / "extra.py").write_text("print()")
    with pytest.raises(BundleError, match=r"extra\.py is missing or does not belong there"):
        load_bundle(tmp_path / digest)


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    (tmp_path / digest / "model").unlink()
    with pytest.raises(BundleError, match="model is missing"):
        load_bundle(tmp_path / digest)


def test_an_absent_bundle_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="panthera repair"):
        load_bundle(tmp_path / "none")


def test_a_model_that_no_longer_gives_its_golden_scores_is_refused(tmp_path: Path) -> None:
    digest, _ = written("lightgbm", tmp_path)
    contents = {file.name: file.read_bytes() for file in (tmp_path / digest).iterdir() if file.name != "manifest.json"}
    golden: dict[str, Any] = json.loads(contents["golden.json"])
    golden["scores"][0] += 1e-6
    other = write_bundle(tmp_path, {**contents, "golden.json": json.dumps(golden).encode()})
    with pytest.raises(BundleError, match="does not score its golden rows"):
        load_bundle(tmp_path / other)


def test_a_contract_of_another_format_is_refused() -> None:
    text = contract_to_json(replace(contract("c", "skops"), format_version=2)).encode()
    with pytest.raises(BundleError, match="format version 2, this software reads 1"):
        contract_from_json(text)


def test_a_contract_comes_back_as_it_was() -> None:
    assert contract_from_json(contract_to_json(contract("c", "skops")).encode()) == contract("c", "skops")


def test_a_vector_of_another_length_is_refused(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    with pytest.raises(BundleError, match="a vector has 3 values, the contract 4"):
        load_bundle(tmp_path / digest).score([(1.0, "a", True)])


def test_an_unseen_level_counts_as_missing() -> None:
    seen, unseen, missing = (encode([(1.0, kind, True, None)], FEATURES).matrix[0, 1] for kind in ("b", "c", None))
    assert seen == 1
    assert np.isnan(unseen)
    assert np.isnan(missing)


def test_golden_rows_keep_times_and_nulls() -> None:
    time = datetime(2024, 1, 1, tzinfo=UTC)
    assert json.loads(golden_rows([(1.5, None, True, time)], [0.25])) == {
        "vectors": [[1.5, None, True, {"time": "2024-01-01T00:00:00+00:00"}]],
        "scores": [0.25],
    }
