"""The words of a plan about weights, amounts by row, intervals and ordered classes, and what they are refused with."""

from __future__ import annotations

import pytest

from tests.core.plan.shop_plan import Faults, faults, shop

_MONEY = {"kept_value": 10, "offer_cost": "history.half", "acceptance": 1}

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
