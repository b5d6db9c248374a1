"""A shadow against the champion on the same requests."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.plan.evaluate import Money
from models.measures.intervals import Resampling
from monitoring.paired.comparison import Contestant, compare_pairs
from monitoring.paired.pairs import Pairs, PairTerms, fetch_pairs
from monitoring.performance import Measuring
from monitoring.served_outcomes import OutcomeWindow
from tests.monitoring.log_rows import NOON, log_prediction

if TYPE_CHECKING:
    import psycopg
    from numpy.typing import NDArray

    from monitoring.paired.comparison import ShadowComparison

MONEY = Money(currency="EUR", kept_value=100, offer_cost=10, contact_cost=1, acceptance=0.5)
DAY = timedelta(days=1)


def pairs(champion: NDArray[np.float64], shadow: NDArray[np.float64], outcome: NDArray[np.float64]) -> Pairs:
    return Pairs(champion, shadow, np.ones(len(champion), dtype=np.bool_), outcome, {})


def compared(found: Pairs) -> ShadowComparison:
    measuring = Measuring("binary", ("roc_auc", "log_loss"), 0.5, MONEY, resampling=Resampling(200, 0.95, 1))
    return compare_pairs(found, Contestant("r1", 0.5), Contestant("r2", 0.6), measuring, "roc_auc")


def test_decisions_that_change_are_counted_in_both_directions_with_their_money() -> None:
    """Acting on who is lost earns 0.5 (100 - 10) - 1 = 44, on who stays -11."""
    champion = np.array([0.2, 0.2, 0.7, 0.5, 0.9])
    shadow = np.array([0.8, 0.6, 0.1, 0.5, 0.9])
    found = compared(pairs(champion, shadow, np.array([1.0, np.nan, 0.0, 1.0, 1.0])))
    assert (found.pairs, found.to_act.decisions, found.to_leave.decisions) == (5, 2, 2)
    assert found.to_act.expected_profit == pytest.approx((0.5 * 44 - 0.5 * 11) + (0.4 * 44 - 0.6 * 11))
    assert found.to_leave.expected_profit == pytest.approx(-(0.4 * 44 - 0.6 * 11) - (0.5 * 44 - 0.5 * 11))
    assert (found.to_act.known, found.to_act.profit) == (1, 44)
    assert (found.to_leave.known, found.to_leave.profit) == (2, 11 - 44)
    assert found.mean_difference == pytest.approx((0.6 + 0.4 - 0.6) / 5)
    assert "too few for a verdict" in found.verdict


def test_a_better_shadow_is_called_better_and_the_same_scores_no_different() -> None:
    rng = np.random.default_rng(2)
    outcome = (rng.random(300) < 0.5).astype(np.float64)
    good, poor = (1 / (1 + np.exp(-(2 * outcome - 1) * strength - rng.normal(0, 1, 300))) for strength in (2, 0.3))
    better, worse, same = (
        compared(pairs(*scores, outcome)) for scores in ((poor, good), (good, poor), (good, good.copy()))
    )
    assert "it is better in roc_auc" in better.verdict
    assert "it is worse in roc_auc" in worse.verdict
    assert "no difference in roc_auc is shown" in same.verdict
    assert better.areas.difference == pytest.approx(better.metrics["roc_auc"].difference, rel=1e-9)
    assert better.areas.p_value < 1e-6
    assert better.mcnemar_p < 0.001
    assert better.metrics["log_loss"].difference < 0
    assert better.to_dict()["verdict"] == better.verdict
    assert len(list(better.rows())) == 9


def test_pairs_are_the_predictions_that_both_have_scored_with_outcomes_that_are_mature(
    connection: psycopg.Connection,
) -> None:
    for number, (release, entity) in enumerate([("r1", "a"), ("r1", "a"), ("r2", "b"), ("r2", "c"), ("r1", "d")]):
        as_of = NOON + number * DAY
        log_prediction(
            connection, number, {"v__x": number}, score=0.1 * number, release_id=release, as_of=as_of, entity=entity
        )
    connection.execute(
        "INSERT INTO panthera.shadow_score (release_id, prediction_id, score, fault) "
        "SELECT CASE release_id WHEN 'r1' THEN 'r2' ELSE 'r1' END, prediction_id, "
        "CASE entity WHEN 'c' THEN NULL ELSE 0.9 END, CASE entity WHEN 'c' THEN 'unlucky' END FROM panthera.prediction"
    )
    for entity in "abd":
        connection.execute(
            "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES (%s, %s, %s, 1)",
            [entity, entity, NOON + 5 * DAY],
        )
    window = OutcomeWindow(10 * DAY, timedelta(0))
    terms = PairTerms("model", "r1", "r2", NOON - 10_000 * DAY, NOON + 12 * DAY)
    found = fetch_pairs(connection, terms, window, ["v__x"])
    assert found.champion.tolist() == pytest.approx([0.0, 0.1, 0.9, 0.4])
    assert found.shadow.tolist() == pytest.approx([0.9, 0.9, 0.2, 0.9])
    assert found.first.tolist() == [True, False, True, True]
    assert [math.isnan(each) for each in found.outcome] == [False, False, False, True]
    assert found.amounts["v__x"].tolist() == [0, 1, 2, 4]


def test_without_a_pair_the_verdict_says_so() -> None:
    assert "Nothing to compare" in compared(pairs(np.empty(0), np.empty(0), np.empty(0))).verdict
