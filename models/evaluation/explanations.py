"""Why a model says what it says: how much each feature adds to the raw score, for one prediction and on average.

The contributions of a prediction and the base add up to its raw score: the log-odds of label 1, the log of each class's
probability (boosted trees: their raw score of the class), or the predicted number; before any calibration. Boosted trees
that take the encoded features as they are know their Shapley values exactly. Those of every other model are sampled by
SHAP, which needs nothing but the scores and so holds for a pipeline, a blend or a stack as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.calibration import log_odds
from models.scoring.encoding import Inputs
from models.scoring.model_file import CatBoostTrees, LightGbmTrees, PreparedModel, XgboostTrees
from models.scoring.trees import catboost_columns, library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value
    from models.scoring.model_file import Estimator, Model

_SMALLEST = 1e-15
#: Training rows whose values stand for `not known`, and rows that are explained together.
_BACKGROUND_ROWS, _EXPLAINED_ROWS = 50, 200
#: The numbers in the rows that are scored for one explanation, and for all of them.
_MOST_NUMBERS, _MOST_NUMBERS_TOGETHER = 20_000_000, 1_000_000_000
#: Orders in which the features of a single prediction are revealed.
ORDERS = 5


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to the raw scores of some rows.

    Attributes
    ----------
    base : (outputs,): the raw score before anything is known of a row.
    values : (rows, features, outputs), in the contract's order of features; base and values of a row sum to its raw score.

    """

    base: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def importance(self) -> NDArray[np.float64]:
        """Mean absolute contribution of each feature over rows and outputs, of the shape (features,)."""
        return np.asarray(np.abs(self.values).mean(axis=(0, 2)))


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to the raw score of one prediction."""

    feature: str
    value: Value
    adds: float


@dataclass(frozen=True)
class Explanation:
    """One prediction explained: `base` and what all features add sum to `raw_score`; the strongest feature first."""

    base: float
    raw_score: float
    contributions: tuple[Contribution, ...]


def raw_scores(model: Model, problem: str, inputs: Inputs) -> NDArray[np.float64]:
    """Give the raw scores of rows on the scale of a sampled contribution, of shape (rows, outputs)."""
    outputs = model.outputs(inputs)
    if problem == "binary":
        return log_odds(outputs)
    return outputs if problem == "regression" else np.log(np.maximum(outputs, _SMALLEST))


def contributions(
    model: Model, problem: str, inputs: Inputs, background: Inputs, *, orders: int = 1, seed: int = 0
) -> Contributions:
    """Explain rows; `background` holds rows of the training period, some dozens, whose values stand for `not known`."""
    if isinstance(model, PreparedModel) and model.preparation is None:
        told = _of_trees(model.estimator, inputs.matrix)
        if told is not None:
            by_output = told.reshape(len(inputs), -1, inputs.matrix.shape[1] + 1)
            return Contributions(by_output[0, :, -1], by_output[:, :, :-1].transpose(0, 2, 1))
    return sampled(model, problem, inputs, background, orders=orders, seed=seed)


def _of_trees(estimator: Estimator, matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Ask boosted trees for their own contributions, the base last (rows, outputs and features + 1); None from others.

    References
    ----------
    Lundberg, S. M., et al. (2020). From local explanations to global understanding with explainable AI for trees. Nature
    Machine Intelligence 2.

    """
    told = None
    if isinstance(estimator, LightGbmTrees):
        told = estimator.booster.predict(matrix, pred_contrib=True, num_threads=1)
    elif isinstance(estimator, XgboostTrees):
        told = estimator.booster.predict(estimator.data(matrix), pred_contribs=True)
    elif isinstance(estimator, CatBoostTrees):
        places = estimator.model.get_cat_feature_indices()
        pool = library("catboost").Pool(catboost_columns(matrix, places), cat_features=places)
        told = estimator.model.get_feature_importance(pool, type="ShapValues", thread_count=1)
    return None if told is None else np.asarray(told, dtype=np.float64)


@dataclass(frozen=True)
class _Texts:
    """Rows as the one matrix that SHAP mixes: free texts stand in it by their places in `known`."""

    known: Mapping[int, NDArray[np.object_]]

    def code(self, inputs: Inputs) -> NDArray[np.float64]:
        matrix = inputs.matrix.copy()
        for place, texts in self.known.items():
            matrix[:, place] = np.searchsorted(texts, inputs.texts[place])
        return matrix

    def decode(self, matrix: NDArray[np.float64]) -> Inputs:
        texts = {place: known[matrix[:, place].astype(np.int64)] for place, known in self.known.items()}
        plain = matrix.copy()
        plain[:, list(self.known)] = np.nan
        return Inputs(plain, texts)


def _shap() -> Any:
    """Import SHAP with its loops uncompiled: Numba takes seconds in each process, and they run for less than one."""
    import numba

    numba.config.DISABLE_JIT = True  # type: ignore[attr-defined]
    import shap

    return shap


def sampled(
    model: Model, problem: str, inputs: Inputs, background: Inputs, *, orders: int = 1, seed: int = 0
) -> Contributions:
    """Sample Shapley values: reveal the features one by one in random orders, and see how the mean raw score moves.

    The unknown features have the values of the background rows. Each order is walked forwards and backwards, which is exact
    where no more than pairs of features interact, and the contributions of every row sum to its raw score whatever the
    orders. It takes about 2 x orders x features x background rows scores for each row.

    References
    ----------
    Lundberg, S. M. and Lee, S.-I. (2017). A unified approach to interpreting model predictions. NeurIPS 30. Mitchell, R.,
    et al. (2022). Sampling permutations for Shapley value estimation. JMLR 23 (orders in pairs).

    """
    shap = _shap()
    known = {place: np.unique(np.append(texts, background.texts[place])) for place, texts in inputs.texts.items()}
    coding, features = _Texts(known), inputs.matrix.shape[1]
    masker = shap.maskers.Independent(coding.code(background), max_samples=len(background))
    explainer = shap.explainers.Permutation(
        lambda matrix: raw_scores(model, problem, coding.decode(matrix)), masker, seed=seed
    )
    found = explainer(coding.code(inputs), max_evals=2 * orders * features + 1, silent=True)
    values = np.asarray(found.values, dtype=np.float64).reshape(len(inputs), features, -1)
    return Contributions(np.asarray(found.base_values, dtype=np.float64).reshape(len(inputs), -1)[0], values)


def background_rows(features: int) -> int:
    """Say how many training rows stand for `not known`; fewer where there are so many features that one row takes too long.

    An explanation scores 2 x features x background rows, each of all features: with 1,000 of these, 50 rows would be 100
    million numbers.
    """
    return max(1, min(_BACKGROUND_ROWS, _MOST_NUMBERS // (2 * features**2)))


def explained_rows(features: int) -> int:
    """Say how many rows are explained together, at least one; fewer where there are so many features that it takes too long."""
    numbers = 2 * features**2 * background_rows(features)
    return max(1, min(_EXPLAINED_ROWS, _MOST_NUMBERS_TOGETHER // numbers))


def explanation(
    found: Contributions, row: int, features: Sequence[ContractFeature], vector: Sequence[Value], output: int = 0
) -> Explanation:
    """Name the contributions of one row, the strongest first."""
    adds, base = found.values[row, :, output], float(found.base[output])
    listed = [
        Contribution(f"{feature.view}.{feature.name}", value, float(one))
        for feature, value, one in zip(features, vector, adds, strict=True)
    ]
    listed.sort(key=lambda one: -abs(one.adds))
    return Explanation(base, base + float(adds.sum()), tuple(listed))
