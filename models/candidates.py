"""The model families: how each is fitted on training rows, kept as bytes without pickle, and brought back."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core.errors import BundleError, PantheraError, PlanError
from core.files import require
from core.plan import Candidate, LightGbmCandidate, LogisticCandidate, MajorityCandidate, SingleFeatureCandidate
from models.lightgbm_text import check_lightgbm_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from models.encoding import Inputs

SKOPS, LIGHTGBM_TEXT = "skops", "lightgbm"
#: The only type beyond numpy's and scikit-learn's plain ones that a skops file may name.
_TRUSTED = ["numpy.dtype"]
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Rows:
    """Encoded rows of one part of the split, and their labels, 0 or 1, of the shape (rows,)."""

    inputs: Inputs
    label: NDArray[np.int32]


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate: the format of its bytes, the bytes, and what fitting found out (number of trees, say)."""

    model_format: str
    content: bytes
    facts: dict[str, float]


class Model(Protocol):
    """A model that is ready to score."""

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Give the probability of label 1 for each row."""
        ...


@singledispatch
def fit(candidate: Candidate, features: Sequence[ContractFeature], train: Rows, validation: Rows, seed: int) -> Fitted:
    """Fit `candidate` on `train`; `validation` is used for early stopping alone.

    Raises
    ------
    PlanError
        If the library refuses what the plan asks for.

    """
    raise NotImplementedError(type(candidate))


@fit.register(MajorityCandidate)
def _(
    candidate: MajorityCandidate,  # noqa: ARG001
    features: Sequence[ContractFeature],  # noqa: ARG001
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,  # noqa: ARG001
) -> Fitted:
    from sklearn.dummy import DummyClassifier

    return _keep(DummyClassifier(strategy="prior").fit(train.inputs.matrix[:, :1], train.label))


@fit.register(SingleFeatureCandidate)
def _(
    candidate: SingleFeatureCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
) -> Fitted:
    place = [f"{feature.view}.{feature.name}" for feature in features].index(candidate.feature)
    return _fit_logistic([place], ("impute_median", "standard_scale"), 1.0, train, seed)


@fit.register(LogisticCandidate)
def _(
    candidate: LogisticCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
) -> Fitted:
    numeric = [place for place, feature in enumerate(features) if feature.dtype not in {"string", "timestamp", "text"}]
    return _fit_logistic(numeric, candidate.numeric, candidate.penalty_inverse, train, seed)


def _fit_logistic(places: list[int], steps: Sequence[str], penalty_inverse: float, train: Rows, seed: int) -> Fitted:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    makers = {
        "impute_median": lambda: SimpleImputer(strategy="median", keep_empty_features=True),
        "standard_scale": StandardScaler,
    }
    pipeline = make_pipeline(
        ColumnTransformer([("chosen", "passthrough", places)]),
        *(makers[step]() for step in steps),
        LogisticRegression(C=penalty_inverse, max_iter=1000, random_state=seed),
    )
    try:
        return _keep(pipeline.fit(train.inputs.matrix, train.label))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise PlanError(f"the logistic regression cannot be fitted: {reason} (is impute_median missing?)") from None


@fit.register(LightGbmCandidate)
def _(
    candidate: LightGbmCandidate, features: Sequence[ContractFeature], train: Rows, validation: Rows, seed: int
) -> Fitted:
    lightgbm = _lightgbm()
    parameters = {
        **candidate.params,
        "objective": "binary",
        "metric": "binary_logloss",
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    categories = [place for place, feature in enumerate(features) if feature.dtype == "string"]
    names = [feature.column for feature in features]
    try:
        data = lightgbm.Dataset(train.inputs.matrix, train.label, feature_name=names, categorical_feature=categories)
        booster = lightgbm.train(
            parameters,
            data,
            num_boost_round=candidate.rounds,
            valid_sets=[lightgbm.Dataset(validation.inputs.matrix, validation.label, reference=data)],
            callbacks=[lightgbm.early_stopping(candidate.early_stopping, verbose=False)],
        )
    except lightgbm.basic.LightGBMError as error:
        raise PlanError(f"LightGBM refuses the candidate's params: {error}") from None
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return Fitted(LIGHTGBM_TEXT, text.encode(), {"trees": float(booster.best_iteration)})


def _lightgbm() -> Any:
    """Import LightGBM, whose wheel, unlike those of its kind, brings no OpenMP library of its own."""
    try:
        import lightgbm
    except OSError as error:
        raise PantheraError(
            f"LightGBM cannot be loaded ({error}); install the system's OpenMP library, on Debian the package libgomp1"
        ) from None
    return lightgbm


def _keep(estimator: Any) -> Fitted:
    import skops.io

    return Fitted(SKOPS, _settled(skops.io.dumps(estimator)), {})


def _settled(content: bytes) -> bytes:
    """Rewrite a skops file so that equal models give equal bytes: no memory addresses, no time of writing."""
    names: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: _number(names, value) if key == "__id__" else renumber(value) for key, value in node.items()}
        if isinstance(node, list):
            return [renumber(item) for item in node]
        return node

    settled = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(settled, "w", zipfile.ZIP_DEFLATED) as new:
        schema = renumber(json.loads(old.read("schema.json")))
        text = json.dumps(schema)
        for number, member in enumerate(sorted(set(old.namelist()) - {"schema.json"}, key=text.find)):
            name = f"array{number}.npy"
            text = text.replace(f'"{member}"', f'"{name}"')
            new.writestr(zipfile.ZipInfo(name, _ZIP_TIME), old.read(member))
        new.writestr(zipfile.ZipInfo("schema.json", _ZIP_TIME), text)
    return settled.getvalue()


def _number(names: dict[int, int], address: int) -> int:
    return names.setdefault(address, len(names) + 1)


def read_candidate(folder: Path) -> tuple[str, bytes]:
    """Read the format and the bytes of a candidate that the stage `train` wrote."""
    facts = json.loads(require(folder / "candidate.json", "train").read_text())
    return str(facts["estimator"]), (folder / "model").read_bytes()


def load_model(model_format: str, content: bytes) -> Model:
    """Bring a model back from bytes whose hash the caller has checked.

    Raises
    ------
    BundleError
        If they are not a model of `model_format`, or name a type that is not trusted.

    """
    loaders: dict[str, Callable[[bytes], Model]] = {SKOPS: _SklearnModel, LIGHTGBM_TEXT: _LightGbmModel}
    if model_format not in loaders:
        raise BundleError(f"the model format {model_format!r} is unknown; this version reads {', '.join(loaders)}")
    try:
        return loaders[model_format](content)
    except PantheraError:
        raise
    except Exception as error:
        raise BundleError(f"the model cannot be read as {model_format}: {error}") from error


class _SklearnModel:
    def __init__(self, content: bytes) -> None:
        import skops.io

        self._estimator = skops.io.loads(content, trusted=_TRUSTED)
        self._width = None if hasattr(self._estimator, "steps") else 1

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        probabilities = self._estimator.predict_proba(inputs.matrix[:, : self._width])
        return np.asarray(probabilities[:, 1], dtype=np.float64)


class _LightGbmModel:
    def __init__(self, content: bytes) -> None:
        check_lightgbm_text(content)
        self._booster = _lightgbm().Booster(model_str=content.decode())

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        return np.asarray(self._booster.predict(inputs.matrix, num_threads=1), dtype=np.float64)
