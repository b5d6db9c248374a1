"""The cohorts of a plan's experiment, as the command line shows them."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console

from core.plan.plan import Monitor, Serve
from monitoring.cohorts import cohorts_table, compare_cohorts
from tests.monitoring.log_rows import NOON

if TYPE_CHECKING:
    import psycopg

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


def test_a_hundred_units_of_each_arm_are_compared_and_shown(connection: psycopg.Connection) -> None:
    for arm, ones in (("champion", 40), ("challenger", 60)):
        for number in range(100):
            entity = f"{arm}{number}"
            connection.execute(
                "INSERT INTO panthera.exposure "
                "(experiment, entity, arm, bucket, release_id, prediction_id, exposed_at) "
                "VALUES ('trial', %s, %s, 0, 'r1', %s, %s)",
                [entity, arm, uuid4(), NOON],
            )
            connection.execute(
                "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES (%s, %s, %s, %s)",
                [entity, entity, NOON + timedelta(days=1), int(number < ones)],
            )
    comparison = compare_cohorts(connection, SERVE, MONITOR, timedelta(days=30), NOON + timedelta(days=30))
    assert round(comparison.difference, 12) == 0.2
    assert comparison.verdict == "challenger higher"
    shown = Console(file=StringIO(), width=120, record=True)
    shown.print(cohorts_table(comparison))
    text = shown.export_text()
    assert "challenger - champion: +0.2000, 95% interval" in text
    assert "at repeated looks: 95% confidence sequence [" in text
    assert comparison.sequence_lower < comparison.ci_lower < comparison.ci_upper < comparison.sequence_upper
    assert "verdict: challenger higher" in text
