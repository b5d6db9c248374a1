"""Find the interval of a regression from the errors on the validation rows (split conformal prediction)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.errors import PlanError
from core.prediction_interval import PredictionInterval

if TYPE_CHECKING:
    from numpy.typing import NDArray


def conformal_interval(
    coverage: float,
    label: NDArray[np.float64],
    score: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> PredictionInterval:
    """Return the interval whose two sides each miss at most half of the share 1 - coverage of new labels.

    With n rows and the share a = (1 - coverage) / 2, a bound is the k-th smallest error label - score, or score - label, with
    k = ceil((n + 1) (1 - a)). If the validation rows and a new row are exchangeable, the interval holds its label with at least
    the probability `coverage`, whatever the model. All predictions have the same interval widths. Weights of rows count
    relative to their mean, which is the weight of the new row.

    Raises
    ------
    PlanError
        If there are too few rows for that coverage.

    References
    ----------
    Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. J. and Wasserman, L. (2018). Distribution-free predictive inference for
    regression. JASA 113(523). Romano, Y., Patterson, E. and Candès, E. (2019). Conformalized quantile regression. NeurIPS,
    theorem 2, for the two sides.

    """
    weights = np.ones(len(label)) if weight is None else weight / weight.mean()
    error, share = label - score, (1 + coverage) / 2
    upper, lower = (_bound(one, weights, share) for one in (error, -error))
    if upper is None or lower is None:
        needed = int(np.ceil(share / (1 - share) - 1e-9))
        raise PlanError(
            f"evaluate.interval: {len(label):,} validation rows are too few for a coverage of {coverage:g}; expected at least "
            f"{needed:,}: widen the validation part (training_set.split), or lower the coverage"
        )
    return PredictionInterval(coverage, -lower, upper)


def _bound(error: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float | None:
    """Return the smallest error that has at least the `share` of all weights, and that of a new row, at or below it."""
    order = np.argsort(error, kind="stable")
    below = np.cumsum(weights[order])
    # The tolerance keeps a share such as 0.95 of 20 rows at 19, in spite of rounding.
    place = int(np.searchsorted(below, share * (below[-1] + 1) - 1e-9, side="left"))
    return float(error[order[place]]) if place < len(order) else None
