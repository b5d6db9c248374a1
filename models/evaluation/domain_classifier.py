"""A classifier that tells current rows from reference rows: by how much it succeeds is how far the inputs have changed.

False alarms: in a fold, the classifier was fitted without the fold's rows. If both samples come from one distribution, the
order of its scores is independent of which sample a row is from. The AUC of the fold is then that of Mann and Whitney, with
mean 1/2 and variance (n + m + 1) / (12 n m). The folds share the rows that they were fitted on, which widens their mean: in
simulations by a sixth of the standard error, and a quarter is allowed for. The mean then exceeds `limit` with a probability of
at most 1 % if the rows are independent; `benchmarks.monitoring.false_alarms` measures it.

References
----------
Mann, H. B., & Whitney, D. R. (1947). On a test of whether one of two random variables is stochastically larger. Lopez-Paz, D.,
& Oquab, M. (2017). Revisiting classifier two-sample tests. Hanley, J. A., & McNeil, B. J. (1982). The meaning and use of the
area under a ROC curve (the standard error).

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Probability with which the limit is exceeded without a change.
FALSE_ALARM_RATE = 0.01
#: With fewer rows on one side, nothing is told apart.
MINIMUM_ROWS = 200
_FOLDS, _TREES = 5, 40
#: Factor of the standard error of the mean over folds that were fitted on rows in common.
_WIDENED = 1.25
#: Standard normal quantiles of 1 - FALSE_ALARM_RATE, and of an interval of 95 %.
_Z_LIMIT, _Z_INTERVAL = 2.3263, 1.96
#: Trees are small, so that they find what is common to many rows, not rows that resemble one another.
_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True)
class SeparationTest:
    """How well current rows are told from reference rows, and whether a change is shown.

    Attributes
    ----------
    auc : mean over the folds of the area under the ROC curve: 0.5 if the samples cannot be told apart, 1 without any error.
    lower, upper : its interval at 95 %.
    limit : the AUC that is exceeded with a probability of 1 % without a change.

    """

    auc: float
    lower: float
    upper: float
    limit: float

    @property
    def is_shown(self) -> bool:
        """Whether the AUC exceeds its limit."""
        return self.auc > self.limit


@dataclass(frozen=True)
class Separation(SeparationTest):
    """The test, and what the classifiers say of columns and rows.

    Attributes
    ----------
    importance : share of each column in the gain of the classifiers.
    odds : of each reference row, the odds of being current, scaled to mean 1: the weight with which it stands for current rows.

    """

    importance: NDArray[np.float64]
    odds: NDArray[np.float64]


def separate(reference: NDArray[np.float64], current: NDArray[np.float64], seed: int = 0) -> Separation | None:
    """Return how well `current` is told from `reference`, both of shape (rows, columns); NaN is missing.

    None if one side has fewer than `MINIMUM_ROWS` rows.
    """
    n, m = len(current), len(reference)
    if min(n, m) < MINIMUM_ROWS:
        return None
    rows, is_current = np.concatenate([reference, current]), np.repeat([0.0, 1.0], [m, n])
    aucs, variances, importance = [], [], np.zeros(rows.shape[1])
    probability = np.empty(len(rows))
    for fitted, held_out in _folds(m, n, seed):
        booster = _fit(rows[fitted], is_current[fitted], seed)
        probability[held_out] = booster.predict(rows[held_out])
        truth = is_current[held_out] == 1
        aucs.append(_auc(probability[held_out], truth))
        variances.append(_variances(aucs[-1], int(truth.sum()), int((~truth).sum())))
        importance += booster.feature_importance("gain")
    auc = float(np.mean(aucs))
    error, error_without_change = _WIDENED * np.sqrt(np.sum(variances, axis=0)) / _FOLDS
    return Separation(
        auc,
        max(0.0, auc - _Z_INTERVAL * float(error)),
        min(1.0, auc + _Z_INTERVAL * float(error)),
        0.5 + _Z_LIMIT * float(error_without_change),
        importance / importance.sum() if importance.sum() > 0 else importance,
        _odds(probability[:m]),
    )


def _folds(reference: int, current: int, seed: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield which rows fit and which are held out, with the same share of both sides in each fold."""
    rng = np.random.default_rng(seed)
    fold = np.concatenate([rng.permutation(np.arange(size) % _FOLDS) for size in (reference, current)])
    for number in range(_FOLDS):
        yield fold != number, fold == number


def _fit(rows: NDArray[np.float64], label: NDArray[np.float64], seed: int) -> Any:
    from models.scoring.trees import library

    lightgbm = library("lightgbm")
    parameters = {**_PARAMETERS, "seed": seed, "min_data_in_leaf": max(20, len(rows) // 100)}
    weight = np.where(label == 1, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
    return lightgbm.train(parameters, lightgbm.Dataset(rows, label, weight=weight), _TREES)


def _auc(score: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    n, m = int(truth.sum()), int((~truth).sum())
    return float((rankdata(score)[truth].sum() - n * (n + 1) / 2) / (n * m))


def _variances(auc: float, n: int, m: int) -> tuple[float, float]:
    """Return the variance of an AUC by Hanley and McNeil, and that of Mann and Whitney without a difference."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)
    return variance, (n + m + 1) / (12 * n * m)


def _odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return odds with mean 1; both sides had the same total weight, so the odds are the ratio of the densities."""
    clipped = np.clip(probability, 1e-3, 1 - 1e-3)
    odds = clipped / (1 - clipped)
    return np.asarray(odds / odds.mean(), dtype=np.float64)
