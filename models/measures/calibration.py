"""Fit a calibration on the validation part of the split, which is later than the rows that the model was fitted on.

The validation rows also select the candidate and the threshold. A curve is too optimistic about the rows that it was
fitted on, so metrics of the validation rows use `cross_fitted` scores. The curve that is kept is fitted on all validation
rows, and on no test row.
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


def fit_calibration(
    kind: Kind, label: NDArray[np.int32], score: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> Calibration:
    """Return a calibration fitted to scores of shape (rows,), or (rows, classes) with each class against the rest.

    `sigmoid` is Platt's curve over the log-odds of the score, by logistic regression without penalty. It has two
    parameters, so a few hundred rows suffice; the identity is one of its curves. `isotonic` is the best ascending step
    curve and needs some thousands of rows. Its values are clipped to [1/(n + 2), (n + 1)/(n + 2)] for n rows (Laplace's
    rule of succession), so that no score beyond the observed range becomes a probability of 0 or 1. Both count rows by their
    `weight`.

    Raises
    ------
    PlanError
        If the labels have one class only, or a score is NaN or infinite.

    References
    ----------
    Platt, J. (1999). Probabilistic outputs for support vector machines. Zadrozny, B. and Elkan, C. (2002). Transforming
    classifier scores into accurate multiclass probability estimates. KDD.

    """
    if kind == "none":
        return Calibration()
    if not np.isfinite(score).all():
        raise PlanError("evaluate.calibration: some scores are NaN or infinite; no calibration can be fitted to them")
    columns = score[:, None] if score.ndim == 1 else score
    positive = (label == 1)[:, None] if score.ndim == 1 else label[:, None] == np.arange(score.shape[1])
    fit = _sigmoid_curve if kind == "sigmoid" else _isotonic_curve
    return Calibration(
        kind, tuple(fit(positive[:, index], columns[:, index], weight) for index in range(columns.shape[1]))
    )


def _sigmoid_curve(
    positive: NDArray[np.bool_], score: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> Curve:
    from sklearn.linear_model import LogisticRegression

    _require_two_classes(positive)
    fitted = LogisticRegression(C=np.inf, max_iter=1000).fit(log_odds(score)[:, None], positive, weight)
    return Curve(slope=float(fitted.coef_[0, 0]), intercept=float(fitted.intercept_[0]))


def _isotonic_curve(
    positive: NDArray[np.bool_], score: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    _require_two_classes(positive)
    margin = 1 / (len(score) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(score, positive, weight)
    return Curve(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _require_two_classes(positive: NDArray[np.bool_]) -> None:
    if positive.all() or not positive.any():
        raise PlanError(
            "evaluate.calibration: the validation rows have one class only; a calibration needs both; "
            "change training_set.split, or set calibration: none"
        )


def cross_fitted(
    kind: Kind,
    label: NDArray[np.int32],
    score: NDArray[np.float64],
    entity: NDArray[np.int64],
    seed: int,
    weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return each row's score calibrated by a curve that was fitted without its entity, in five folds of entities.

    With too few entities for every fold to have both classes, one curve of all rows calibrates all rows.
    """
    if kind == "none":
        return score
    shuffled = np.random.default_rng(seed).permutation(int(entity.max(initial=0)) + 1)
    fold = shuffled[entity] % _FOLDS
    calibrated = np.empty_like(score)
    try:
        for held_out in (fold == number for number in range(_FOLDS)):
            weights = None if weight is None else weight[~held_out]
            fitted = fit_calibration(kind, label[~held_out], score[~held_out], weights)
            calibrated[held_out] = fitted.apply(score[held_out])
    except PlanError:
        return fit_calibration(kind, label, score, weight).apply(score)
    return calibrated
