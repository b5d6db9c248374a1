"""Fit CatBoost's trees with early stopping on the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.candidates.boosted_trees import BoostingData, FittedTrees, params_error
from models.scoring.trees import CATBOOST_CBM, catboost_columns, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.train import CatBoostCandidate
    from models.candidates.boosted_trees import PreparedRows, PruneCallback
    from models.data.rows import Task


def catboost_data(
    candidate: CatBoostCandidate,  # noqa: ARG001
    train: PreparedRows,
    validation: PreparedRows,
    categories: Sequence[int],
) -> BoostingData:
    """Return CatBoost's Pools; see `models.candidates.boosting.boosting_data`."""
    catboost = library("catboost")
    fitting, checking = (
        catboost.Pool(
            catboost_columns(rows.columns, categories), rows.label, weight=rows.weights, cat_features=list(categories)
        )
        for rows in (train, validation)
    )
    return BoostingData(fitting, checking)


def fit_catboost(
    candidate: CatBoostCandidate,
    data: BoostingData,
    task: Task,
    seed: int,
    pruner: PruneCallback | None = None,  # noqa: ARG001
) -> FittedTrees:
    """Return CatBoost's fitted trees; see `models.candidates.boosting.fit_trees`."""
    catboost = library("catboost")
    of_numbers = {"absolute": "MAE", "quantile": f"Quantile:alpha={candidate.quantile}"}.get(candidate.loss, "RMSE")
    loss = {"binary": "Logloss", "multiclass": "MultiClass", "regression": of_numbers}[task.problem]
    model = catboost.CatBoost(
        {
            **candidate.params,
            "loss_function": loss,
            "iterations": candidate.rounds,
            "random_seed": seed,
            "thread_count": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
            **({"classes_count": len(task.classes)} if task.problem == "multiclass" else {}),
        }
    )
    try:
        model.fit(data.fitting, eval_set=data.checking, early_stopping_rounds=candidate.early_stopping)
    except catboost.CatBoostError as error:
        raise params_error("CatBoost", error) from None
    # These two entries would make the bytes of equal models differ.
    metadata = model.get_metadata()
    metadata["model_guid"] = metadata["train_finish_time"] = ""
    content = bytes(model._serialize_model())  # noqa: SLF001
    return FittedTrees(CATBOOST_CBM, content, int(model.tree_count_), float(model.get_best_score()["validation"][loss]))
