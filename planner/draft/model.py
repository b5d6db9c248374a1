"""Draft the sections about models: candidates by the size of the data, metrics by the problem and its class balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.plan.plan import Problem
    from planner.draft.sheet import Sheet
    from planner.profile.column import Column

#: Share of the rarer class below which the area under the precision-recall curve ranks candidates.
_RARE = 0.1
#: Leaves and least rows of a leaf, by the rows from which on they are chosen.
_SIZES = ((50_000, 31, 100), (2_000, 15, 40), (0, 15, 10))
#: Rows up to which a forest is fitted too, levels from which on texts are encoded by the target, and those of a count.
_FOREST_ROWS, _MANY_LEVELS, _MOST_LEVELS, _LARGEST_COUNT = 10_000, 20, 200, 50


@dataclass(frozen=True)
class Shape:
    """What decides about candidates and metrics.

    Attributes
    ----------
    rows : the number of rows with a label.
    balance : the share of the positive class of a binary problem.
    has_text : whether a feature is free text.
    levels : the largest number of values of a feature of texts.
    is_count : whether the label is a count, which is never negative and mostly small.
    is_forecast : whether the label is a number in a coming window, whose level may leave the range of the training rows.

    """

    problem: Problem
    rows: int
    balance: float
    has_text: bool = False
    levels: int = 0
    is_count: bool = False
    is_forecast: bool = False


def is_count_column(column: Column) -> bool:
    """Return whether numbers are counts: whole, from 0 on, small, and skewed to the right."""
    if column.kind != "integer" or not column.quantiles or column.mean is None:
        return False
    return column.quantiles[0] == 0 and column.quantiles[4] < column.mean <= _LARGEST_COUNT


def draft_model(sheet: Sheet, name: str, shape: Shape, *, baseline: dict[str, Any] | None = None) -> None:
    """Put the sections `train`, `evaluate`, `register`, `serve` and `monitor` into the sheet.

    Parameters
    ----------
    baseline : the candidate that the best one is compared with; without it, a constant prediction.

    """
    _candidates(sheet, shape, baseline)
    _measures(sheet, shape, "baseline")
    sheet.put("register.model", name)
    serve: dict[str, Any] = {"missing": "answer_and_flag", "stale": "answer_and_flag"}
    serve |= {"experiment": "first", "salt": "first", "arms": {"champion": 50, "challenger": 50}}
    sheet.put("serve", serve)
    if shape.problem == "binary":
        sheet.put(
            "serve.decisions", {"above": "act", "below": "wait"}, "names of the two decisions; choose words of yours"
        )
    sheet.put("monitor", {"psi_alarm": 0.2, "parity_sample": 1.0})


def _candidates(sheet: Sheet, shape: Shape, baseline: dict[str, Any] | None) -> None:
    sheet.put("train.seed", 1)
    sheet.put("train.candidates.baseline", baseline or {"estimator": "majority"})
    if shape.is_count:
        why = "the target is a count: from 0 on, mostly small; small trees, since counts vary by chance"
        sheet.put("train.candidates.counts", {**_small_trees(shape), "loss": "poisson"}, why, rows=shape.rows)
        sheet.put("train.candidates.larger", {**_trees(shape), "loss": "poisson"})
        sheet.put("train.candidates.trees", _small_trees(shape))
        return
    members = ["linear", "trees"]
    sheet.put("train.candidates.linear", _linear(shape))
    trees = _trees(shape)
    leaves, least = trees["params"]["num_leaves"], trees["params"]["min_child_samples"]
    why = f"{leaves} leaves of at least {least} rows, for {shape.rows:,} rows with a label"
    sheet.put("train.candidates.trees", trees, why, rows=shape.rows)
    if shape.rows < _FOREST_ROWS and not shape.has_text and not shape.is_forecast:
        encoded = {"categorical": ["target_encode"]} if shape.levels > _MANY_LEVELS else {}
        sheet.put("train.candidates.forest", {"estimator": "random_forest", "trees": 200, **_forest(shape), **encoded})
        members.append("forest")
    why = "the mean of the others, which is often better than each"
    sheet.put("train.candidates.together", {"estimator": "blend", "of": members}, why)


def _forest(shape: Shape) -> dict[str, Any]:
    """Return the size of leaves and the share of columns of a forest, which for numbers are not those for classes."""
    return {"min_leaf_rows": 3, "column_share": 0.5} if shape.problem == "regression" else {}


def _small_trees(shape: Shape) -> dict[str, Any]:
    """Return trees of few leaves that learn slowly, for labels that vary by chance."""
    params = {"learning_rate": 0.02, "num_leaves": 6, "min_child_samples": 100, "feature_fraction": 0.7}
    return {**_trees(shape), "rounds": 1500, "early_stopping": 80, "params": params}


def _linear(shape: Shape) -> dict[str, Any]:
    estimator = "linear_regression" if shape.problem == "regression" else "logistic_regression"
    categorical = "target_encode" if shape.levels > _MOST_LEVELS else {"step": "one_hot", "min_count": 5}
    levels = {"categorical": [categorical]} if shape.levels > _MANY_LEVELS else {}
    strength = {"strength": 5.0} if shape.problem == "regression" else {}
    return {"estimator": estimator, **levels, **_texts(shape), **strength}


def _trees(shape: Shape) -> dict[str, Any]:
    leaves, least = next((leaves, least) for size, leaves, least in _SIZES if shape.rows >= size)
    rate, rounds = (0.03, 1000) if shape.rows < _SIZES[0][0] else (0.05, 500)
    params = {"learning_rate": rate, "num_leaves": leaves, "min_child_samples": least, "feature_fraction": 0.7}
    encoded = {"categorical": ["target_encode"]} if shape.levels > _MANY_LEVELS else {}
    return {
        "estimator": "lightgbm",
        "rounds": rounds,
        "early_stopping": 50,
        "params": params,
        **encoded,
        **_texts(shape),
    }


def _texts(shape: Shape) -> dict[str, Any]:
    return {"text": [{"step": "tfidf", "max_terms": 1000, "min_count": 3}]} if shape.has_text else {}


def _measures(sheet: Sheet, shape: Shape, baseline: str) -> None:
    if shape.is_count:
        metrics = ["d2_poisson", "poisson_deviance", "rmse", "mae", "r2"]
        why = "the target is a count"
        sheet.put("evaluate", {"primary": "d2_poisson", "metrics": metrics, "baseline": baseline}, why)
        return
    if shape.problem == "regression":
        sheet.put("evaluate", {"primary": "rmse", "metrics": ["rmse", "mae", "r2"], "baseline": baseline})
        return
    if shape.problem == "multiclass":
        metrics = ["log_loss", "accuracy", "balanced_accuracy", "f1"]
        sheet.put("evaluate", {"primary": "log_loss", "metrics": metrics, "baseline": baseline})
        return
    balance = shape.balance
    primary = "pr_auc" if min(balance, 1 - balance) < _RARE else "roc_auc"
    metrics = ["roc_auc", "pr_auc", "log_loss", "brier", "ece", "lift", "precision", "recall", "f1"]
    sheet.put("evaluate.primary", primary, f"{balance:.1%} of the labels are positive", figure=balance)
    sheet.put("evaluate.metrics", metrics)
    sheet.put("evaluate.threshold", {"maximise": "f1"}, "without amounts of money; evaluate.money states them")
    sheet.put("evaluate.baseline", baseline)
