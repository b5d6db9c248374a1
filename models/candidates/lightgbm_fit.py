"""Fit LightGBM's trees with early stopping on the validation rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from models.candidates.boosted_trees import BoostingData, FittedTrees, TrialPruned, params_error
from models.scoring.trees import LIGHTGBM_TEXT, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.train import LightGbmCandidate, Loss
    from models.candidates.boosted_trees import PreparedRows, PruneCallback
    from models.data.rows import Task

#: Rounds between two calls of the prune callback.
_PRUNE_EVERY = 10

#: Parameters of LightGBM's Dataset, with their aliases: fits that share a Dataset cannot differ in them.
DATASET_PARAMS = frozenset(
    {
        *("max_bin", "max_bins", "max_bin_by_feature", "min_data_in_bin"),
        *("bin_construct_sample_cnt", "subsample_for_bin", "data_random_seed", "data_seed"),
        *("is_enable_sparse", "is_sparse", "enable_sparse", "sparse"),
        *("enable_bundle", "is_enable_bundle", "bundle"),
        *("use_missing", "zero_as_missing", "linear_tree", "linear_trees"),
    }
)


#: The objective and the metric of a regression by the candidate's loss.
_LOSSES: dict[Loss, dict[str, Any]] = {
    "squared": {"objective": "regression", "metric": "l2"},
    "absolute": {"objective": "regression_l1", "metric": "l1"},
    "poisson": {"objective": "poisson", "metric": "poisson"},
    "tweedie": {"objective": "tweedie", "metric": "tweedie"},
    "quantile": {"objective": "quantile", "metric": "quantile"},
}


def _loss_parameters(candidate: LightGbmCandidate) -> dict[str, Any]:
    by_loss = {
        "quantile": ("alpha", candidate.quantile),
        "tweedie": ("tweedie_variance_power", candidate.tweedie_power),
    }
    return dict([by_loss[candidate.loss]]) if candidate.loss in by_loss else {}


def lightgbm_parameters(candidate: LightGbmCandidate, task: Task, seed: int) -> dict[str, Any]:
    """Return the candidate's parameters together with the objective, the seed and what makes fits reproducible."""
    objectives: dict[str, dict[str, Any]] = {
        "binary": {"objective": "binary", "metric": "binary_logloss"},
        "multiclass": {"objective": "multiclass", "metric": "multi_logloss", "num_class": len(task.classes)},
        "regression": {**_LOSSES[candidate.loss], **_loss_parameters(candidate)},
    }
    return {
        **candidate.params,
        **objectives[task.problem],
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        # Otherwise the Dataset drops features by the first fit's min_data_in_leaf, and the next fit may need them.
        "feature_pre_filter": False,
        "num_threads": 1,
        "verbosity": -1,
    }


def lightgbm_data(
    candidate: LightGbmCandidate, train: PreparedRows, validation: PreparedRows, categories: Sequence[int]
) -> BoostingData:
    """Return LightGBM's Datasets; see `models.candidates.boosting.boosting_data`."""
    lightgbm = library("lightgbm")
    params = {name: value for name, value in candidate.params.items() if name in DATASET_PARAMS}
    # Both Datasets take the same options. Otherwise LightGBM changes the second one, which needs its raw data again.
    options = {
        "categorical_feature": list(categories),
        "params": {**params, "feature_pre_filter": False, "verbosity": -1},
    }
    fitting = lightgbm.Dataset(train.columns, train.label, weight=train.weights, **options)
    try:
        checking = lightgbm.Dataset(
            validation.columns, validation.label, reference=fitting.construct(), weight=validation.weights, **options
        )
        return BoostingData(fitting, checking.construct())
    except lightgbm.basic.LightGBMError as error:
        raise params_error("LightGBM", error) from None


def fit_lightgbm(
    candidate: LightGbmCandidate, data: BoostingData, task: Task, seed: int, pruner: PruneCallback | None = None
) -> FittedTrees:
    """Return LightGBM's fitted trees; see `models.candidates.boosting.fit_trees`."""
    lightgbm = library("lightgbm")

    def prune(environment: Any) -> None:
        loss = environment.evaluation_result_list[0][2]
        if (
            pruner
            and environment.iteration % _PRUNE_EVERY == 0
            and pruner(environment.iteration, _loss(loss, candidate, task))
        ):
            raise TrialPruned

    stop = lightgbm.early_stopping(candidate.early_stopping, verbose=False)
    try:
        booster = lightgbm.train(
            lightgbm_parameters(candidate, task, seed),
            data.fitting,
            num_boost_round=candidate.rounds,
            valid_sets=[data.checking],
            valid_names=["validation"],
            callbacks=[stop, prune],
        )
    except lightgbm.basic.LightGBMError as error:
        raise params_error("LightGBM", error) from None
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    (loss,) = booster.best_score["validation"].values()
    return FittedTrees(LIGHTGBM_TEXT, text.encode(), booster.best_iteration, _loss(loss, candidate, task))


def _loss(metric: float, candidate: LightGbmCandidate, task: Task) -> float:
    """Return the RMSE from LightGBM's mean squared error; any other loss unchanged."""
    return math.sqrt(metric) if task.problem == "regression" and candidate.loss == "squared" else metric
