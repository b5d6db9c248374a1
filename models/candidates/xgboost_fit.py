"""Fit XGBoost's trees with early stopping on the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.candidates.boosted_trees import BoostingData, FittedTrees, params_error
from models.scoring.trees import XGBOOST_UBJ, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.train import XgboostCandidate
    from models.candidates.boosted_trees import PreparedRows, PruneCallback
    from models.data.rows import Task


def xgboost_data(
    candidate: XgboostCandidate,  # noqa: ARG001
    train: PreparedRows,
    validation: PreparedRows,
    categories: Sequence[int],
) -> BoostingData:
    """Return XGBoost's DMatrices; see `models.candidates.boosting.boosting_data`."""
    xgboost = library("xgboost")
    types = ["c" if index in set(categories) else "q" for index in range(train.columns.shape[1])]
    fitting, checking = (
        xgboost.DMatrix(
            rows.columns, rows.label, weight=rows.weights, feature_types=types, enable_categorical=True, nthread=1
        )
        for rows in (train, validation)
    )
    return BoostingData(fitting, checking)


def fit_xgboost(
    candidate: XgboostCandidate,
    data: BoostingData,
    task: Task,
    seed: int,
    pruner: PruneCallback | None = None,  # noqa: ARG001
) -> FittedTrees:
    """Return XGBoost's fitted trees; see `models.candidates.boosting.fit_trees`."""
    xgboost = library("xgboost")
    objectives: dict[str, dict[str, Any]] = {
        "binary": {"objective": "binary:logistic", "eval_metric": "logloss"},
        "multiclass": {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": len(task.classes)},
        "regression": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    }
    parameters = {
        "tree_method": "hist",
        **candidate.params,
        **objectives[task.problem],
        "seed": seed,
        "nthread": 1,
        "verbosity": 0,
    }
    try:
        booster = xgboost.train(
            parameters,
            data.fitting,
            num_boost_round=candidate.rounds,
            evals=[(data.checking, "validation")],
            early_stopping_rounds=candidate.early_stopping,
            verbose_eval=False,
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise params_error("XGBoost", error) from None
    rounds = booster.best_iteration + 1
    return FittedTrees(XGBOOST_UBJ, bytes(booster[:rounds].save_raw("ubj")), rounds, float(booster.best_score))
