"""Draft the sections about models: candidates by the size of the data, metrics by the problem and its class balance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.plan.plan import Problem
    from planner.draft.sheet import Sheet

#: Share of the rarer class below which the area under the precision-recall curve ranks candidates.
_RARE = 0.1
#: Leaves and least rows of a leaf, by the rows from which on they are chosen.
_SIZES = ((20_000, 63, 100), (2_000, 31, 40), (0, 15, 10))


def draft_model(
    sheet: Sheet,
    problem: Problem,
    rows: int,
    balance: float,
    name: str,
    *,
    has_text: bool,
    baseline: dict[str, Any] | None = None,
) -> None:
    """Put the sections `train`, `evaluate`, `register`, `serve` and `monitor` into the sheet.

    Parameters
    ----------
    rows : the number of rows with a label.
    balance : the share of the positive class of a binary problem.
    baseline : the candidate that the best one is compared with; without it, a constant prediction.

    """
    _candidates(sheet, problem, rows, has_text=has_text, baseline=baseline)
    _measures(sheet, problem, balance, "baseline")
    sheet.put("register.model", name)
    serve: dict[str, Any] = {"missing": "answer_and_flag", "stale": "answer_and_flag"}
    serve |= {"experiment": "first", "salt": "first", "arms": {"champion": 50, "challenger": 50}}
    sheet.put("serve", serve)
    if problem == "binary":
        sheet.put(
            "serve.decisions", {"above": "act", "below": "wait"}, "names of the two decisions; choose words of yours"
        )
    sheet.put("monitor", {"psi_alarm": 0.2, "parity_sample": 1.0})


def _candidates(sheet: Sheet, problem: Problem, rows: int, *, has_text: bool, baseline: dict[str, Any] | None) -> None:
    leaves, least = next((leaves, least) for size, leaves, least in _SIZES if rows >= size)
    texts = {"text": [{"step": "tfidf", "max_terms": 500, "min_count": 5}]} if has_text else {}
    linear = "linear_regression" if problem == "regression" else "logistic_regression"
    params = {"learning_rate": 0.05, "num_leaves": leaves, "min_child_samples": least}
    sheet.put("train.seed", 1)
    sheet.put("train.candidates.baseline", baseline or {"estimator": "majority"})
    sheet.put("train.candidates.linear", {"estimator": linear, **texts})
    sheet.put(
        "train.candidates.trees",
        {"estimator": "lightgbm", "rounds": 400, "early_stopping": 30, "params": params},
        f"{leaves} leaves of at least {least} rows, for {rows:,} rows with a label",
        rows=rows,
    )


def _measures(sheet: Sheet, problem: Problem, balance: float, baseline: str) -> None:
    if problem == "regression":
        sheet.put("evaluate", {"primary": "rmse", "metrics": ["rmse", "mae", "r2"], "baseline": baseline})
        return
    if problem == "multiclass":
        metrics = ["log_loss", "accuracy", "balanced_accuracy", "f1"]
        sheet.put("evaluate", {"primary": "log_loss", "metrics": metrics, "baseline": baseline})
        return
    primary = "pr_auc" if min(balance, 1 - balance) < _RARE else "roc_auc"
    metrics = ["roc_auc", "pr_auc", "log_loss", "brier", "ece", "lift", "precision", "recall", "f1"]
    sheet.put("evaluate.primary", primary, f"{balance:.1%} of the labels are positive", figure=balance)
    sheet.put("evaluate.metrics", metrics)
    sheet.put("evaluate.threshold", {"maximise": "f1"}, "without amounts of money; evaluate.money states them")
    sheet.put("evaluate.baseline", baseline)
