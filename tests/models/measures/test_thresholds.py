"""The threshold of a plan's goal, on rows where every choice can be tried by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.plan.evaluate import Money, Threshold
from models.measures.metrics import Observed, metric_value
from models.measures.thresholds import NOBODY, choose_threshold

LABEL = np.array([1, 0, 1, 0], dtype=np.int32)
SCORE = np.array([0.9, 0.6, 0.5, 0.2])
#: Who would be lost earns 0.5 (8 - 2) - 0.5 = 2.5 when approached, who would have stayed -2.5.
MONEY = Money(kept_value=8, offer_cost=2, contact_cost=0.5, acceptance=0.5)


def test_the_threshold_of_f1() -> None:
    # At 0.9: 2/3; at 0.6: 2/4; at 0.5: 4/5; at 0.2: 4/6.
    assert choose_threshold(Threshold(maximise="f1"), None, LABEL, SCORE) == 0.5


def test_the_threshold_of_balanced_accuracy_is_the_highest_of_the_best() -> None:
    # At 0.9: (1/2 + 1) / 2; at 0.5: (1 + 1/2) / 2: equal, so the higher one.
    assert choose_threshold(Threshold(maximise="balanced_accuracy"), None, LABEL, SCORE) == 0.9


def test_rows_of_one_score_are_decided_together() -> None:
    label, score = np.array([1, 0, 1, 0], dtype=np.int32), np.array([0.7, 0.7, 0.7, 0.1])
    assert choose_threshold(Threshold(maximise="f1"), None, label, score) == 0.7


def test_a_given_threshold_is_taken() -> None:
    assert choose_threshold(Threshold(at=0.3), None, LABEL, SCORE) == 0.3


def test_without_a_goal_or_with_a_score_that_is_no_number_there_is_none() -> None:
    assert np.isnan(choose_threshold(None, None, LABEL, SCORE))
    assert np.isnan(choose_threshold(Threshold(maximise="f1"), None, LABEL, np.array([0.1, np.nan, 0.2, 0.3])))


def test_the_money_of_a_decision() -> None:
    assert (MONEY.earned_of_lost, MONEY.earned_of_staying) == (2.5, -2.5)
    assert MONEY.break_even == 0.5


def test_the_threshold_of_profit() -> None:
    # At 0.9: 2.5; at 0.6: 0; at 0.5: 2.5; at 0.2: 0. Of the best, the higher.
    assert choose_threshold(Threshold(maximise="profit"), MONEY, LABEL, SCORE) == 0.9


def test_the_capacity_limits_who_is_approached() -> None:
    label = np.array([1, 1, 1, 0], dtype=np.int32)
    within = MONEY.model_copy(update={"capacity": 0.5})
    assert choose_threshold(Threshold(maximise="profit"), MONEY, label, SCORE) == 0.5
    assert choose_threshold(Threshold(maximise="profit"), within, label, SCORE) == 0.6


def test_where_every_offer_loses_nobody_is_approached() -> None:
    dear = Money(kept_value=1, offer_cost=1, acceptance=0.1, contact_cost=0.1)
    assert choose_threshold(Threshold(maximise="profit"), dear, LABEL, SCORE) == NOBODY
    assert np.isnan(dear.break_even)


@pytest.mark.parametrize("goal", ["f1", "balanced_accuracy", "profit"])
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), min_size=1, max_size=20))
def test_no_other_threshold_is_better(goal: str, drawn: list[tuple[int, int]]) -> None:
    label = np.array([0, 1, *(label for label, _ in drawn)], dtype=np.int32)
    score = np.array([2, 7, *(score for _, score in drawn)]) / 10

    def value(threshold: float) -> float:
        earned = (MONEY.earned_of_lost, MONEY.earned_of_staying)
        rows = Observed("binary", label, score, np.arange(len(label)), threshold, earned=earned)
        return metric_value(goal, rows)  # type: ignore[arg-type]

    found = value(choose_threshold(Threshold(maximise=goal), MONEY, label, score))  # type: ignore[arg-type]
    assert found >= max(value(threshold / 10) for threshold in range(1, 10)) - 1e-12
