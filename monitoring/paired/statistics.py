"""Tests of two models on the same rows: DeLong's for the areas under their ROC curves, McNemar's for their decisions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class AreaTest:
    """The areas of two models and DeLong's test of their difference `second` - `first`; undefined numbers are NaN."""

    first: float = math.nan
    second: float = math.nan
    standard_error: float = math.nan
    p_value: float = math.nan

    @property
    def difference(self) -> float:
        """Area of the second model - area of the first."""
        return self.second - self.first


def delong_test(label: NDArray[np.int32], first: NDArray[np.float64], second: NDArray[np.float64]) -> AreaTest:
    """Return DeLong's test of the areas under the ROC curves of two scores of the same independent rows.

    V10 of a positive row is the share of negative rows with a lower score (ties count half), V01 of a negative row the share
    of positive rows with a higher score. An area is the mean of V10. With D10 and D01 the differences of the two models, the
    variance is var(D10) / positives + var(D01) / negatives. It needs two rows of each label. The p-value is two-sided; for
    equal orders it is 1.

    References
    ----------
    DeLong, E. R., DeLong, D. M., Clarke-Pearson, D. L. (1988). Comparing the areas under two or more correlated receiver
    operating characteristic curves: a nonparametric approach. Biometrics, 44(3). The ranks are those of Sun, X., Xu, W. (2014).
    Fast implementation of DeLong's algorithm. IEEE Signal Processing Letters, 21(11).

    >>> label = np.array([1, 1, 0, 0])
    >>> delong_test(label, np.array([0.9, 0.6, 0.7, 0.2]), np.array([0.8, 0.7, 0.1, 0.2])).difference
    0.25
    """
    positive = label == 1
    if min(positive.sum(), (~positive).sum()) < 2:  # noqa: PLR2004 - a variance needs two
        return AreaTest()
    (v10_first, v01_first), (v10_second, v01_second) = (_placements(positive, score) for score in (first, second))
    variance = sum(
        float(np.var(two - one, ddof=1)) / len(one) for one, two in ((v10_first, v10_second), (v01_first, v01_second))
    )
    areas, error = (float(v10_first.mean()), float(v10_second.mean())), math.sqrt(variance)
    difference = areas[1] - areas[0]
    if not error:
        return AreaTest(*areas, 0.0, 0.0 if difference else 1.0)
    return AreaTest(*areas, error, math.erfc(abs(difference) / error / math.sqrt(2)))


def _placements(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return V10 of the positive and V01 of the negative rows, by their ranks among all and among their own."""
    from scipy.stats import rankdata

    among_all = rankdata(score)
    below = among_all[positive] - rankdata(score[positive])
    above = positive.sum() - (among_all[~positive] - rankdata(score[~positive]))
    return below / (~positive).sum(), above / positive.sum()


def mcnemar_test(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value of McNemar's test; 1 without a row on which the two models differ.

    Parameters
    ----------
    first_only, second_only : rows that only the first, and only the second model decides right. Without a difference each
        such row is of either kind with probability 1/2.

    References
    ----------
    McNemar, Q. (1947). Note on the sampling error of the difference between correlated proportions or percentages.
    Psychometrika, 12(2).

    >>> mcnemar_test(0, 5)
    0.0625
    """
    from scipy.stats import binomtest

    differing = first_only + second_only
    return float(binomtest(first_only, differing, 0.5).pvalue) if differing else 1.0
