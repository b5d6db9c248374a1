"""Money per arm: each unit's amount by hand, and the difference against the profit that the plan's amounts promise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest

from core.experiment.means import RatioSums
from core.experiment.metrics import MetricArms
from core.experiment.money import MoneyTerms, fetch_money, money_result
from core.plan.evaluate import Money
from tests.core.experiment.test_cohorts import HORIZON, LATER, START, days, observe
from tests.core.experiment.test_metrics import summed

if TYPE_CHECKING:
    import psycopg
    from numpy.typing import NDArray

AMOUNTS = (("kept_value", 100.0), ("offer_cost", 10.0), ("contact_cost", 1.0))
TERMS = MoneyTerms("EUR", "contact", AMOUNTS)


def decide(connection: psycopg.Connection, entity: str, decision: str, lost: int | None, value: float | None) -> None:
    """Expose a unit by a decision, and observe whether it was lost."""
    prediction_id = uuid4()
    connection.execute(
        "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, features,"
        " event_times, statuses) VALUES (%s, %s, %s, 'r1', 'trial', 'champion', 0.5, %s, %s, '{}', '{}')",
        [prediction_id, entity, START, decision, json.dumps({"v__worth": value})],
    )
    connection.execute(
        "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at) "
        "VALUES ('trial', %s, 'champion', 0, 'r1', %s, %s)",
        [entity, prediction_id, START],
    )
    if lost is not None:
        observe(connection, entity, lost, days(3))


def test_a_unit_has_what_was_lost_with_it_and_what_its_decision_cost(connection: psycopg.Connection) -> None:
    for number, (decision, lost, value) in enumerate(
        [("contact", 0, 7.0), ("contact", 1, 50.0), ("leave", 1, None), ("leave", 0, None), ("contact", None, 1.0)]
    ):
        decide(connection, str(number), decision, lost, value)
    (found,) = fetch_money(connection, "trial", TERMS, HORIZON, days(0), LATER)
    # -11 contacted and stayed, -101 contacted and lost, -100 lost, 0 stayed; the fifth has no outcome.
    assert (found.champion, found.unknown) == (RatioSums(4, -212, 4, 121 + 10_201 + 10_000, 4, -212), 0)
    by_row = MoneyTerms("EUR", "contact", (("kept_value", "v__worth"), *AMOUNTS[1:]))
    (found,) = fetch_money(connection, "trial", by_row, HORIZON, days(0), LATER)
    assert (found.champion, found.unknown) == (RatioSums(2, -62, 2, 11**2 + 51**2, 2, -62), 2)


def amounts(
    rng: np.random.Generator, acceptance: float, *, contacted: bool, units: int = 40_000
) -> NDArray[np.float64]:
    would_leave = rng.random(units) < 0.3
    lost = would_leave & ~(contacted & (rng.random(units) < acceptance))
    return -100.0 * lost - (1 + 10.0 * ~lost) * contacted


def test_the_difference_is_the_profit_that_the_plans_amounts_promise() -> None:
    rng = np.random.default_rng(4)
    left, contacted = (summed(amounts(rng, 0.4, contacted=contacted)) for contacted in (False, True))
    found = money_result(TERMS, [MetricArms(1, left, contacted)], {1}, 0.95)
    section = Money(kept_value=100.0, offer_cost=10.0, contact_cost=1.0, acceptance=0.4)
    promised = 0.3 * section.earned_of_lost + 0.7 * section.earned_of_staying
    assert found.difference == pytest.approx(promised, abs=4 * (found.ci_upper - found.difference) / 1.96)
    assert found.sequence_lower < found.ci_lower < promised < found.ci_upper < found.sequence_upper
    few = money_result(TERMS, [MetricArms(1, RatioSums(3, 1, 3, 1, 3, 1), RatioSums())], {1}, 0.95).to_dict()
    assert (few["units"], few["difference"]) == (3, None)
