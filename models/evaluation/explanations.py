"""Shapley values: the contribution of each feature to the raw score, for one prediction and on average.

The base and the contributions of a prediction sum to its raw score, before any calibration. The raw score is the log-odds
of label 1, the log-probability of each class (for boosted trees their raw score of the class), or the predicted number.
Boosted trees over the encoded features compute their Shapley values exactly. For all other models SHAP samples them from
the scores alone, which also covers a whole pipeline, blend or stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.calibration import log_odds
from models.scoring.encoding import Inputs
from models.scoring.tree_contributions import exact_contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value
    from models.scoring.model_file import Model

_SMALLEST = 1e-15
#: The largest number of background rows, and of rows that are explained together.
_BACKGROUND_ROWS, _EXPLAINED_ROWS = 50, 200
#: The largest number of matrix cells to score for one explanation, and for all of them.
_MOST_CELLS, _MOST_CELLS_TOGETHER = 20_000_000, 1_000_000_000
#: Random feature orders that are sampled for a single prediction.
ORDERS = 5


@dataclass(frozen=True)
class Contributions:
    """The contributions of the features to the raw scores of some rows.

    Attributes
    ----------
    base : (outputs,): the mean raw score of the background rows.
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
    """The contribution of one feature to the raw score of one prediction."""

    feature: str
    value: Value
    adds: float


@dataclass(frozen=True)
class Explanation:
    """One prediction explained: `base` and all contributions sum to `raw_score`; largest absolute contribution first."""

    base: float
    raw_score: float
    contributions: tuple[Contribution, ...]


def raw_scores(model: Model, problem: str, inputs: Inputs) -> NDArray[np.float64]:
    """Return the raw scores of rows on the scale of sampled contributions, of shape (rows, outputs)."""
    outputs = model.outputs(inputs)
    if problem == "binary":
        return log_odds(outputs)
    return outputs if problem == "regression" else np.log(np.maximum(outputs, _SMALLEST))


def contributions(
    model: Model, problem: str, inputs: Inputs, background: Inputs, *, orders: int = 1, seed: int = 0
) -> Contributions:
    """Return the contributions for the rows of `inputs`.

    `background` has some dozens of training rows; their values replace those of unknown features in sampling.
    """
    exact = exact_contributions(model, inputs)
    if exact is not None:
        return Contributions(exact[0, :, -1], exact[:, :, :-1].transpose(0, 2, 1))
    return sampled(model, problem, inputs, background, orders=orders, seed=seed)


@dataclass(frozen=True)
class _TextCoding:
    """Encodes rows as the one matrix that SHAP mixes: a free text becomes its index in `known`."""

    known: Mapping[int, NDArray[np.object_]]

    def code(self, inputs: Inputs) -> NDArray[np.float64]:
        matrix = inputs.matrix.copy()
        for column, texts in self.known.items():
            matrix[:, column] = np.searchsorted(texts, inputs.texts[column])
        return matrix

    def decode(self, matrix: NDArray[np.float64]) -> Inputs:
        texts = {column: known[matrix[:, column].astype(np.int64)] for column, known in self.known.items()}
        plain = matrix.copy()
        plain[:, list(self.known)] = np.nan
        return Inputs(plain, texts)


def _shap() -> Any:
    """Import SHAP without Numba's compilation, which takes seconds in each process; the loops run for less than one."""
    import numba

    numba.config.DISABLE_JIT = True  # type: ignore[attr-defined]
    import shap

    return shap


def sampled(
    model: Model, problem: str, inputs: Inputs, background: Inputs, *, orders: int = 1, seed: int = 0
) -> Contributions:
    """Return Shapley values sampled over random feature orders: the changes of the mean raw score per revealed feature.

    Unknown features have the values of the background rows. Each order is used forwards and backwards, which is exact if
    features interact at most in pairs. The contributions of a row sum to its raw score for any orders. Each row takes about
    2 x orders x features x background rows scores.

    References
    ----------
    Lundberg, S. M. and Lee, S.-I. (2017). A unified approach to interpreting model predictions. NeurIPS 30. Mitchell, R.,
    et al. (2022). Sampling permutations for Shapley value estimation. JMLR 23 (orders in pairs).

    """
    shap = _shap()
    known = {column: np.unique(np.append(texts, background.texts[column])) for column, texts in inputs.texts.items()}
    coding, features = _TextCoding(known), inputs.matrix.shape[1]
    masker = shap.maskers.Independent(coding.code(background), max_samples=len(background))
    explainer = shap.explainers.Permutation(
        lambda matrix: raw_scores(model, problem, coding.decode(matrix)), masker, seed=seed
    )
    found = explainer(coding.code(inputs), max_evals=2 * orders * features + 1, silent=True)
    values = np.asarray(found.values, dtype=np.float64).reshape(len(inputs), features, -1)
    return Contributions(np.asarray(found.base_values, dtype=np.float64).reshape(len(inputs), -1)[0], values)


def background_rows(features: int) -> int:
    """Return the number of background rows, at most 50; fewer with many features, to bound the time of an explanation.

    An explanation scores 2 x features x background rows, each of all features. With 1,000 features, 50 rows would be 100
    million matrix cells.
    """
    return max(1, min(_BACKGROUND_ROWS, _MOST_CELLS // (2 * features**2)))


def explained_rows(features: int) -> int:
    """Return the number of rows to explain together, from 1 to 200; fewer with many features, to bound the time."""
    cells = 2 * features**2 * background_rows(features)
    return max(1, min(_EXPLAINED_ROWS, _MOST_CELLS_TOGETHER // cells))


def explanation(
    found: Contributions, row: int, features: Sequence[ContractFeature], vector: Sequence[Value], output: int = 0
) -> Explanation:
    """Return the contributions of one row with the features' names and values, largest absolute contribution first."""
    adds, base = found.values[row, :, output], float(found.base[output])
    listed = [
        Contribution(f"{feature.view}.{feature.name}", value, float(one))
        for feature, value, one in zip(features, vector, adds, strict=True)
    ]
    listed.sort(key=lambda one: -abs(one.adds))
    return Explanation(base, base + float(adds.sum()), tuple(listed))
