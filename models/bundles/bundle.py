"""The bundle: a trained candidate on disk; every byte is checked before anything is parsed.

Files: `contract.json`; `model` (LightGBM text, skops or parts, never a pickle); `reference.json` (bins of features and score
in training); `reference.parquet` (a sample of training rows for reports); `golden.json` (rows with their scores, checked
at every load); `manifest.json` (the sha256 and size of each of these); `manifest.sig` (the Ed25519 signature over the bytes
of the manifest). The sha256 of the manifest is the name of the bundle.

Format 1 has no signature. Such a bundle loads after `panthera release sign`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import BundleError
from core.files import unfinished, whole_folder
from core.reference import Reference
from models.bundles.conformance import Conformance
from models.bundles.contract_format import FORMAT_VERSION, contract_from_json
from models.scoring.encoding import Encoder, encode
from models.scoring.model_file import Model, calibrated, load_model, score_of
from models.scoring.tree_contributions import exact_contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from core.contracts import Contract, Value
    from models.bundles.signing import Signer, TrustedKeys
    from models.scoring.encoding import Inputs

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
_FILES = ("contract.json", "golden.json", "model", "reference.json", "reference.parquet")
#: The largest size of a manifest or signature, and of a file whose size is not in the manifest.
_MOST_SMALL_BYTES, _MOST_BYTES = 1 << 16, 1 << 30
#: The largest relative error of a replayed golden row: rounding differs between versions of linear algebra libraries.
_GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class BundleFacts:
    """What a bundle says without its model, which takes seconds to load.

    `sample` is the content of `reference.parquet`; `size` is the number of bytes of the manifest's files.
    """

    digest: str
    contract: Contract
    reference: Reference
    sample: bytes
    size: int


@dataclass(frozen=True)
class Bundle(BundleFacts):
    """A loaded bundle, ready to score."""

    model: Model
    conformance: Conformance
    encoder: Encoder

    def fault(self, vector: Sequence[Value]) -> str | None:
        """Return why a vector cannot be scored, or None; see `models.bundles.conformance`."""
        return self.conformance.fault(vector)

    def score(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Return the scores of vectors in the contract's order; None is a missing value.

        Raises
        ------
        BundleError
            If a vector does not conform to the contract, or the model cannot score it.

        """
        scores: list[float] = score_of(self.outputs(vectors)).tolist()
        return scores

    def outputs(self, vectors: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
        """Return the calibrated outputs for vectors, of shape (vectors, outputs); see `Model.outputs`.

        Raises
        ------
        BundleError
            If a vector does not conform to the contract, or the model cannot score it.

        """
        if not vectors:
            return np.empty((0, 1))
        fault = next(filter(None, map(self.conformance.fault, vectors)), None)
        if fault:
            raise BundleError(f"the bundle {self.digest[:12]} cannot score: {fault}")
        return self.outputs_conforming(vectors)

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Return the scores of vectors that are known to conform to the contract; see `fault`.

        Raises
        ------
        BundleError
            If the model cannot score them.

        """
        scores: list[float] = score_of(self.outputs_conforming(vectors)).tolist()
        return scores

    def outputs_conforming(self, vectors: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
        """Return the calibrated outputs for vectors that are known to conform to the contract; see `fault`.

        Raises
        ------
        BundleError
            If the model cannot score them.

        """
        return self.outputs_of(self.encoder(vectors)) if vectors else np.empty((0, 1))

    def contributions(self, vectors: Sequence[Sequence[Value]]) -> NDArray[np.float64] | None:
        """Return the contributions of the features to the raw scores of conforming vectors, see `exact_contributions`."""
        return exact_contributions(self.model, encode(vectors, self.contract.features))

    def outputs_of(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the calibrated outputs for rows that are encoded by the contract's features.

        Raises
        ------
        BundleError
            If the model cannot score them.

        """
        try:
            return calibrated(self.model.outputs(inputs), self.contract.calibration)
        except ValueError as error:
            raise BundleError(f"the bundle {self.digest[:12]} cannot score: {error}") from None


def golden_rows(vectors: Sequence[Sequence[Value]], scores: Sequence[float] | Sequence[Sequence[float]]) -> str:
    """Compose the JSON of rows and their scores, or their scores of all classes, to check at every load."""

    def plain(value: Value) -> object:
        return {"time": value.isoformat()} if isinstance(value, datetime) else value

    rows = [[plain(value) for value in vector] for vector in vectors]
    return json.dumps({"vectors": rows, "scores": list(scores)}) + "\n"


def write_bundle(bundles: Path, contents: Mapping[str, bytes], signer: Signer) -> str:
    """Write a signed bundle into the folder `bundles`, under its digest; return the digest.

    An intact bundle with a trusted signature is not written again. An altered one, or one with another key's signature, is
    replaced.
    """
    if sorted(contents) != sorted(_FILES):
        raise BundleError(f"found the files {', '.join(sorted(contents))}; a bundle has {', '.join(_FILES)}")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    sizes = {name: len(content) for name, content in contents.items()}
    stored = {"format_version": FORMAT_VERSION, "files": hashes, "sizes": sizes}
    manifest = (json.dumps(stored, indent=2, sort_keys=True) + "\n").encode()
    digest = hashlib.sha256(manifest).hexdigest()
    try:
        check_bundle(bundles / digest, signer.trusted)
    except BundleError:
        with whole_folder(bundles / digest) as fresh:
            for name, content in {**contents, MANIFEST: manifest, SIGNATURE: signer.sign(manifest)}.items():
                (fresh / name).write_bytes(content)
    return digest


def sign_bundle(path: Path, signer: Signer) -> None:
    """Write a new signature of a bundle; the caller vouches for its digest.

    Raises
    ------
    BundleError
        If its files do not match the digest.

    """
    _file_names(path)
    manifest = _read_manifest(path)
    _read_checked(path, manifest)
    fresh = unfinished(path)
    fresh.write_bytes(signer.sign(manifest))
    fresh.replace(path / SIGNATURE)


def load_bundle(path: Path, trusted: TrustedKeys) -> Bundle:
    """Load the bundle in the folder `path`, whose name is the digest.

    Every byte is read once and checked (see `check_bundle`) before anything is parsed. Then the golden rows are scored.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, not signed by a trusted key, of an unknown format, or its scores of the
        golden rows differ from the stored ones.

    """
    contents = check_bundle(path, trusted)
    facts = _facts_of(path.name, contents)
    bundle = Bundle(
        **vars(facts),
        model=load_model(facts.contract.estimator, contents["model"]),
        conformance=Conformance(facts.contract),
        encoder=Encoder(facts.contract.features),
    )
    _replay(bundle, json.loads(contents["golden.json"]))
    return bundle


def read_facts(path: Path, trusted: TrustedKeys) -> BundleFacts:
    """Read the bundle in the folder `path` without its model, which is checked but not parsed.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, not signed by a trusted key, or of an unknown format.

    """
    return _facts_of(path.name, check_bundle(path, trusted))


def _facts_of(digest: str, contents: Mapping[str, bytes]) -> BundleFacts:
    return BundleFacts(
        digest=digest,
        contract=contract_from_json(contents["contract.json"]),
        reference=Reference.from_json(contents["reference.json"].decode()),
        sample=contents["reference.parquet"],
        size=sum(map(len, contents.values())),
    )


def check_bundle(path: Path, trusted: TrustedKeys) -> dict[str, bytes]:
    """Read and check the files of a bundle; return their contents. Only the manifest is parsed.

    The manifest is checked against the bundle's name and the signature. Every file is checked against the manifest: its size
    before it is read, then its hash.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, or not signed by a trusted key.

    """
    signed = SIGNATURE in _file_names(path)
    manifest = _read_manifest(path)
    signature = _read_file(path / SIGNATURE, range(_MOST_SMALL_BYTES)) if signed else None
    _check_signature(path, manifest, signature, trusted)
    return _read_checked(path, manifest)


def _file_names(path: Path) -> list[str]:
    """Return the names of a bundle's files; a missing or additional file is an error."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise BundleError(f"the bundle {path} cannot be read ({error.strerror}); run `panthera repair`") from None
    wrong = sorted({*_FILES, MANIFEST} ^ (set(names) - {SIGNATURE}))
    if wrong:
        raise BundleError(f"{path}: the file {wrong[0]} is missing or does not belong there; not loaded")
    return names


def _read_file(path: Path, sizes: range) -> bytes:
    """Read a regular file whose size is in `sizes`; refuse links, devices and pipes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"{path} cannot be read as a regular file ({error.strerror}); not loaded") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{path} is not a regular file; not loaded")
        if found.st_size not in sizes:
            expected = f"{sizes.start:,}" if len(sizes) == 1 else f"at most {sizes.stop - 1:,}"
            raise BundleError(f"{path} was altered: it has {found.st_size:,} bytes, expected {expected}; not loaded")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> bytes:
    """Read the manifest; its sha256 must be the folder's name."""
    manifest = _read_file(path / MANIFEST, range(_MOST_SMALL_BYTES))
    if hashlib.sha256(manifest).hexdigest() != path.name:
        raise BundleError(f"{path / MANIFEST} was altered: its sha256 is not the bundle's name; not loaded")
    return manifest


def _check_signature(path: Path, manifest: bytes, signature: bytes | None, trusted: TrustedKeys) -> None:
    if signature is None:
        raise BundleError(
            f"{path} is not signed; not loaded. Bundles of format 1 have no signature: if you know the origin of this one, "
            "sign it with `panthera release sign`, otherwise train again"
        )
    if not trusted.public:
        raise BundleError(
            f"{path} is not loaded, because no key is trusted: set PANTHERA_TRUSTED_KEY to the output of `panthera key` on "
            "the machine that trains"
        )
    if not trusted.verify(manifest, signature):
        raise BundleError(
            f"{path / SIGNATURE} was altered, or made by a key that is not trusted; not loaded. After a change of keys sign "
            "it again with `panthera release sign`, or trust the old key as well"
        )


def _read_checked(path: Path, manifest: bytes) -> dict[str, bytes]:
    """Read the manifest's files; each size is checked before reading, each hash after it."""
    stored: dict[str, dict[str, Any]] = json.loads(manifest)
    # Manifests of earlier versions have no sizes.
    sizes, found = stored.get("sizes", {}), {}
    for name in _FILES:
        size = sizes.get(name)
        allowed = range(_MOST_BYTES) if size is None else range(size, size + 1)
        found[name] = _read_file(path / name, allowed)
        if hashlib.sha256(found[name]).hexdigest() != stored["files"].get(name):
            raise BundleError(f"{path / name} was altered: its sha256 is not the manifest's; not loaded")
    return found


def _replay(bundle: Bundle, golden: dict[str, Any]) -> None:
    def value(stored: Any) -> Value:
        return datetime.fromisoformat(stored["time"]) if isinstance(stored, dict) else stored

    vectors = [[value(stored) for stored in vector] for vector in golden["vectors"]]
    expected, outputs = np.asarray(golden["scores"]), bundle.outputs(vectors)
    scores = outputs if expected.ndim > 1 else score_of(outputs)
    errors = np.abs(scores - expected) / np.maximum(1, np.abs(expected))
    if not errors.size or not errors.max() <= _GOLDEN_TOLERANCE:
        raise BundleError(
            f"the bundle {bundle.digest[:12]} does not score its golden rows as in training (relative error "
            f"{errors.max(initial=np.nan):g}, expected at most {_GOLDEN_TOLERANCE:g}); the libraries have changed: install "
            "requirements.lock, or train again"
        )
