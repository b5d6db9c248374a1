"""Select the prepared columns that a candidate keeps, by training rows only."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PlanError
from core.plan.steps import ByCorrelation, ByElimination, ByL1, ByScore, ByTreeImportance
from models.scoring.columns import evenly_spaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.plan.steps import Selector
    from models.data.rows import Labels, Task

#: The largest number of rows that a selection uses, evenly spaced. The ranks of columns are stable with fewer, and the time
#: of mutual information grows with rows times columns.
MOST_ROWS = 50_000


def select_columns(
    selectors: Sequence[Selector], columns: Any, label: Labels, task: Task, seed: int
) -> tuple[int, ...]:
    """Return the ascending indices of the columns that all `selectors` keep, applied one after another.

    Constant columns are never kept. Missing values are replaced by the column's median.

    Raises
    ------
    PlanError
        If a selector refuses the columns, or no column is kept.

    """
    rows = evenly_spaced(columns.shape[0], MOST_ROWS)
    sample, labels = _filled(columns[rows]), label[rows]
    kept = np.flatnonzero(np.ptp(sample, axis=0) > 0)
    for selector in selectors:
        if not kept.size:
            break
        try:
            kept = kept[_keep(selector, sample[:, kept], labels, task, seed)]
        except ValueError as error:
            raise PlanError(f"select by {selector.by}: {str(error).splitlines()[0]}") from None
    if not kept.size:
        raise PlanError(
            f"select: no column is kept by {', '.join(selector.by for selector in selectors)}; expected at least one; "
            "relax the selectors"
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
    for index in range(columns.shape[1]):
        if not (correlations[index, kept] > selector.above).any():
            kept.append(index)
    return np.array(kept, dtype=np.int64)


@_keep.register(ByScore)
def _(selector: ByScore, columns: NDArray[np.float64], label: Labels, task: Task, seed: int) -> NDArray[np.int64]:
    from sklearn import feature_selection

    regression = task.problem == "regression"
    if selector.by == "chi_squared":
        scores, _ = feature_selection.chi2(columns, label)
    elif selector.by == "anova":
        f_test = feature_selection.f_regression if regression else feature_selection.f_classif
        scores, _ = f_test(columns, label)
    else:
        information = feature_selection.mutual_info_regression if regression else feature_selection.mutual_info_classif
        scores = information(columns, label, random_state=seed)
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
    """Return columns, or labels, with mean 0 and variance 1, so that their coefficients are comparable."""
    return np.asarray((columns - columns.mean(axis=0)) / columns.std(axis=0))


def _best(scores: NDArray[np.float64], keep: int) -> NDArray[np.int64]:
    """Return the ascending indices of the largest scores; the first ones among equals."""
    return np.sort(np.argsort(-scores, kind="stable")[:keep])
