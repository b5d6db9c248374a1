"""Fit gradient-boosted trees by the candidate's library, with early stopping on the validation rows."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

from core.plan.train import BoostedCandidate, CatBoostCandidate, LightGbmCandidate, XgboostCandidate
from models.candidates.catboost_fit import catboost_data, fit_catboost
from models.candidates.lightgbm_fit import fit_lightgbm, lightgbm_data
from models.candidates.xgboost_fit import fit_xgboost, xgboost_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.candidates.boosted_trees import BoostingData, FittedTrees, PreparedRows, PruneCallback
    from models.data.rows import Task


@singledispatch
def boosting_data(
    candidate: BoostedCandidate, train: PreparedRows, validation: PreparedRows, categories: Sequence[int]
) -> BoostingData:
    """Return the rows as datasets of the candidate's library.

    Parameters
    ----------
    categories : the indices of the columns that are codes of levels.

    Raises
    ------
    PlanError
        If the library is not installed, or refuses the plan's parameters.

    """
    raise NotImplementedError(type(candidate), train, validation, categories)


@singledispatch
def fit_trees(
    candidate: BoostedCandidate, data: BoostingData, task: Task, seed: int, pruner: PruneCallback | None = None
) -> FittedTrees:
    """Return trees fitted until the loss on the rows for early stopping no longer improves.

    Raises
    ------
    PlanError
        If the library refuses the plan's parameters.
    TrialPruned
        If `pruner` returns true; only LightGBM calls it.

    """
    raise NotImplementedError(type(candidate), data, task, seed, pruner)


boosting_data.register(LightGbmCandidate, lightgbm_data)
boosting_data.register(XgboostCandidate, xgboost_data)
boosting_data.register(CatBoostCandidate, catboost_data)
fit_trees.register(LightGbmCandidate, fit_lightgbm)
fit_trees.register(XgboostCandidate, fit_xgboost)
fit_trees.register(CatBoostCandidate, fit_catboost)
