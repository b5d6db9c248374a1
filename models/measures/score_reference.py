"""Fit the reference of a release: the outcomes of labelled rows by score, for estimates before outcomes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.calibration import ScoreReference

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit_score_reference(
    score: NDArray[np.float64],
    label: NDArray[np.generic],
    entities: int,
    weight: NDArray[np.float64] | None = None,
) -> ScoreReference | None:
    """Return the blocks of the isotonic regression of 0/1 labels on scores, both of shape (rows,); None if it is undefined.

    It is undefined if the labels have one class only, or a score is NaN or infinite. The rows must not be those that the
    model was fitted or calibrated on. `entities` is the number of their entities.

    References
    ----------
    Zadrozny, B. and Elkan, C. (2002). Transforming classifier scores into accurate multiclass probability estimates. KDD.

    """
    from sklearn.isotonic import IsotonicRegression

    positive = label == 1
    if not np.isfinite(score).all() or positive.all() or not positive.any():
        return None
    weights = np.ones(len(score)) if weight is None else weight
    ascending, level = np.unique(score, return_inverse=True)
    rows = np.bincount(level, weights)
    positives = np.bincount(level, weights * positive)
    # Weights of 0 have no share.
    used = rows > 0
    ascending, rows, positives = ascending[used], rows[used], positives[used]
    fitted = IsotonicRegression().fit_transform(ascending, positives / rows, sample_weight=rows)
    starts = np.flatnonzero(np.diff(fitted, prepend=np.nan) != 0)
    return ScoreReference(
        lower=tuple(ascending[starts].tolist()),
        upper=tuple(ascending[np.append(starts[1:], len(ascending)) - 1].tolist()),
        rows=tuple(np.add.reduceat(rows, starts).tolist()),
        positives=tuple(np.add.reduceat(positives, starts).tolist()),
        entities=entities,
    )
