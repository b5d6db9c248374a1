"""Load a model from a candidate's bytes, and score with it; serving needs this and nothing that fits.

Formats: `lightgbm` is the library's text, for trees over the encoded matrix. `parts` has a preparation with an estimator, or
the members of an ensemble, each in a safe format of its own. `skops` is the format of earlier bundles.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core.errors import BundleError, PantheraError
from models.scoring.columns import dense
from models.scoring.lightgbm_row import LightGbmRow
from models.scoring.lightgbm_text import check_lightgbm_text
from models.scoring.parts_file import read_parts
from models.scoring.preparation import Preparation, preparation_from
from models.scoring.skops_file import read_skops
from models.scoring.trees import CATBOOST_CBM, LIGHTGBM_TEXT, XGBOOST_UBJ, catboost_columns, library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from core.calibration import Calibration
    from models.scoring.columns import Columns
    from models.scoring.encoding import Inputs

SKOPS, PARTS = "skops", "parts"
PREPARED, BLEND, STACKING = "prepared", "blend", "stacking"
PREPARATION, ESTIMATOR = "preparation", "estimator"


class Model(ABC):
    """A model that is ready to score."""

    @abstractmethod
    def outputs(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return the model's outputs, of shape (rows, outputs).

        One output is the probability of label 1, or the predicted number. Several are the probabilities of the classes, in
        the order of their codes.
        """

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return one number per row: the only output, or the probability of the most probable class."""
        return score_of(self.outputs(inputs))


def score_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one number per row of outputs; see `Model.score`."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs.max(axis=1)


def calibrated(outputs: NDArray[np.float64], calibration: Calibration | None) -> NDArray[np.float64]:
    """Return a model's outputs after calibration, with the same shape.

    Raises
    ------
    ValueError
        If the calibration has another number of classes.

    """
    if calibration is None:
        return outputs
    return calibration.apply(outputs) if outputs.shape[1] > 1 else calibration.apply(outputs[:, 0])[:, None]


class Estimator(Protocol):
    """A fitted estimator over prepared columns."""

    def outputs(self, columns: Columns) -> NDArray[np.float64]:
        """Return the outputs; see `Model.outputs`."""
        ...


class PreparedModel(Model):
    """An estimator with its preparation; without one the estimator takes the encoded matrix."""

    def __init__(self, preparation: Preparation | None, estimator: Estimator) -> None:
        self.preparation = preparation
        self.estimator = estimator

    def outputs(self, inputs: Inputs) -> NDArray[np.float64]:  # noqa: D102
        columns = inputs.matrix if self.preparation is None else self.preparation.transform(inputs)
        return self.estimator.outputs(columns)


class BlendModel(Model):
    """The weighted mean of its members' outputs."""

    def __init__(self, members: Sequence[Model], weights: Sequence[float]) -> None:
        self.members = members
        self._weights = np.asarray(weights) / np.sum(weights)

    def outputs(self, inputs: Inputs) -> NDArray[np.float64]:  # noqa: D102
        together = np.stack([member.outputs(inputs) for member in self.members], axis=-1)
        return np.asarray(together @ self._weights)


class StackingModel(Model):
    """An estimator over its members' outputs."""

    def __init__(self, members: Sequence[Model], estimator: Estimator) -> None:
        self.members = members
        self._estimator = estimator

    def outputs(self, inputs: Inputs) -> NDArray[np.float64]:  # noqa: D102
        return self._estimator.outputs(stacked([member.outputs(inputs) for member in self.members]))


def stacked(outputs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return members' outputs side by side; of several classes without the first one, because they sum to 1."""
    return np.hstack([output if output.shape[1] == 1 else output[:, 1:] for output in outputs])


class ScikitEstimator:
    """Any estimator of scikit-learn."""

    def __init__(self, estimator: Any, problem: str) -> None:
        self._predict = estimator.predict if problem == "regression" else estimator.predict_proba
        self._only = slice(1, None) if problem == "binary" else slice(None)

    def outputs(self, columns: Columns) -> NDArray[np.float64]:  # noqa: D102
        predictions = np.asarray(self._predict(columns), dtype=np.float64)
        return predictions[:, None] if predictions.ndim == 1 else predictions[:, self._only]


class ForestTrees:
    """The trees of a scikit-learn random forest, called one by one; the forest itself starts a thread pool per call."""

    def __init__(self, forest: Any, problem: str) -> None:
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self._only = slice(1, None) if problem == "binary" else slice(None)

    def outputs(self, columns: Columns) -> NDArray[np.float64]:  # noqa: D102
        numbers = np.ascontiguousarray(dense(columns), dtype=np.float32)
        total = np.zeros_like(self._trees[0].predict(numbers))
        for tree in self._trees:
            total += tree.predict(numbers)
        return np.asarray((total / len(self._trees)).reshape(len(numbers), -1)[:, self._only])


class LightGbmTrees:
    """Trees of LightGBM, read from their text; one thread, because requests run concurrently."""

    def __init__(self, content: bytes) -> None:
        check_lightgbm_text(content)
        self.booster = library("lightgbm").Booster(model_str=content.decode())
        self._one = LightGbmRow(self.booster)

    def outputs(self, columns: Columns) -> NDArray[np.float64]:  # noqa: D102
        if isinstance(columns, np.ndarray) and columns.shape == (1, self._one.width):
            return self._one.outputs(columns)
        predictions = np.asarray(self.booster.predict(columns, num_threads=1), dtype=np.float64)
        return predictions[:, None] if predictions.ndim == 1 else predictions


class XgboostTrees:
    """Trees of XGBoost, read from universal binary JSON."""

    def __init__(self, content: bytes) -> None:
        self._xgboost = library("xgboost")
        self.booster = self._xgboost.Booster({"nthread": 1}, model_file=bytearray(content))

    def data(self, columns: Columns) -> Any:
        """Return columns as XGBoost's DMatrix."""
        types = self.booster.feature_types
        return self._xgboost.DMatrix(columns, feature_types=types, enable_categorical=True, nthread=1)

    def outputs(self, columns: Columns) -> NDArray[np.float64]:  # noqa: D102
        predictions = np.asarray(self.booster.predict(self.data(columns)), dtype=np.float64)
        return predictions[:, None] if predictions.ndim == 1 else predictions


class CatBoostTrees:
    """Trees of CatBoost, read from its binary format."""

    def __init__(self, content: bytes, problem: str) -> None:
        self.model = library("catboost").CatBoost()
        self.model.load_model(blob=content)
        self._kind = "RawFormulaVal" if problem == "regression" else "Probability"
        self._only = slice(1, None) if problem == "binary" else slice(None)

    def outputs(self, columns: Columns) -> NDArray[np.float64]:  # noqa: D102
        mixed = catboost_columns(columns, self.model.get_cat_feature_indices())
        predictions = np.asarray(
            self.model.predict(mixed, prediction_type=self._kind, thread_count=1), dtype=np.float64
        )
        return predictions[:, None] if predictions.ndim == 1 else predictions[:, self._only]


def load_model(model_format: str, content: bytes) -> Model:
    """Return the model of bytes whose hash the caller has checked.

    Raises
    ------
    BundleError
        If the bytes are not a model of `model_format`, or name a type that is not trusted.

    """
    loaders: dict[str, Callable[[bytes], Model]] = {
        PARTS: _load_parts,
        LIGHTGBM_TEXT: lambda content: PreparedModel(None, LightGbmTrees(content)),
        SKOPS: lambda content: PreparedModel(None, ScikitEstimator(read_skops(content), "binary")),
    }
    if model_format not in loaders:
        raise BundleError(
            f"the model format {model_format!r} is unknown, expected one of {', '.join(loaders)}; update, or train again"
        )
    try:
        return loaders[model_format](content)
    except PantheraError:
        raise
    except Exception as error:
        raise BundleError(f"the model cannot be read as {model_format}: {error}") from error


def _load_parts(content: bytes) -> Model:
    outline, parts = read_parts(content)
    kind, problem = outline["kind"], outline["problem"]
    if kind == PREPARED:
        preparation = None
        if outline[PREPARATION] is not None:
            preparation = preparation_from(outline[PREPARATION], read_skops(parts[PREPARATION]))
        return PreparedModel(preparation, _estimator(outline[ESTIMATOR], parts[ESTIMATOR], problem))
    members = [load_model(member["format"], parts[member["part"]]) for member in outline["of"]]
    if kind == BLEND:
        return BlendModel(members, outline["weights"])
    if kind == STACKING:
        return StackingModel(members, _estimator(outline[ESTIMATOR], parts[ESTIMATOR], problem))
    raise BundleError(
        f"the model's kind is {kind!r}, expected {PREPARED}, {BLEND} or {STACKING}; update, or train again"
    )


def _scikit(estimator: Any, problem: str) -> Estimator:
    kind = ForestTrees if hasattr(estimator, "estimators_") else ScikitEstimator
    return kind(estimator, problem)


def _estimator(model_format: str, content: bytes, problem: str) -> Estimator:
    readers: Mapping[str, Callable[[], Estimator]] = {
        SKOPS: lambda: _scikit(read_skops(content), problem),
        LIGHTGBM_TEXT: lambda: LightGbmTrees(content),
        XGBOOST_UBJ: lambda: XgboostTrees(content),
        CATBOOST_CBM: lambda: CatBoostTrees(content, problem),
    }
    if model_format not in readers:
        raise BundleError(
            f"the estimator format {model_format!r} is unknown, expected one of {', '.join(readers)}; update, or train again"
        )
    return readers[model_format]()
