"""Fit XGBoost's trees with early stopping on the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.candidates.boosted_trees import BoostingData, FittedTrees, params_error
from models.scoring.trees import XGBOOST_UBJ, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.train import Loss, XgboostCandidate
    from models.candidates.boosted_trees import PreparedRows, PruneCallback
    from models.data.rows import Task


#: The objective and the metric of a regression by the candidate's loss; `_loss_parameters` adds the level or the power.
_LOSSES: dict[Loss, dict[str, Any]] = {
    "squared": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    "absolute": {"objective": "reg:absoluteerror", "eval_metric": "mae"},
    "poisson": {"objective": "count:poisson", "eval_metric": "poisson-nloglik"},
    "tweedie": {"objective": "reg:tweedie"},
    "quantile": {"objective": "reg:quantileerror", "eval_metric": "quantile"},
}


def _loss_parameters(candidate: XgboostCandidate) -> dict[str, Any]:
    if candidate.loss == "quantile":
        return {"quantile_alpha": candidate.quantile}
    if candidate.loss == "tweedie":
        power = candidate.tweedie_power
        return {"tweedie_variance_power": power, "eval_metric": f"tweedie-nloglik@{power}"}
    return {}


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
        "regression": {**_LOSSES[candidate.loss], **_loss_parameters(candidate)},
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
