"""The transformers that scikit-learn lacks; a bundle names them, so their names and attributes are a format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import KNNImputer

from models.scoring.columns import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Winsoriser(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Draw values beyond two quantiles of the training rows in to them; missing stays missing."""

    def __init__(self, lower: float = 0.01, upper: float = 0.99) -> None:
        self.lower = lower
        self.upper = upper

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Find the quantiles of each column's present values; a column without any is not bounded."""
        self.low_ = np.full(matrix.shape[1], -np.inf)
        self.high_ = np.full(matrix.shape[1], np.inf)
        for place, column in enumerate(matrix.T):
            present = column[~np.isnan(column)]
            if present.size:
                self.low_[place], self.high_[place] = np.quantile(present, [self.lower, self.upper])
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the bounded values."""
        return np.clip(matrix, self.low_, self.high_)


class SignedLog(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """sign(x) log(1 + |x|)."""

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Remember the number of columns: there is nothing to learn."""
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the logarithms."""
        return np.asarray(np.sign(matrix) * np.log1p(np.abs(matrix)))


class LevelRanks(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """From codes of levels to their stated ranks; missing and unseen are missing.

    scikit-learn's OrdinalEncoder takes strings in any order, but levels are codes by now, and of numbers it wants them sorted.

    Attributes
    ----------
    ranks : for each column, the rank of each code.

    """

    def __init__(self, ranks: list[NDArray[np.float64]]) -> None:
        self.ranks = ranks

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:  # noqa: ARG002
        """Remember the number of columns: the plan states the ranks."""
        self.n_features_in_ = matrix.shape[1]
        return self

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the ranks."""
        ranked = np.full(matrix.shape, np.nan)
        for place, ranks in enumerate(self.ranks):
            known = ~np.isnan(matrix[:, place])
            ranked[known, place] = ranks[matrix[known, place].astype(np.int64)]
        return ranked


class NearestRowsImputer(KNNImputer):  # type: ignore[misc]
    """scikit-learn's imputer by nearest neighbours, looked for among some of the training rows.

    It keeps the rows that it looks among, and compares each row that it completes with all of them; all training rows would
    make a bundle as large as the training set, and the time of fitting grow with its square.
    """

    def __init__(self, reference_rows: int = 5000, *, n_neighbors: int = 5, add_indicator: bool = False) -> None:
        super().__init__(n_neighbors=n_neighbors, add_indicator=add_indicator, keep_empty_features=True)
        self.reference_rows = reference_rows

    def fit(self, matrix: NDArray[np.float64], label: Any = None) -> Self:
        """Keep `reference_rows` of the rows, spread evenly."""
        kept = spread(len(matrix), self.reference_rows)
        super().fit(matrix[kept], label)
        return self
