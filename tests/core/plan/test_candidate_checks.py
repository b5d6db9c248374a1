"""What the candidates of a plan may not say of one another, of the features and of their estimators."""

from __future__ import annotations

import lightgbm
import pytest

from core.plan.candidate_checks import OWN_LIGHTGBM
from tests.core.plan.shop_plan import Change, Faults, faults

FAULTS: Faults = {
    "a rule on no feature": (
        {"train/candidates/rule/feature": "history.order"},
        "train.candidates.rule.feature: 'history.order' is not a declared feature of all_of_it; ",
    ),
    "a rule on a text": (
        {"train/candidates/rule/feature": "history.shop"},
        "train.candidates.rule.feature: history.shop is a string; the rule needs a number",
    ),
    "a regression without a column": (
        {
            "training_set/service": "text_only",
            "train/candidates": {
                "majority": {"estimator": "majority"},
                "line": {"estimator": "logistic_regression", "categorical": ["leave_out"]},
            },
            "evaluate/baseline": "majority",
        },
        "train.candidates.line: it uses no feature of the service 'text_only'; see its numeric, ",
    ),
    "a LightGBM parameter of the platform": (
        {"train/candidates/trees/params/n_jobs": 4},
        "train.candidates.trees.params.n_jobs: the platform sets this parameter itself; take it out",
    ),
    "a step beside leave_out": (
        {"train/candidates/trees/numeric": ["leave_out", "log"]},
        "train.candidates.trees.numeric: leave_out drops all columns of this kind; ",
    ),
    "an order of no feature": (
        {"train/candidates/trees/categorical": [{"step": "ordinal", "order": {"history.half": ["a"]}}]},
        "train.candidates.trees.categorical: ordinal.order: 'history.half' is no string feature; allowed here: history.shop",
    ),
    "levels that do not become numbers": (
        {"train/candidates/rule": {"estimator": "mlp", "categorical": ["impute_mode"]}},
        "train.candidates.rule.categorical: no step encodes history.shop as a number; add one_hot, ",
    ),
    "a text step without a text": (
        {"train/candidates/trees/text": ["tfidf"]},
        "train.candidates.trees.text: the service 'all_of_it' has no feature of the dtype text",
    ),
    "a blend of what is no candidate": (
        {"train/candidates/both": {"estimator": "blend", "of": ["trees", "rules"]}},
        "train.candidates.both.of: 'rules' is not a candidate, or is an ensemble itself; allowed here: ",
    ),
    "a blend with too few weights": (
        {"train/candidates/both": {"estimator": "blend", "of": ["trees", "rule"], "weights": [1]}},
        "train.candidates.both.weights: there are 1 weights for 2 candidates",
    ),
    "a regression for classes": (
        {"train/candidates/line": {"estimator": "linear_regression"}},
        "train.candidates.line.estimator: it predicts numbers; for a binary problem write logistic_regression",
    ),
    "a value of a feature for classes": (
        {"train/candidates/line": {"estimator": "feature_value", "feature": "history.half"}},
        "train.candidates.line.estimator: it predicts numbers; for a binary problem write single_feature",
    ),
    "a loss of counts for classes": (
        {"train/candidates/trees/loss": "poisson"},
        "train.candidates.trees.loss: a binary problem has the log loss; take the key out",
    ),
    "a level without its loss": (
        {"train/candidates/trees/quantile": 0.9},
        "train.candidates.trees.quantile: it belongs to loss: quantile, found squared; take it out",
    ),
    "a search for a loss": (
        {"train/candidates/trees/tune": {"search": {"quantile": {"values": [0.1, 0.9]}}}},
        "train.candidates.trees.tune.search.quantile: this key cannot be searched; ",
    ),
    "a search for no key": (
        {"train/candidates/trees/tune": {"search": {"round": {"low": 1, "high": 9}}}},
        "train.candidates.trees.tune.search.round: 1 is not allowed there: ",
    ),
    "a search outside of what is allowed": (
        {"train/candidates/trees/tune": {"search": {"rounds": {"low": 0, "high": 9}}}},
        "train.candidates.trees.tune.search.rounds: 0 is not allowed there: Input should be greater than or equal to 1",
    ),
    "a search for a parameter of the platform": (
        {"train/candidates/trees/tune": {"search": {"params.n_jobs": {"values": [4]}}}},
        "train.candidates.trees.params.n_jobs: the platform sets this parameter itself; take it out",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_gives_one_line_that_names_the_key_what_was_found_and_what_is_allowed(
    changes: Change, expected: str
) -> None:
    (line,) = faults(changes)
    assert line.startswith(expected)


def test_lightgbm_knows_no_other_name_for_a_parameter_that_the_platform_sets() -> None:
    aliases = lightgbm.basic._ConfigAliases
    for name in OWN_LIGHTGBM:
        assert aliases.get(name) <= OWN_LIGHTGBM, aliases.get(name) - OWN_LIGHTGBM
