"""Which of the prepared columns a candidate keeps, judged on training rows only."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PlanError
from core.plan.steps import ByCorrelation, ByElimination, ByL1, ByScore, ByTreeImportance
from models.scoring.columns import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.plan.steps import Selector
    from models.data.rows import Labels, Task

#: Rows that a selection looks at, spread evenly: the ranks of columns settle long before mutual information, whose time
#: grows with rows times columns, is done with more.
MOST_ROWS = 50_000


def select(selectors: Sequence[Selector], columns: Any, label: Labels, task: Task, seed: int) -> tuple[int, ...]:
    """Apply `selectors` one after another; return the places of the columns that all of them keep, in order.

    A constant column tells nothing and is never kept; a missing value counts as the median of its column.

    Raises
    ------
    PlanError
        If a selector refuses the columns, or keeps none.

    """
    rows = spread(columns.shape[0], MOST_ROWS)
    sample, judged = _filled(columns[rows]), label[rows]
    kept = np.flatnonzero(np.ptp(sample, axis=0) > 0)
    for selector in selectors:
        if not kept.size:
            break
        try:
            kept = kept[_keep(selector, sample[:, kept], judged, task, seed)]
        except ValueError as error:
            raise PlanError(f"select by {selector.by}: {str(error).splitlines()[0]}") from None
    if not kept.size:
        raise PlanError(
            f"select: no column is kept by {', '.join(selector.by for selector in selectors)}; ask for less"
        )
    return tuple(kept.tolist())


def _filled(columns: Any) -> NDArray[np.float64]:
    matrix = np.array(columns if isinstance(columns, np.ndarray) else columns.toarray(), dtype=np.float64)
    for column in matrix.T:
        gaps = np.isnan(column)
        if gaps.any():
            column[gaps] = 0.0 if gaps.all() else np.median(column[~gaps])
    return matrix


@singledispatch
def _keep(selector: Selector, columns: NDArray[np.float64], label: Labels, task: Task, seed: int) -> NDArray[np.int64]:
    raise NotImplementedError(type(selector), columns, label, task, seed)


@_keep.register(ByCorrelation)
def _(
    selector: ByCorrelation,
    columns: NDArray[np.float64],
    label: Labels,  # noqa: ARG001
    task: Task,  # noqa: ARG001
    seed: int,  # noqa: ARG001
) -> NDArray[np.int64]:
    correlations = np.abs(np.atleast_2d(np.corrcoef(columns, rowvar=False)))
    kept: list[int] = []
    for place in range(columns.shape[1]):
        if not (correlations[place, kept] > selector.above).any():
            kept.append(place)
    return np.array(kept, dtype=np.int64)


@_keep.register(ByScore)
def _(selector: ByScore, columns: NDArray[np.float64], label: Labels, task: Task, seed: int) -> NDArray[np.int64]:
    from sklearn import feature_selection

    regression = task.problem == "regression"
    if selector.by == "chi_squared":
        scores, _ = feature_selection.chi2(columns, label)
    elif selector.by == "anova":
        by = feature_selection.f_regression if regression else feature_selection.f_classif
        scores, _ = by(columns, label)
    else:
        by = feature_selection.mutual_info_regression if regression else feature_selection.mutual_info_classif
        scores = by(columns, label, random_state=seed)
    return _best(scores, selector.keep)


@_keep.register(ByL1)
def _(selector: ByL1, columns: NDArray[np.float64], label: Labels, task: Task, seed: int) -> NDArray[np.int64]:
    from sklearn.feature_selection import SelectFromModel
    from sklearn.linear_model import Lasso, LogisticRegression

    penalised = (
        Lasso(alpha=1 / (selector.penalty_inverse * len(label)), random_state=seed)
        if task.problem == "regression"
        else LogisticRegression(
            C=selector.penalty_inverse, l1_ratio=1.0, solver="saga", max_iter=500, tol=1e-3, random_state=seed
        )
    )
    target = _scaled(label) if task.problem == "regression" else label
    return np.flatnonzero(SelectFromModel(penalised).fit(_scaled(columns), target).get_support())


@_keep.register(ByTreeImportance)
def _(
    selector: ByTreeImportance, columns: NDArray[np.float64], label: Labels, task: Task, seed: int
) -> NDArray[np.int64]:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    forest = ExtraTreesRegressor if task.problem == "regression" else ExtraTreesClassifier
    trees = forest(selector.trees, min_samples_leaf=5, random_state=seed).fit(columns, label)
    return _best(trees.feature_importances_, selector.keep)


@_keep.register(ByElimination)
def _(selector: ByElimination, columns: NDArray[np.float64], label: Labels, task: Task, seed: int) -> NDArray[np.int64]:
    from sklearn.feature_selection import RFE
    from sklearn.linear_model import LogisticRegression, Ridge

    linear = Ridge() if task.problem == "regression" else LogisticRegression(max_iter=500, random_state=seed)
    keep = min(selector.keep, columns.shape[1])
    return np.flatnonzero(RFE(linear, n_features_to_select=keep).fit(_scaled(columns), label).get_support())


def _scaled(columns: NDArray[np.float64] | Labels) -> NDArray[np.float64]:
    """Bring columns, or numbers, to one scale, so that the sizes of weights can be compared."""
    return np.asarray((columns - columns.mean(axis=0)) / columns.std(axis=0))


def _best(scores: NDArray[np.float64], keep: int) -> NDArray[np.int64]:
    """Give the places of the largest scores in order; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:keep])
