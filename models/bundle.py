"""The bundle: a trained candidate on disk, whose every byte is checked before any of it is parsed.

Files: `contract.json`, `model` (LightGBM text or skops, never a pickle), `reference.json` (bins of features and score in
training), `reference.parquet` (a sample of training rows for reports), `golden.json` (rows with their scores, replayed at
every load), and `manifest.json`, which holds the sha256 of all the others. The sha256 of the manifest names the bundle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from core.contracts import Contract, ContractFeature, ContractView, Value
from core.errors import BundleError
from core.files import whole_folder
from core.reference import Reference
from models.candidates import Model, load_model
from models.encoding import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_FILES = ("contract.json", "golden.json", "model", "reference.json", "reference.parquet")
#: How far a replayed golden row may be from its stored score: rounding between versions of the linear algebra.
_GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, ready to score."""

    digest: str
    contract: Contract
    model: Model
    reference: Reference

    def score(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Score vectors in the contract's order; None is missing.

        Raises
        ------
        BundleError
            If a vector has another length than the contract.

        """
        if not vectors:
            return []
        try:
            scores: list[float] = self.model.score(encode(vectors, self.contract.features)).tolist()
        except ValueError as error:
            raise BundleError(f"the bundle {self.digest[:12]} cannot score: {error}") from None
        return scores


def contract_to_json(contract: Contract) -> str:
    """Write a contract; times as seconds."""

    def plain(value: object) -> float:
        if isinstance(value, timedelta):
            return value.total_seconds()
        raise TypeError(type(value).__name__)

    return json.dumps(asdict(contract), indent=2, sort_keys=True, default=plain) + "\n"


def contract_from_json(text: bytes) -> Contract:
    """Read a contract that `contract_to_json` wrote.

    Raises
    ------
    BundleError
        If it is of another format version or has other fields.

    """
    stored: dict[str, Any] = json.loads(text)
    if stored.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"the bundle has format version {stored.get('format_version')}, this software reads {FORMAT_VERSION}; train again"
        )
    try:
        return Contract(
            **{
                **stored,
                "views": tuple(
                    ContractView(**{**view, "ttl": timedelta(seconds=view["ttl"])}) for view in stored["views"]
                ),
                "features": tuple(
                    ContractFeature(**{**feature, "levels": tuple(feature["levels"])}) for feature in stored["features"]
                ),
                "horizon": timedelta(seconds=stored["horizon"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise BundleError(f"the bundle's contract has other fields than format {FORMAT_VERSION}: {error}") from None


def golden_rows(vectors: Sequence[Sequence[Value]], scores: Sequence[float]) -> str:
    """Write rows with their scores, for replay at every load."""

    def plain(value: Value) -> object:
        return {"time": value.isoformat()} if isinstance(value, datetime) else value

    rows = [[plain(value) for value in vector] for vector in vectors]
    return json.dumps({"vectors": rows, "scores": list(scores)}) + "\n"


def write_bundle(bundles: Path, contents: Mapping[str, bytes]) -> str:
    """Write a bundle into the folder `bundles`, under its digest; return the digest. Writing it again changes nothing."""
    if sorted(contents) != sorted(_FILES):
        raise BundleError(f"a bundle has the files {', '.join(_FILES)}; found {', '.join(sorted(contents))}")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    manifest = (
        json.dumps({"format_version": FORMAT_VERSION, "files": hashes}, indent=2, sort_keys=True) + "\n"
    ).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    if not (bundles / digest).exists():
        with whole_folder(bundles / digest) as fresh:
            for name, content in {**contents, MANIFEST: manifest}.items():
                (fresh / name).write_bytes(content)
    return digest


def load_bundle(path: Path) -> Bundle:
    """Load the bundle in the folder `path`, which is named by its digest.

    Every byte is read and checked against the manifest, and the manifest against the name, before anything is parsed; then
    the golden rows are replayed.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, of another format, or does not score its golden rows as it did.

    """
    contents = check_bundle(path)
    contract = contract_from_json(contents["contract.json"])
    model = load_model(contract.estimator, contents["model"])
    bundle = Bundle(path.name, contract, model, Reference.from_json(contents["reference.json"].decode()))
    _replay(bundle, json.loads(contents["golden.json"]))
    return bundle


def check_bundle(path: Path) -> dict[str, bytes]:
    """Read the files of a bundle and check their hashes, without parsing any but the manifest; return their contents.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete or altered.

    """
    try:
        found = {file.name: file.read_bytes() for file in path.iterdir()}
    except OSError as error:
        raise BundleError(f"the bundle {path} cannot be read ({error.strerror}); run `panthera repair`") from None
    manifest = found.pop(MANIFEST, b"")
    if hashlib.sha256(manifest).hexdigest() != path.name:
        raise BundleError(
            f"{path / MANIFEST} was altered or is missing: its sha256 is not the bundle's name; not loaded"
        )
    hashes: dict[str, str] = json.loads(manifest)["files"]
    if sorted(found) != sorted(hashes):
        strange = sorted(set(found) ^ set(hashes))
        raise BundleError(f"{path}: the file {strange[0]} is missing or does not belong there; not loaded")
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != hashes[name]:
            raise BundleError(f"{path / name} was altered: its sha256 is not the manifest's; not loaded")
    return found


def _replay(bundle: Bundle, golden: dict[str, Any]) -> None:
    def value(stored: Any) -> Value:
        return datetime.fromisoformat(stored["time"]) if isinstance(stored, dict) else stored

    vectors = [[value(stored) for stored in vector] for vector in golden["vectors"]]
    off = np.abs(np.asarray(bundle.score(vectors)) - np.asarray(golden["scores"]))
    if not off.size or not off.max() <= _GOLDEN_TOLERANCE:
        raise BundleError(
            f"the bundle {bundle.digest[:12]} does not score its golden rows as it did when it was trained "
            f"(off by up to {off.max(initial=np.nan):g}); the libraries have changed: install requirements.lock, or train again"
        )
