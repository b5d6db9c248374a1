"""The words of a plan about weights, amounts by row, intervals and ordered classes, and what they are refused with."""

from __future__ import annotations

import pytest

from tests.core.plan.shop_plan import Change, Faults, faults, shop

_MONEY = {"kept_value": 10, "offer_cost": "history.half", "acceptance": 1}

_CLASSES: Change = {
    "project/problem": "multiclass",
    "evaluate/primary": "log_loss",
    "evaluate/metrics": ["log_loss"],
    "evaluate/threshold": ...,
    "serve/decisions": ...,
}
_REGRESSION: Change = {
    **_CLASSES,
    "project/problem": "regression",
    "evaluate/primary": "rmse",
    "evaluate/metrics": ["rmse"],
}

FAULTS: Faults = {
    "a weight of no view": (
        {"training_set/weight": "histor.half"},
        "training_set.weight: 'histor' is not a declared view; ",
    ),
    "a weight of no feature": (
        {"training_set/weight": "history.haf"},
        "training_set.weight: 'haf' is not a declared feature of history; ",
    ),
    "a weight that is a text": (
        {"training_set/weight": "history.shop"},
        "training_set.weight: history.shop is a string; expected a number",
    ),
    "an amount that is no feature": (
        {"evaluate/money": {**_MONEY, "kept_value": "history.prize"}},
        "evaluate.money.kept_value: 'history.prize' is not a declared feature of all_of_it, or attribute of training_set; ",
    ),
    "an amount that is a text": (
        {"evaluate/money": {**_MONEY, "contact_cost": "history.shop"}},
        "evaluate.money.contact_cost: history.shop is a string; expected a number",
    ),
    "an interval of probabilities": (
        {"evaluate/interval": {"coverage": 0.9}},
        "evaluate.interval: a binary problem predicts probabilities, not a number; take the key out",
    ),
    "an interval of everything": (
        {**_REGRESSION, "evaluate/interval": {"coverage": 1.0}},
        "evaluate.interval.coverage: should be less than 1, found float 1.0",
    ),
    "a coverage without an interval": (
        {**_REGRESSION, "evaluate/metrics": ["rmse", "coverage"]},
        "evaluate.metrics: a metric of intervals needs the key evaluate.interval; add {coverage: 0.9}",
    ),
    "a gate of coverage without an interval": (
        {**_REGRESSION, "register/not_lose": {"coverage": 0.02}},
        "register.not_lose: a metric of intervals needs the key evaluate.interval; ",
    ),
    "wide intervals as the aim": (
        {**_REGRESSION, "evaluate/interval": {}, "evaluate/primary": "coverage", "evaluate/metrics": ["coverage"]},
        "evaluate.primary: coverage is higher the wider the intervals; write interval_score, which counts their width",
    ),
    "an order of two classes": (
        {"label/order": ["no", "yes"]},
        "label.order: a binary problem has no classes to order; take the key out",
    ),
    "an order with a class twice": (
        {**_CLASSES, "label/order": ["1", 1]},
        "label: the order ['1', '1'] lists a class twice; keep one",
    ),
    "a distance of classes without an order": (
        {**_CLASSES, "evaluate/metrics": ["log_loss", "quadratic_kappa"]},
        "evaluate.metrics: a metric of ordered classes needs the key label.order; list the classes from lowest to highest",
    ),
    "names of a number": (
        {**_REGRESSION, "label/names": ["no", "yes"]},
        "label.names: a regression problem has no class 0 and class 1; take the key out",
    ),
    "the same name twice": (
        {"label/names": ["yes", "yes"]},
        "label: found the names ['yes', 'yes']; expected two different ones, of class 0 and of class 1",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_word_that_makes_no_sense_is_refused(case: str) -> None:
    changes, message = FAULTS[case]
    assert faults(changes)[0].startswith(message)


def test_a_weight_is_a_column_of_the_training_set_that_no_model_reads() -> None:
    section = shop({"training_set/weight": "history.half", "build_features/services/all_of_it": ["history.orders"]})
    assert section.training_set.read_besides == ("history.half",)
    assert section.training_set.weight_column == "history__half"
    assert section.build_features.service_features("all_of_it") == (("history", "orders"),)


def test_an_amount_may_be_a_number_or_a_feature() -> None:
    money = shop({"evaluate/money": _MONEY}).evaluate.money
    assert money is not None
    assert money.references == {"offer_cost": "history.half"}
    constant = shop({"evaluate/money": {**_MONEY, "offer_cost": 2}}).evaluate.money
    assert constant is not None
    assert (constant.earned_of_lost, constant.earned_of_staying) == (8, -2)


def test_the_metrics_of_intervals_and_of_ordered_classes_are_accepted_with_their_keys() -> None:
    metrics = ["rmse", "coverage", "interval_score"]
    regression = {**_REGRESSION, "evaluate/interval": {"coverage": 0.8}, "evaluate/metrics": metrics}
    assert shop({**regression, "register/not_lose": {"coverage": 0.02}}).evaluate.interval is not None
    classes = {
        **_CLASSES,
        "label/order": [1, 2, "many"],
        "evaluate/metrics": ["log_loss", "quadratic_kappa", "ordinal_mae"],
    }
    assert shop(classes).label.ordered == ("1", "2", "many")


def test_the_names_of_two_classes_are_those_of_the_plan() -> None:
    label = shop({"label/names": ["stayed", "churned"]}).label
    assert (label.negative_name, label.positive_name) == ("stayed", "churned")
    assert shop().label.positive_name == ""
