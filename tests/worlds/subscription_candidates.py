"""One candidate for every kind, preprocessing step and selector that a plan can name, over the subscription world."""

from __future__ import annotations

from typing import Any

_TREES: dict[str, Any] = {"rounds": 60, "early_stopping": 20}
_LIGHTGBM: dict[str, Any] = {"estimator": "lightgbm", **_TREES, "params": {"num_leaves": 15}}
_LINE: dict[str, Any] = {"estimator": "logistic_regression"}
_SCALED = ["impute_median", "min_max_scale"]
_TOPICS = ["tfidf", {"step": "truncated_svd", "components": 5}]

TRIALS = 12
#: Fitted first, so that a test can stop the run in the middle of its search.
TUNED: dict[str, Any] = {
    **_LIGHTGBM,
    "tune": {
        "search": {"params.num_leaves": {"low": 4, "high": 31}, "params.min_data_in_leaf": {"low": 5, "high": 100}},
        "trials": TRIALS,
        "prune": False,
    },
}
_KINDS: dict[str, dict[str, Any]] = {
    "majority": {"estimator": "majority"},
    "single_feature": {"estimator": "single_feature", "feature": "engagement.active_days_30d"},
    "logistic_l2": {**_LINE},
    "logistic_l1": {**_LINE, "penalty": "l1", "penalty_inverse": 0.02},
    "logistic_elastic_net": {**_LINE, "penalty": "elastic_net", "penalty_inverse": 0.02},
    "logistic_balanced": {**_LINE, "class_weight": "balanced"},
    "decision_tree": {"estimator": "decision_tree"},
    "random_forest": {"estimator": "random_forest", "trees": 30, "max_depth": 8},
    "linear_svm": {"estimator": "linear_svm", "penalty_inverse": 0.01, "folds": 3},
    "mlp": {"estimator": "mlp", "hidden": [16], "rounds": 15},
    "lightgbm": _LIGHTGBM,
    "lightgbm_weighted": {**_LIGHTGBM, "class_weight": {"1": 3.0}},
    "xgboost": {"estimator": "xgboost", **_TREES, "params": {"max_depth": 4}},
    "catboost": {"estimator": "catboost", **_TREES, "params": {"depth": 4}},
    "blend": {"estimator": "blend", "of": ["logistic_l2", "lightgbm"], "weights": [1, 2]},
    "stacking": {"estimator": "stacking", "of": ["single_feature", "lightgbm"], "folds": 3},
}
_NUMERIC: dict[str, list[Any]] = {
    "impute_mean": [{"step": "impute_mean", "indicator": True}, "standard_scale"],
    "impute_median": [{"step": "impute_median", "indicator": True}, "standard_scale"],
    "impute_mode": [{"step": "impute_mode", "indicator": True}, "standard_scale"],
    "impute_constant": [{"step": "impute_constant", "value": -1, "indicator": True}, "standard_scale"],
    "impute_knn": ["standard_scale", {"step": "impute_knn", "reference_rows": 500, "indicator": True}],
    "impute_iterative": ["standard_scale", {"step": "impute_iterative", "rounds": 1, "indicator": True}],
    "winsorise": ["winsorise", "impute_median", "standard_scale"],
    "log": ["log", "impute_median", "standard_scale"],
    "power_transform": ["impute_median", "power_transform"],
    "min_max_scale": _SCALED,
    "robust_scale": ["winsorise", "impute_median", "robust_scale", "log"],
    "pca": ["impute_median", "standard_scale", {"step": "pca", "components": 6}],
    "interactions": [
        *("impute_median", "standard_scale", {"step": "pca", "components": 6}),
        {"step": "polynomial", "interactions_only": True},
    ],
    "polynomial": ["impute_median", "standard_scale", {"step": "pca", "components": 4}, "polynomial", "standard_scale"],
    "leave_out": ["leave_out"],
}
_CATEGORICAL: dict[str, list[Any]] = {
    "one_hot": [{"step": "one_hot", "min_count": 20, "max_levels": 3}],
    "ordinal": [
        {"step": "ordinal", "order": {"contract.plan": ["basic", "standard", "premium"]}},
        *("impute_mode", "one_hot"),
    ],
    "target_encode": ["target_encode", "standard_scale"],
}
_TEXT: dict[str, list[Any]] = {"tfidf": [{"step": "tfidf", "max_terms": 50}], "truncated_svd": _TOPICS}
_SELECT: dict[str, Any] = {
    "correlation": {"by": "correlation", "above": 0.8},
    "chi_squared": {"by": "chi_squared", "keep": 8},
    "anova": {"by": "anova", "keep": 8},
    "mutual_information": {"by": "mutual_information", "keep": 8},
    "l1": {"by": "l1", "penalty_inverse": 0.1},
    "tree_importance": {"by": "tree_importance", "keep": 8, "trees": 20},
    "elimination": {"by": "elimination", "keep": 40},
}

#: By the name of its candidate in the plan.
CASES: dict[str, dict[str, Any]] = {
    "tuned": TUNED,
    **_KINDS,
    **{f"numeric_{name}": {**_LINE, "numeric": steps} for name, steps in _NUMERIC.items()},
    **{f"categorical_{name}": {**_LINE, "categorical": steps} for name, steps in _CATEGORICAL.items()},
    **{f"text_{name}": {**_LINE, "text": steps} for name, steps in _TEXT.items()},
    "text_beside_trees": {**_LIGHTGBM, "text": _TOPICS},
    "joined": {**_LINE, "joined": [{"step": "pca", "components": 10}]},
    **{f"select_{name}": {**_LINE, "numeric": _SCALED, "select": [by]} for name, by in _SELECT.items()},
}
