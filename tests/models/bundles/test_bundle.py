"""A bundle scores as it did when it was written, or is refused before any of it is parsed."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.calibration import Calibration, Curve
from core.contracts import Contract, ContractFeature, ContractView, Value
from core.errors import BundleError
from core.plan.steps import LeaveOut
from core.plan.train import (
    Candidate,
    LightGbmCandidate,
    LogisticCandidate,
    MajorityCandidate,
    SingleFeatureCandidate,
)
from models.bundles.bundle import SIGNATURE, golden_rows, load_bundle, read_facts, sign_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.contract_format import FORMAT_VERSION
from models.bundles.signing import Signer, TrustedKeys
from models.candidates.candidates import fit
from models.data.rows import Rows
from models.scoring.encoding import encode, encode_table, vectors_of
from models.scoring.model_file import load_model
from tests.models.candidates import candidate_kinds as kinds

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
STRANGER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"1"))
TRUSTED = SIGNER.trusted
CLASSES = kinds.TASKS["multiclass"]
OLD_BUNDLES = Path(__file__).parent / "bundles_of_format_1"
FEATURES = (
    ContractFeature("v", "amount", "float64"),
    ContractFeature("v", "kind", "string", ("a", "b")),
    ContractFeature("v", "member", "bool"),
    ContractFeature("v", "since", "timestamp"),
)
CANDIDATES: dict[str, Candidate] = {
    "majority": MajorityCandidate(estimator="majority"),
    "single_feature": SingleFeatureCandidate(estimator="single_feature", feature="v.amount"),
    # As bundles of format 1 had it: without the levels.
    "logistic_regression": LogisticCandidate(
        estimator="logistic_regression", categorical=(LeaveOut(step="leave_out"),)
    ),
    "lightgbm": LightGbmCandidate(estimator="lightgbm", rounds=20, params={"min_child_samples": 5}),
}


def contract(candidate: str, estimator: str) -> Contract:
    return Contract(
        format_version=FORMAT_VERSION,
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
    return write_bundle(folder, contents, SIGNER), scores.tolist()


@pytest.mark.parametrize("kind", CANDIDATES)
def test_a_loaded_bundle_scores_one_row_as_the_fitted_model_scored_all(kind: str, tmp_path: Path) -> None:
    digest, scores = written(kind, tmp_path)
    bundle = load_bundle(tmp_path / digest, TRUSTED)
    alone = [bundle.score([vector])[0] for vector in vectors(world())]
    assert alone == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize("kind", CANDIDATES)
def test_the_same_rows_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    one, two = (tmp_path / name / written(kind, tmp_path / name)[0] for name in ("one", "two"))
    assert one.name == two.name
    assert {file.name: file.read_bytes() for file in one.iterdir()} == {
        file.name: file.read_bytes() for file in two.iterdir()
    }


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names what was parsed of a bundle, beyond its manifest."""
    parsed: list[str] = []
    for name in ("contract_from_json", "load_model", "Reference", "_replay"):
        monkeypatch.setattr(f"models.bundles.bundle.{name}", lambda *_, name=name: parsed.append(name))
    return parsed


def altered_files(folder: Path, changes: int) -> list[str]:
    """Change one byte of a bundle again and again; list what became of the loading of each."""
    files = {file: file.read_bytes() for file in sorted(folder.iterdir())}
    chance = random.Random(3)  # noqa: S311 - places to break, no secret
    outcomes = []
    for number in range(changes):
        # Every file in turn: most bytes are the model's, most of the meaning is in the others.
        file, content = list(files.items())[number % len(files)]
        broken = bytearray(content)
        broken[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        file.write_bytes(broken)
        try:
            load_bundle(folder, TRUSTED)
        except BundleError as error:
            outcomes.append("refused" if "altered" in str(error) else str(error))
        else:
            outcomes.append(f"{file.name} was loaded")
        file.write_bytes(content)
    return outcomes


@pytest.mark.parametrize("kind", ["logistic_regression", "lightgbm"])
def test_a_thousand_changes_of_one_byte_are_refused_before_anything_is_parsed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    digest, _ = written(kind, tmp_path)
    load_bundle(tmp_path / digest, TRUSTED)
    parsed: list[str] = request.getfixturevalue("unparsed")
    assert altered_files(tmp_path / digest, 1000) == ["refused"] * 1000
    assert parsed == []


def _swap(folder: Path) -> None:
    golden, reference = (folder / name for name in ("golden.json", "reference.json"))
    content = golden.read_bytes()
    golden.write_bytes(reference.read_bytes())
    reference.write_bytes(content)


def _link(folder: Path) -> None:
    (folder / "model").rename(folder.parent / "elsewhere")
    (folder / "model").symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "model").unlink()
    os.mkfifo(folder / "model")


def _folder(folder: Path) -> None:
    (folder / "model").unlink()
    (folder / "model").mkdir()


_TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an extra file": (lambda folder: (folder / "extra.py").write_text("print()"), r"extra\.py is missing or does not"),
    "an extra folder": (lambda folder: (folder / "code").mkdir(), "code is missing or does not belong there"),
    "a file that is gone": (lambda folder: (folder / "model").unlink(), "model is missing or does not"),
    "two files swapped": (_swap, "was altered"),
    "a symbolic link": (_link, "cannot be read as a regular file"),
    "a pipe that never ends": (_pipe, "model is not a regular file"),
    "a folder in place of a file": (_folder, "model is not a regular file"),
    "no signature": (lambda folder: (folder / SIGNATURE).unlink(), "is not signed; not loaded"),
    "the signature of a stranger": (
        lambda folder: (folder / SIGNATURE).write_bytes(STRANGER.sign((folder / "manifest.json").read_bytes())),
        "made by a key that is not trusted",
    ),
    "the name of another bundle": (lambda folder: folder.rename(folder.with_name("0" * 64)), "cannot be read"),
}


@pytest.mark.parametrize("tampering", _TAMPERINGS)
def test_a_bundle_that_was_tampered_with_is_refused_in_one_line(
    tampering: str, tmp_path: Path, unparsed: list[str]
) -> None:
    tamper, message = _TAMPERINGS[tampering]
    digest, _ = written("majority", tmp_path)
    tamper(tmp_path / digest)
    with pytest.raises(BundleError, match=message) as refused:
        load_bundle(tmp_path / digest, TRUSTED)
    assert "\n" not in str(refused.value)
    assert unparsed == []


def test_a_bundle_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    one, other = written("majority", tmp_path)[0], written("lightgbm", tmp_path)[0]
    shutil.rmtree(tmp_path / one)
    (tmp_path / other).rename(tmp_path / one)
    with pytest.raises(BundleError, match="its sha256 is not the bundle's name"):
        load_bundle(tmp_path / one, TRUSTED)


def test_without_a_trusted_key_nothing_is_loaded(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    with pytest.raises(BundleError, match="no key is trusted: set PANTHERA_TRUSTED_KEY"):
        load_bundle(tmp_path / digest, TrustedKeys(()))


def test_writing_a_bundle_again_changes_nothing_but_what_was_altered_or_is_of_another_key(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    before = (tmp_path / digest).stat().st_ino
    written("majority", tmp_path)
    assert (tmp_path / digest).stat().st_ino == before
    (tmp_path / digest / "model").unlink()
    assert written("majority", tmp_path)[0] == digest
    load_bundle(tmp_path / digest, TRUSTED)
    sign_bundle(tmp_path / digest, STRANGER)
    assert written("majority", tmp_path)[0] == digest
    load_bundle(tmp_path / digest, TRUSTED)


def test_an_absent_bundle_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="panthera repair"):
        load_bundle(tmp_path / "none", TRUSTED)


def test_a_model_that_no_longer_gives_its_golden_scores_is_refused(tmp_path: Path) -> None:
    digest, _ = written("lightgbm", tmp_path)
    contents = {
        file.name: file.read_bytes() for file in (tmp_path / digest).iterdir() if not file.name.startswith("manifest")
    }
    golden: dict[str, Any] = json.loads(contents["golden.json"])
    golden["scores"][0] += 1e-6
    other = write_bundle(tmp_path, {**contents, "golden.json": json.dumps(golden).encode()}, SIGNER)
    with pytest.raises(BundleError, match="does not score its golden rows"):
        load_bundle(tmp_path / other, TRUSTED)


def test_the_facts_of_a_bundle_are_read_without_its_model(tmp_path: Path) -> None:
    digest, _ = written("lightgbm", tmp_path)
    contents = {
        file.name: file.read_bytes() for file in (tmp_path / digest).iterdir() if not file.name.startswith("manifest")
    }
    other = write_bundle(tmp_path, {**contents, "model": b"no model"}, SIGNER)
    facts, whole = read_facts(tmp_path / other, TRUSTED), load_bundle(tmp_path / digest, TRUSTED)
    assert (facts.contract, facts.reference, facts.sample) == (whole.contract, whole.reference, whole.sample)
    with pytest.raises(BundleError):
        load_bundle(tmp_path / other, TRUSTED)


def test_the_golden_rows_of_several_classes_hold_all_of_them(tmp_path: Path) -> None:
    """Two classes whose places are exchanged: the most probable one is as probable as before."""
    rows = kinds.rows_for("multiclass")
    fitted = fit(kinds.candidate(kinds.KINDS["l2"]), kinds.FEATURES, rows, rows, 1, CLASSES)
    several = replace(
        contract("l2", fitted.model_format),
        problem="multiclass",
        features=kinds.FEATURES,
        classes=CLASSES.classes,
        threshold=math.nan,
        calibration=Calibration("sigmoid", (Curve(slope=0.5), Curve(), Curve(intercept=0.1))),
    )
    contents = bundle_contents(several, fitted.content, kinds.table())
    bundle = load_bundle(tmp_path / write_bundle(tmp_path, contents, SIGNER), TRUSTED)
    assert bundle.outputs(vectors_of(kinds.table(), kinds.FEATURES)).sum(axis=1) == pytest.approx(1)
    golden = json.loads(contents["golden.json"])
    golden["scores"] = [[first, third, second] for first, second, third in golden["scores"]]
    other = write_bundle(tmp_path, {**contents, "golden.json": json.dumps(golden).encode()}, SIGNER)
    with pytest.raises(BundleError, match="does not score its golden rows"):
        load_bundle(tmp_path / other, TRUSTED)


@pytest.mark.parametrize("digest", [folder.name for folder in OLD_BUNDLES.iterdir()])
def test_a_bundle_of_format_1_loads_and_scores_as_it_did_once_somebody_has_signed_it(
    digest: str, tmp_path: Path
) -> None:
    shutil.copytree(OLD_BUNDLES / digest, tmp_path / digest)
    with pytest.raises(BundleError, match=r"Bundles of format 1 have no signature.*panthera release sign"):
        load_bundle(tmp_path / digest, TRUSTED)
    sign_bundle(tmp_path / digest, SIGNER)
    bundle = load_bundle(tmp_path / digest, TRUSTED)
    assert bundle.contract.format_version == 1
    assert bundle.contract.features == FEATURES
    assert (bundle.contract.lock, bundle.contract.calibration) == ("", None)
    kind = bundle.contract.candidate
    assert bundle.score(vectors(world())) == pytest.approx(written(kind, tmp_path / "now")[1], abs=1e-9)


def test_an_altered_bundle_is_not_signed(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    (tmp_path / digest / "model").write_bytes(b"other")
    with pytest.raises(BundleError, match="model was altered"):
        sign_bundle(tmp_path / digest, STRANGER)


def test_a_calibration_of_the_contract_is_applied(tmp_path: Path) -> None:
    table = world()
    inputs = encode_table(table, FEATURES)
    rows = Rows(inputs, np.array(table.column("label").to_pylist(), dtype=np.int32))
    fitted = fit(CANDIDATES["lightgbm"], FEATURES, rows, rows, 1)
    halved = Calibration("isotonic", (Curve((0.0, 1.0), (0.0, 0.5)),))
    calibrated = replace(contract("lightgbm", fitted.model_format), calibration=halved)
    digest = write_bundle(tmp_path, bundle_contents(calibrated, fitted.content, table.drop_columns("label")), SIGNER)
    scores = load_model(fitted.model_format, fitted.content).score(inputs)
    assert load_bundle(tmp_path / digest, TRUSTED).score(vectors(table)) == pytest.approx(scores / 2, abs=1e-12)


def test_a_value_that_the_model_was_not_made_for_is_named(tmp_path: Path) -> None:
    digest, _ = written("lightgbm", tmp_path)
    bundle = load_bundle(tmp_path / digest, TRUSTED)
    assert bundle.fault((1.0, "a", True, None)) is None
    with pytest.raises(BundleError, match=r"cannot score: v\.member is 'yes', expected bool"):
        bundle.score([(1.0, "a", True, None), (1.0, "a", "yes", None)])


def test_a_vector_of_another_length_is_refused(tmp_path: Path) -> None:
    digest, _ = written("majority", tmp_path)
    with pytest.raises(BundleError, match="a vector has 3 values, expected the contract's 4 features"):
        load_bundle(tmp_path / digest, TRUSTED).score([(1.0, "a", True)])


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
