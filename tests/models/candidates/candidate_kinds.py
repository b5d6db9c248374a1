"""One candidate of every kind, and of every step and selector, over a small world with every kind of column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from core.contracts import ContractFeature
from core.plan.train import Candidate
from models.data.rows import BINARY, Rows, Task
from models.scoring.encoding import encode_table

if TYPE_CHECKING:
    from core.plan.plan import Problem

FEATURES = (
    ContractFeature("v", "amount", "float64"),
    ContractFeature("v", "visits", "int64"),
    ContractFeature("v", "kind", "string", ("a", "b", "c")),
    ContractFeature("v", "member", "bool"),
    ContractFeature("v", "since", "timestamp"),
    ContractFeature("v", "note", "text"),
)
TASKS: dict[Problem, Task] = {
    "binary": BINARY,
    "multiclass": Task("multiclass", ("high", "low", "middle")),
    "regression": Task("regression"),
}
_SVD = ["tfidf", {"step": "truncated_svd", "components": 3}]
_TREES: dict[str, Any] = {"rounds": 20, "early_stopping": 20}
_LIGHTGBM = {**_TREES, "params": {"min_child_samples": 5}}

KINDS: dict[str, dict[str, Any]] = {
    "majority": {"estimator": "majority"},
    "single_feature": {"estimator": "single_feature", "feature": "v.amount"},
    "feature_value": {"estimator": "feature_value", "feature": "v.amount"},
    "l2": {"estimator": "logistic_regression", "text": ["tfidf"]},
    "l1": {"estimator": "logistic_regression", "penalty": "l1", "text": _SVD},
    "elastic_net": {"estimator": "logistic_regression", "penalty": "elastic_net", "penalty_inverse": 0.1},
    "line_l2": {"estimator": "linear_regression", "text": ["tfidf"]},
    "line_l1": {"estimator": "linear_regression", "penalty": "l1", "strength": 0.01},
    "line_elastic_net": {"estimator": "linear_regression", "penalty": "elastic_net", "strength": 0.01},
    "linear_svm": {"estimator": "linear_svm", "text": _SVD},
    "decision_tree": {"estimator": "decision_tree"},
    "random_forest": {"estimator": "random_forest", "trees": 10},
    "mlp": {"estimator": "mlp", "hidden": [8], "rounds": 30},
    "lightgbm": {"estimator": "lightgbm", **_LIGHTGBM},
    "lightgbm_with_text": {"estimator": "lightgbm", "text": ["tfidf"], **_LIGHTGBM},
    "lightgbm_with_topics": {"estimator": "lightgbm", "text": _SVD, **_LIGHTGBM},
    "xgboost": {"estimator": "xgboost", **_TREES},
    "xgboost_with_text": {"estimator": "xgboost", "text": ["tfidf"], **_TREES},
    "catboost": {"estimator": "catboost", **_TREES},
    "catboost_with_text": {"estimator": "catboost", "text": ["tfidf"], **_TREES},
    "weighted": {"estimator": "logistic_regression", "class_weight": "balanced"},
}
#: Kinds that solve some problems only.
ONLY: dict[str, set[Problem]] = {
    **{kind: {"binary", "multiclass"} for kind in ("l2", "l1", "elastic_net", "weighted")},
    **{kind: {"regression"} for kind in ("line_l2", "line_l1", "line_elastic_net", "feature_value")},
}


def candidate(spec: dict[str, Any]) -> Candidate:
    """Read a candidate as the plan does."""
    read: Candidate = TypeAdapter(Candidate).validate_python(spec)
    return read


def kinds_of(problem: Problem) -> list[str]:
    """List the kinds that solve `problem`."""
    return [kind for kind in KINDS if problem in ONLY.get(kind, set(TASKS))]


@cache
def table(rows: int = 300) -> pa.Table:
    """Draw rows with every kind of gap."""
    chance = np.random.default_rng(5)
    words = ["slow", "late", "good", "fast", "price"]
    notes = [" ".join(chance.choice(words, 3)) for _ in range(rows)]
    return pa.table(
        {
            "v__amount": with_gaps(chance, chance.normal(size=rows).tolist()),
            "v__visits": with_gaps(chance, chance.integers(0, 9, rows).tolist()),
            "v__kind": [["a", "b", "c", None][place] for place in chance.integers(0, 4, rows)],
            "v__member": (chance.random(rows) < 0.5).tolist(),
            "v__since": [
                datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(day)) for day in chance.integers(0, 99, rows)
            ],
            "v__note": with_gaps(chance, notes),
        }
    )


def with_gaps(chance: np.random.Generator, values: list[Any]) -> list[Any]:
    """Take a tenth of the values away."""
    return [None if gap else value for value, gap in zip(values, chance.random(len(values)) < 0.1, strict=True)]


@cache
def rows_for(problem: Problem) -> Rows:
    """Label the table by all of its columns, and some noise."""
    drawn = table()
    amount, kind, note = (drawn.column(name).to_pylist() for name in ("v__amount", "v__kind", "v__note"))
    noise = np.random.default_rng(6).normal(scale=0.5, size=len(drawn))
    truth = np.array(
        [(a or 0) + (k == "a") + ("late" in (n or "")) for a, k, n in zip(amount, kind, note, strict=True)]
    )
    number = truth + noise
    labels: dict[Problem, Any] = {
        "binary": (number > 1).astype(np.int32),
        "multiclass": np.digitize(number, [0.3, 1.2]).astype(np.int32),
        "regression": number,
    }
    return Rows(encode_table(drawn, FEATURES), labels[problem])
