"""The cohorts of a plan's experiment, as the command line shows them."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from pydantic import ValidationError
from rich.console import Console

from core.experiment.design import Design, compare_arms
from core.experiment.power import drift
from core.plan.plan import Monitor, Serve
from monitoring.cohorts import cohorts_table, summary
from tests.monitoring.log_rows import NOON

if TYPE_CHECKING:
    import psycopg

    from core.experiment.decision import ExperimentDecision

SERVE = Serve.model_validate(
    {
        "missing": "answer_and_flag",
        "stale": "answer_and_flag",
        "experiment": "trial",
        "salt": "salt",
        "arms": {"champion": 50, "challenger": 50},
        "decisions": {"above": "act", "below": "leave"},
    }
)
MONITOR = Monitor.model_validate({"psi_alarm": 0.1, "parity_sample": 1.0})


DECIDING = Monitor.model_validate(
    {
        "psi_alarm": 0.1,
        "parity_sample": 1.0,
        "decide": {"better": "higher"},
        "experiment": {"minimum_effect": 0.15, "looks": 2},
    }
)
MONTH = timedelta(days=30)


def _expose(connection: psycopg.Connection, ones: dict[str, int], day: int = 0) -> None:
    """Expose a hundred units to each arm on a day, of which so many have the outcome 1 a day later."""
    for arm, number in ((arm, number) for arm in ones for number in range(100)):
        entity, exposed_at = f"{arm}{day}-{number}", NOON + timedelta(days=day)
        connection.execute(
            "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at) "
            "VALUES ('trial', %s, %s, 0, 'r1', %s, %s)",
            [entity, arm, uuid4(), exposed_at],
        )
        connection.execute(
            "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES (%s, %s, %s, %s)",
            [entity, entity, exposed_at + timedelta(days=1), int(number < ones[arm])],
        )


def _decided(connection: psycopg.Connection, after: timedelta, horizon: timedelta | None = MONTH) -> ExperimentDecision:
    comparison = compare_arms(connection, Design.of_sections(SERVE, DECIDING, horizon), NOON + after)
    assert comparison.decision is not None
    return comparison.decision


def test_the_looks_are_the_same_whenever_one_reads_them(connection: psycopg.Connection) -> None:
    _expose(connection, {"champion": 40, "challenger": 50})
    _expose(connection, {"champion": 40, "challenger": 80}, day=2)
    before, first, between, second = (_decided(connection, MONTH + timedelta(days=days)) for days in (0, 0.5, 2, 2.5))
    # The units mature at noon and count from the end of that day on. Of the information 353, 1 / (.49 / 99) is there.
    assert (before.decision, before.information, before.looks) == ("go on", 0.0, ())
    assert "look 1 of 2 comes with 50% of the planned information" in before.reason
    assert (first.decision, len(first.looks)) == ("go on", 1)
    assert between == first
    assert first.information == pytest.approx(99 / 0.49 / (drift(0.05, 0.8, 2) / 0.15) ** 2)
    assert second.decision == "ship the challenger"
    assert second.looks[:1] == first.looks
    assert _decided(connection, MONTH + timedelta(days=90)) == second


def test_without_a_label_window_a_unit_counts_from_the_end_of_the_day_of_its_outcome(
    connection: psycopg.Connection,
) -> None:
    _expose(connection, {"champion": 20, "challenger": 80})
    assert _decided(connection, timedelta(days=1), None).looks == ()
    decided = _decided(connection, timedelta(days=1.5), None)
    assert decided.decision == "ship the challenger"
    assert decided.looks[0].as_of == NOON + timedelta(days=1.5)


def test_a_plan_with_terms_shows_its_decision_beside_all_else(connection: psycopg.Connection) -> None:
    _expose(connection, {"champion": 80, "challenger": 20})
    as_of = NOON + MONTH + timedelta(days=1)
    with_terms, without = (
        compare_arms(connection, Design.of_sections(SERVE, each, MONTH), as_of) for each in (DECIDING, MONITOR)
    )
    added = with_terms.to_dict()
    decision = added.pop("decision")
    assert added == without.to_dict()
    assert json.loads(json.dumps(decision, allow_nan=False))["decision"] == "keep the champion"
    assert summary(with_terms)[:-1] == summary(without)
    assert summary(with_terms)[-1].startswith(
        "decision: keep the champion: look 1 of 2 (before 1998-05-02) needs z 2.1"
    )


def test_terms_without_a_direction_are_refused() -> None:
    terms = {"psi_alarm": 0.1, "parity_sample": 1.0, "experiment": {"minimum_effect": 0.2}}
    with pytest.raises(ValidationError, match=r"set decide\.better to higher or lower"):
        Monitor.model_validate(terms)


def test_a_hundred_units_of_each_arm_are_compared_and_shown(connection: psycopg.Connection) -> None:
    _expose(connection, {"champion": 40, "challenger": 60})
    comparison = compare_arms(connection, Design.of_sections(SERVE, MONITOR, MONTH), NOON + MONTH)
    assert round(comparison.difference, 12) == 0.2
    assert comparison.verdict == "challenger higher"
    shown = Console(file=StringIO(), width=120, record=True)
    shown.print(cohorts_table(comparison))
    text = shown.export_text()
    assert "challenger - champion: +0.2000, 95% interval" in text
    assert "at repeated looks: 95% confidence sequence [" in text
    assert comparison.sequence_lower < comparison.ci_lower < comparison.ci_upper < comparison.sequence_upper
    assert "verdict: challenger higher" in text
