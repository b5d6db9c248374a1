"""Transformers that scikit-learn lacks; bundles store their class names and attributes, so these cannot change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import KNNImputer

from models.scoring.columns import evenly_spaced

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Winsoriser(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clips values to two quantiles of the training rows; missing values stay missing."""

    def __init__(self, lower: float = 0.01, upper: float = 0.99) -> None:
        self.lower = lower
        self.upper = upper

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Compute the quantiles of each column's present values; a column without any is not clipped."""
        self.low_ = np.full(matrix.shape[1], -np.inf)
        self.high_ = np.full(matrix.shape[1], np.inf)
        for index, column in enumerate(matrix.T):
            present = column[~np.isnan(column)]
            if present.size:
                self.low_[index], self.high_[index] = np.quantile(present, [self.lower, self.upper])
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the clipped values."""
        return np.clip(matrix, self.low_, self.high_)


class SignedLog(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transforms x to sign(x) log(1 + |x|)."""

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Store the number of columns; nothing is estimated."""
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the signed logarithms."""
        return np.asarray(np.sign(matrix) * np.log1p(np.abs(matrix)))


class LevelRanks(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Maps codes of levels to the plan's ranks; missing and unseen levels are NaN.

    scikit-learn's OrdinalEncoder does not serve: levels are already codes, and for numbers it requires ascending categories.

    Attributes
    ----------
    ranks : for each column, the rank of each code.

    """

    def __init__(self, ranks: list[NDArray[np.float64]]) -> None:
        self.ranks = ranks

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Store the number of columns; the plan states the ranks."""
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the ranks."""
        ranked = np.full(matrix.shape, np.nan)
        for index, ranks in enumerate(self.ranks):
            known = ~np.isnan(matrix[:, index])
            ranked[known, index] = ranks[matrix[known, index].astype(np.int64)]
        return ranked


class NearestRowsImputer(KNNImputer):  # type: ignore[misc]
    """scikit-learn's KNNImputer with the neighbours from a sample of the training rows.

    The imputer stores its reference rows and compares each imputed row with all of them. With all training rows the bundle
    would be as large as the training set, and fitting would take quadratic time.
    """

    def __init__(self, reference_rows: int = 5000, *, n_neighbors: int = 5, add_indicator: bool = False) -> None:
        super().__init__(n_neighbors=n_neighbors, add_indicator=add_indicator, keep_empty_features=True)
        self.reference_rows = reference_rows

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:
        """Store `reference_rows` of the rows, evenly spaced."""
        kept = evenly_spaced(len(matrix), self.reference_rows)
        super().fit(matrix[kept], label)
        return self
