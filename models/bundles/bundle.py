"""The bundle: a trained candidate on disk, of which nothing is parsed before every byte of it has been checked.

Files: `contract.json`, `model` (LightGBM text or skops, never a pickle), `reference.json` (bins of features and score in
training), `reference.parquet` (a sample of training rows for reports), `golden.json` (rows with their scores, replayed at
every load), `manifest.json`, the sha256 and size of each, and `manifest.sig`, the Ed25519 signature over the bytes of
the manifest. The sha256 of the manifest names the bundle.

Format 1 had no signature: such a bundle is loaded once somebody has signed it (`panthera release sign`).
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
from models.scoring.encoding import Encoder
from models.scoring.model_file import Model, calibrated, load_model, score_of

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
#: Of a manifest or a signature, and of a file whose manifest does not say how large it is.
_MOST_SMALL_BYTES, _MOST_BYTES = 1 << 16, 1 << 30
#: How far a replayed golden row may be from its stored score: rounding between versions of the linear algebra.
_GOLDEN_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, ready to score.

    `sample` is the checked content of `reference.parquet`, `size` the number of bytes of the files of the manifest.
    """

    digest: str
    contract: Contract
    model: Model
    reference: Reference
    sample: bytes
    size: int
    conformance: Conformance
    encoder: Encoder

    def fault(self, vector: Sequence[Value]) -> str | None:
        """Say why a vector cannot be scored, or None: see `models.bundles.conformance`."""
        return self.conformance.fault(vector)

    def score(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Score vectors in the contract's order; None is missing.

        Raises
        ------
        BundleError
            If a vector does not conform to the contract, or the model cannot score it.

        """
        found: list[float] = score_of(self.outputs(vectors)).tolist()
        return found

    def outputs(self, vectors: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
        """Give all that the model says of vectors, calibrated, of the shape (vectors, outputs); see `Model.outputs`.

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
        return self.outputs_of(self.encoder(vectors))

    def outputs_of(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give all that the model says of rows that have been encoded by the contract's features, calibrated.

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
    """Write rows with their scores, or with the scores of all classes, for replay at every load."""

    def plain(value: Value) -> object:
        return {"time": value.isoformat()} if isinstance(value, datetime) else value

    rows = [[plain(value) for value in vector] for vector in vectors]
    return json.dumps({"vectors": rows, "scores": list(scores)}) + "\n"


def write_bundle(bundles: Path, contents: Mapping[str, bytes], signer: Signer) -> str:
    """Write a signed bundle into the folder `bundles`, under its digest; return the digest.

    Writing it again changes nothing, unless what is there was altered or signed by another key: then it is made good.
    """
    if sorted(contents) != sorted(_FILES):
        raise BundleError(f"a bundle has the files {', '.join(_FILES)}; found {', '.join(sorted(contents))}")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    sizes = {name: len(content) for name, content in contents.items()}
    told = {"format_version": FORMAT_VERSION, "files": hashes, "sizes": sizes}
    manifest = (json.dumps(told, indent=2, sort_keys=True) + "\n").encode()
    digest = hashlib.sha256(manifest).hexdigest()
    try:
        check_bundle(bundles / digest, signer.trusted)
    except BundleError:
        with whole_folder(bundles / digest) as fresh:
            for name, content in {**contents, MANIFEST: manifest, SIGNATURE: signer.sign(manifest)}.items():
                (fresh / name).write_bytes(content)
    return digest


def sign_bundle(path: Path, signer: Signer) -> None:
    """Sign a bundle that nobody has signed, or another key: whoever calls this vouches for its digest.

    Raises
    ------
    BundleError
        If its bytes are not those that the digest stands for.

    """
    _file_names(path)
    manifest = _read_manifest(path)
    _read_checked(path, manifest)
    fresh = unfinished(path)
    fresh.write_bytes(signer.sign(manifest))
    fresh.replace(path / SIGNATURE)


def load_bundle(path: Path, trusted: TrustedKeys) -> Bundle:
    """Load the bundle in the folder `path`, which is named by its digest.

    Every byte is read once and checked (see `check_bundle`) before anything is parsed; then the golden rows are replayed.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, not signed by a key that is trusted, of another format, or does not
        score its golden rows as it did.

    """
    contents = check_bundle(path, trusted)
    contract = contract_from_json(contents["contract.json"])
    bundle = Bundle(
        digest=path.name,
        contract=contract,
        model=load_model(contract.estimator, contents["model"]),
        reference=Reference.from_json(contents["reference.json"].decode()),
        sample=contents["reference.parquet"],
        size=sum(map(len, contents.values())),
        conformance=Conformance(contract),
        encoder=Encoder(contract.features),
    )
    _replay(bundle, json.loads(contents["golden.json"]))
    return bundle


def check_bundle(path: Path, trusted: TrustedKeys) -> dict[str, bytes]:
    """Read the files of a bundle and check them; return their contents, of which only the manifest has been parsed.

    First the manifest against the bundle's name and its signature, then every file against the manifest: its size before
    it is read, and its hash.

    Raises
    ------
    BundleError
        If the bundle is absent, incomplete, altered, or not signed by a key that is trusted.

    """
    signed = SIGNATURE in _file_names(path)
    manifest = _read_manifest(path)
    signature = _read_file(path / SIGNATURE, range(_MOST_SMALL_BYTES)) if signed else None
    _check_signature(path, manifest, signature, trusted)
    return _read_checked(path, manifest)


def _file_names(path: Path) -> list[str]:
    """List the files of a bundle, of which there must be no other ones."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise BundleError(f"the bundle {path} cannot be read ({error.strerror}); run `panthera repair`") from None
    strange = sorted({*_FILES, MANIFEST} ^ (set(names) - {SIGNATURE}))
    if strange:
        raise BundleError(f"{path}: the file {strange[0]} is missing or does not belong there; not loaded")
    return names


def _read_file(path: Path, sizes: range) -> bytes:
    """Read a file whose size is one of `sizes`, but nothing that stands for another one, or that never ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"{path} cannot be read as a file of its own ({error.strerror}); not loaded") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{path} is not a file; not loaded")
        if found.st_size not in sizes:
            expected = f"{sizes.start:,}" if len(sizes) == 1 else f"at most {sizes.stop - 1:,}"
            raise BundleError(
                f"{path} was altered: it has {found.st_size:,} bytes, expected are {expected}; not loaded"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> bytes:
    """Read the manifest, by which the folder must be named."""
    manifest = _read_file(path / MANIFEST, range(_MOST_SMALL_BYTES))
    if hashlib.sha256(manifest).hexdigest() != path.name:
        raise BundleError(f"{path / MANIFEST} was altered: its sha256 is not the bundle's name; not loaded")
    return manifest


def _check_signature(path: Path, manifest: bytes, signature: bytes | None, trusted: TrustedKeys) -> None:
    if signature is None:
        raise BundleError(
            f"{path} is not signed; not loaded. Bundles of format 1 never were: if you know where it comes from, sign it "
            "with `panthera release sign`, else train again"
        )
    if not trusted.public:
        raise BundleError(
            f"{path} is not loaded, because no key is trusted: set PANTHERA_TRUSTED_KEY to what `panthera key` says where "
            "bundles are made"
        )
    if not trusted.verify(manifest, signature):
        raise BundleError(
            f"{path / SIGNATURE} was altered, or made by a key that is not trusted here; not loaded. After a change of keys "
            "sign it again with `panthera release sign`, or trust the old key as well"
        )


def _read_checked(path: Path, manifest: bytes) -> dict[str, bytes]:
    """Read the files that the manifest names, each after its size and before its hash is compared."""
    told: dict[str, dict[str, Any]] = json.loads(manifest)
    # Until sizes were kept, a manifest had hashes alone.
    sizes, found = told.get("sizes", {}), {}
    for name in _FILES:
        size = sizes.get(name)
        allowed = range(_MOST_BYTES) if size is None else range(size, size + 1)
        found[name] = _read_file(path / name, allowed)
        if hashlib.sha256(found[name]).hexdigest() != told["files"].get(name):
            raise BundleError(f"{path / name} was altered: its sha256 is not the manifest's; not loaded")
    return found


def _replay(bundle: Bundle, golden: dict[str, Any]) -> None:
    def value(stored: Any) -> Value:
        return datetime.fromisoformat(stored["time"]) if isinstance(stored, dict) else stored

    vectors = [[value(stored) for stored in vector] for vector in golden["vectors"]]
    known, outputs = np.asarray(golden["scores"]), bundle.outputs(vectors)
    told = outputs if known.ndim > 1 else score_of(outputs)
    off = np.abs(told - known) / np.maximum(1, np.abs(known))
    if not off.size or not off.max() <= _GOLDEN_TOLERANCE:
        raise BundleError(
            f"the bundle {bundle.digest[:12]} does not score its golden rows as it did when it was trained "
            f"(off by up to {off.max(initial=np.nan):g}); the libraries have changed: install requirements.lock, or train again"
        )
