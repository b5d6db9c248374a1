"""Gradient-boosted trees: fitted with early stopping on the validation rows, kept in each library's own safe format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PantheraError, PlanError
from core.plan_candidates import BoostedCandidate, CatBoostCandidate, LightGbmCandidate, XgboostCandidate
from models.columns import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.columns import Columns
    from models.rows import Labels, Task

LIGHTGBM_TEXT, XGBOOST_UBJ, CATBOOST_CBM = "lightgbm", "xgboost", "catboost"


@dataclass(frozen=True)
class Part:
    """Prepared columns of one part of the split, with labels of the shape (rows,) and weights, if any."""

    columns: Columns
    label: Labels
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Trees:
    """Fitted trees: the format of their bytes, the bytes, and how many rounds early stopping left."""

    model_format: str
    content: bytes
    rounds: int


@singledispatch
def fit_trees(
    candidate: BoostedCandidate, train: Part, validation: Part, categories: Sequence[int], task: Task, seed: int
) -> Trees:
    """Fit trees on `train`, for as long as they grow better on `validation`.

    Parameters
    ----------
    categories : the places of the columns that are codes of levels.

    Raises
    ------
    PlanError
        If the library is not installed, or refuses what the plan asks for.

    """
    raise NotImplementedError(type(candidate), train, validation, categories, task, seed)


def library(name: str) -> Any:
    """Import a library of trees, which may be an extra that is not installed.

    Raises
    ------
    PantheraError
        If it is not there, or cannot be loaded.

    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise PlanError(f"{name} is not installed; pip install 'pantherapredict[{name}]'") from None
    except OSError as error:  # unlike others of its kind, LightGBM's wheel brings no OpenMP library of its own
        raise PantheraError(
            f"{name} cannot be loaded ({error}); install the system's OpenMP library, on Debian the package libgomp1"
        ) from None


def lightgbm_parameters(candidate: LightGbmCandidate, task: Task, seed: int) -> dict[str, Any]:
    """Unite the candidate's parameters with those that are the platform's."""
    objectives: dict[str, dict[str, Any]] = {
        "binary": {"objective": "binary", "metric": "binary_logloss"},
        "multiclass": {"objective": "multiclass", "metric": "multi_logloss", "num_class": len(task.classes)},
        "regression": {"objective": "regression", "metric": "l2"},
    }
    return {
        **candidate.params,
        **objectives[task.problem],
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


@fit_trees.register(LightGbmCandidate)
def _(
    candidate: LightGbmCandidate, train: Part, validation: Part, categories: Sequence[int], task: Task, seed: int
) -> Trees:
    lightgbm = library("lightgbm")
    try:
        data = lightgbm.Dataset(train.columns, train.label, weight=train.weights, categorical_feature=list(categories))
        booster = lightgbm.train(
            lightgbm_parameters(candidate, task, seed),
            data,
            num_boost_round=candidate.rounds,
            valid_sets=[lightgbm.Dataset(validation.columns, validation.label, reference=data)],
            callbacks=[lightgbm.early_stopping(candidate.early_stopping, verbose=False)],
        )
    except lightgbm.basic.LightGBMError as error:
        raise PlanError(f"LightGBM refuses the candidate's params: {_first_line(error)}") from None
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return Trees(LIGHTGBM_TEXT, text.encode(), booster.best_iteration)


@fit_trees.register(XgboostCandidate)
def _(
    candidate: XgboostCandidate, train: Part, validation: Part, categories: Sequence[int], task: Task, seed: int
) -> Trees:
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
        "validate_parameters": True,
    }
    types = ["c" if place in set(categories) else "q" for place in range(train.columns.shape[1])]

    def data(part: Part) -> Any:
        return xgboost.DMatrix(
            part.columns, part.label, weight=part.weights, feature_types=types, enable_categorical=True, nthread=1
        )

    try:
        booster = xgboost.train(
            parameters,
            data(train),
            num_boost_round=candidate.rounds,
            evals=[(data(validation), "validation")],
            early_stopping_rounds=candidate.early_stopping,
            verbose_eval=False,
        )
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise PlanError(f"XGBoost refuses the candidate's params: {_first_line(error)}") from None
    best = booster[: booster.best_iteration + 1]
    return Trees(XGBOOST_UBJ, bytes(best.save_raw("ubj")), booster.best_iteration + 1)


@fit_trees.register(CatBoostCandidate)
def _(
    candidate: CatBoostCandidate, train: Part, validation: Part, categories: Sequence[int], task: Task, seed: int
) -> Trees:
    catboost = library("catboost")
    losses = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}

    def data(part: Part) -> Any:
        return catboost.Pool(
            catboost_columns(part.columns, categories), part.label, weight=part.weights, cat_features=list(categories)
        )

    model = catboost.CatBoost(
        {
            **candidate.params,
            "loss_function": losses[task.problem],
            "iterations": candidate.rounds,
            "random_seed": seed,
            "thread_count": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
            **({"classes_count": len(task.classes)} if task.problem == "multiclass" else {}),
        }
    )
    try:
        model.fit(data(train), eval_set=data(validation), early_stopping_rounds=candidate.early_stopping)
    except catboost.CatBoostError as error:
        raise PlanError(f"CatBoost refuses the candidate's params: {_first_line(error)}") from None
    # Otherwise equal models would differ in their bytes.
    told = model.get_metadata()
    told["model_guid"] = told["train_finish_time"] = ""
    return Trees(CATBOOST_CBM, bytes(model._serialize_model()), int(model.tree_count_))  # noqa: SLF001


def _first_line(error: Exception) -> str:
    return next(line.strip() for line in str(error).splitlines() if line.strip())


def catboost_columns(columns: Columns, categories: Sequence[int]) -> Any:
    """Write categories as whole numbers, which CatBoost demands; a missing one is a level of its own."""
    if not categories:
        return columns
    numbers = dense(columns)
    mixed = numbers.astype(object)
    for place in categories:
        mixed[:, place] = np.where(np.isnan(numbers[:, place]), -1, numbers[:, place]).astype(np.int64)
    return mixed
