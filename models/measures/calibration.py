"""Fit a calibration on rows that are later than those the model was fitted on: the validation part of the split.

The validation rows also choose: among candidates, and the threshold. So that a curve does not flatter the very rows it
was fitted on, measures of the validation rows use `cross_fitted` scores; the curve that is kept has seen all of them,
and the test rows, which only tell, have been seen by none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.calibration import Calibration, Curve, log_odds
from core.errors import PlanError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.calibration import Kind

_FOLDS = 5


def fit_calibration(kind: Kind, label: NDArray[np.int32], score: NDArray[np.float64]) -> Calibration:
    """Fit a calibration to scores of shape (rows,), or (rows, classes) whose columns are calibrated one against the rest.

    `sigmoid` is Platt's curve over the log-odds of the score, by logistic regression without penalty: of two numbers, so
    fit for a few hundred rows, and the identity is one of its curves. `isotonic` is the best ascending step curve: for
    some thousands of rows. Its values are kept within [1/(n + 2), (n + 1)/(n + 2)] for n rows (Laplace's rule of
    succession), so that a score beyond all seen ones is not said to be certain.

    Raises
    ------
    PlanError
        If the labels have one class only, or a score is not a number.

    References
    ----------
    Platt, J. (1999). Probabilistic outputs for support vector machines. Zadrozny, B. and Elkan, C. (2002). Transforming
    classifier scores into accurate multiclass probability estimates. KDD.

    """
    if kind == "none":
        return Calibration()
    if not np.isfinite(score).all():
        raise PlanError("evaluate.calibration: the candidate gives scores that are no numbers; nothing can be fitted")
    columns = score[:, None] if score.ndim == 1 else score
    happened = (label == 1)[:, None] if score.ndim == 1 else label[:, None] == np.arange(score.shape[1])
    fit = _sigmoid_curve if kind == "sigmoid" else _isotonic_curve
    return Calibration(kind, tuple(fit(happened[:, place], columns[:, place]) for place in range(columns.shape[1])))


def _sigmoid_curve(happened: NDArray[np.bool_], score: NDArray[np.float64]) -> Curve:
    from sklearn.linear_model import LogisticRegression

    _require_both(happened)
    fitted = LogisticRegression(C=np.inf, max_iter=1000).fit(log_odds(score)[:, None], happened)
    return Curve(slope=float(fitted.coef_[0, 0]), intercept=float(fitted.intercept_[0]))


def _isotonic_curve(happened: NDArray[np.bool_], score: NDArray[np.float64]) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    _require_both(happened)
    nearest = 1 / (len(score) + 2)
    fitted = IsotonicRegression(y_min=nearest, y_max=1 - nearest).fit(score, happened)
    return Curve(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _require_both(happened: NDArray[np.bool_]) -> None:
    if happened.all() or not happened.any():
        raise PlanError(
            "evaluate.calibration: the validation rows hold one class only, so no curve can be fitted; "
            "move training_set.split, or write calibration: none"
        )


def cross_fitted(
    kind: Kind, label: NDArray[np.int32], score: NDArray[np.float64], entity: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Calibrate each row by a curve that was fitted without its entity, in five folds of entities.

    Where the entities are too few for every fold to hold both classes the curve of all rows is used for all.
    """
    if kind == "none":
        return score
    shuffled = np.random.default_rng(seed).permutation(int(entity.max(initial=0)) + 1)
    fold = shuffled[entity] % _FOLDS
    calibrated = np.empty_like(score)
    try:
        for number in range(_FOLDS):
            inside = fold == number
            calibrated[inside] = fit_calibration(kind, label[~inside], score[~inside]).apply(score[inside])
    except PlanError:
        return fit_calibration(kind, label, score).apply(score)
    return calibrated
