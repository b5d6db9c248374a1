"""Gradient-boosted trees: fitted with early stopping on the validation rows, kept in each library's own safe format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any, TypeAlias

from core.errors import PlanError
from core.plan.train import BoostedCandidate, CatBoostCandidate, LightGbmCandidate, XgboostCandidate
from models.scoring.trees import CATBOOST_CBM, LIGHTGBM_TEXT, XGBOOST_UBJ, catboost_columns, library

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from models.data.rows import Labels, Task
    from models.scoring.columns import Columns


@dataclass(frozen=True)
class Part:
    """Prepared columns of one part of the split, with labels of the shape (rows,) and weights, if any."""

    columns: Columns
    label: Labels
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Grown:
    """Fitted trees.

    Attributes
    ----------
    content : the trees in the library's own format, `model_format`.
    rounds : how many rounds early stopping left.
    loss : log loss, or RMSE, on the validation rows after them.

    """

    model_format: str
    content: bytes
    rounds: int
    loss: float


class GivenUp(Exception):  # noqa: N818 - no error: whoever watches the growth has seen enough
    """The trees are not grown any further."""


#: Told a round and the loss at it; whether to give up.
Watch: TypeAlias = "Callable[[int, float], bool]"
#: Rounds between two looks of a watch.
_LOOK = 10


@dataclass(frozen=True)
class Data:
    """Columns in a library's own shape, as it is made once for any number of fits: for fitting, and for early stopping."""

    fitting: Any
    checking: Any


@singledispatch
def data_for(candidate: BoostedCandidate, train: Part, validation: Part, categories: Sequence[int]) -> Data:
    """Bring columns into the shape of the candidate's library.

    Parameters
    ----------
    categories : the places of the columns that are codes of levels.

    Raises
    ------
    PlanError
        If the library is not installed, or refuses what the plan asks for.

    """
    raise NotImplementedError(type(candidate), train, validation, categories)


@singledispatch
def grow(candidate: BoostedCandidate, data: Data, task: Task, seed: int, watch: Watch | None = None) -> Grown:
    """Grow trees for as long as they become better on the rows for early stopping.

    Raises
    ------
    PlanError
        If the library refuses what the plan asks for.
    GivenUp
        If `watch` says so, which LightGBM alone asks while it grows.

    """
    raise NotImplementedError(type(candidate), data, task, seed, watch)


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
        # Else a Dataset would leave out, for the first fit's min_data_in_leaf, what the next one needs.
        "feature_pre_filter": False,
        "num_threads": 1,
        "verbosity": -1,
    }


#: The parameters of LightGBM that its Dataset is made with: fits that share one cannot differ in them.
LIGHTGBM_DATASET = frozenset(
    {
        *(
            "max_bin",
            "max_bins",
            "max_bin_by_feature",
            "min_data_in_bin",
            "bin_construct_sample_cnt",
            "subsample_for_bin",
        ),
        *("data_random_seed", "data_seed", "is_enable_sparse", "is_sparse", "enable_sparse", "sparse"),
        *(
            "enable_bundle",
            "is_enable_bundle",
            "bundle",
            "use_missing",
            "zero_as_missing",
            "linear_tree",
            "linear_trees",
        ),
    }
)


@data_for.register(LightGbmCandidate)
def _(candidate: LightGbmCandidate, train: Part, validation: Part, categories: Sequence[int]) -> Data:
    lightgbm = library("lightgbm")
    chosen = {name: value for name, value in candidate.params.items() if name in LIGHTGBM_DATASET}
    # Both say the same: LightGBM would otherwise change the second, and wants its raw data again for it.
    told = {
        "categorical_feature": list(categories),
        "params": {**chosen, "feature_pre_filter": False, "verbosity": -1},
    }
    fitting = lightgbm.Dataset(train.columns, train.label, weight=train.weights, **told)
    try:
        checking = lightgbm.Dataset(validation.columns, validation.label, reference=fitting.construct(), **told)
        return Data(fitting, checking.construct())
    except lightgbm.basic.LightGBMError as error:
        raise PlanError(f"LightGBM refuses the candidate's params: {_first_line(error)}") from None


@grow.register(LightGbmCandidate)
def _(candidate: LightGbmCandidate, data: Data, task: Task, seed: int, watch: Watch | None = None) -> Grown:
    lightgbm = library("lightgbm")

    def look(environment: Any) -> None:
        loss = environment.evaluation_result_list[0][2]
        if watch and environment.iteration % _LOOK == 0 and watch(environment.iteration, _as_told(loss, task)):
            raise GivenUp

    stop = lightgbm.early_stopping(candidate.early_stopping, verbose=False)
    try:
        booster = lightgbm.train(
            lightgbm_parameters(candidate, task, seed),
            data.fitting,
            num_boost_round=candidate.rounds,
            valid_sets=[data.checking],
            valid_names=["validation"],
            callbacks=[stop, look],
        )
    except lightgbm.basic.LightGBMError as error:
        raise PlanError(f"LightGBM refuses the candidate's params: {_first_line(error)}") from None
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    (loss,) = booster.best_score["validation"].values()
    return Grown(LIGHTGBM_TEXT, text.encode(), booster.best_iteration, _as_told(loss, task))


def _as_told(loss: float, task: Task) -> float:
    """Give the root of LightGBM's mean square; a log loss is as it is."""
    return math.sqrt(loss) if task.problem == "regression" else loss


@data_for.register(XgboostCandidate)
def _(
    candidate: XgboostCandidate,  # noqa: ARG001
    train: Part,
    validation: Part,
    categories: Sequence[int],
) -> Data:
    xgboost = library("xgboost")
    types = ["c" if place in set(categories) else "q" for place in range(train.columns.shape[1])]
    fitting, checking = (
        xgboost.DMatrix(
            part.columns, part.label, weight=part.weights, feature_types=types, enable_categorical=True, nthread=1
        )
        for part in (train, validation)
    )
    return Data(fitting, checking)


@grow.register(XgboostCandidate)
def _(
    candidate: XgboostCandidate,
    data: Data,
    task: Task,
    seed: int,
    watch: Watch | None = None,  # noqa: ARG001
) -> Grown:
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
        raise PlanError(f"XGBoost refuses the candidate's params: {_first_line(error)}") from None
    best = booster[: booster.best_iteration + 1]
    return Grown(XGBOOST_UBJ, bytes(best.save_raw("ubj")), booster.best_iteration + 1, float(booster.best_score))


@data_for.register(CatBoostCandidate)
def _(
    candidate: CatBoostCandidate,  # noqa: ARG001
    train: Part,
    validation: Part,
    categories: Sequence[int],
) -> Data:
    catboost = library("catboost")
    fitting, checking = (
        catboost.Pool(
            catboost_columns(part.columns, categories), part.label, weight=part.weights, cat_features=list(categories)
        )
        for part in (train, validation)
    )
    return Data(fitting, checking)


@grow.register(CatBoostCandidate)
def _(
    candidate: CatBoostCandidate,
    data: Data,
    task: Task,
    seed: int,
    watch: Watch | None = None,  # noqa: ARG001
) -> Grown:
    catboost = library("catboost")
    loss = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}[task.problem]
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
        raise PlanError(f"CatBoost refuses the candidate's params: {_first_line(error)}") from None
    # Otherwise equal models would differ in their bytes.
    told = model.get_metadata()
    told["model_guid"] = told["train_finish_time"] = ""
    content = bytes(model._serialize_model())  # noqa: SLF001
    return Grown(CATBOOST_CBM, content, int(model.tree_count_), float(model.get_best_score()["validation"][loss]))


def _first_line(error: Exception) -> str:
    return next(line.strip() for line in str(error).splitlines() if line.strip())
