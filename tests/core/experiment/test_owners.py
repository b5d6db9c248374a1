"""Two plans in one database: neither experiments nor outcomes of theirs mix."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg.types.json import Jsonb

from core.experiment.fetched_arms import fetch_arms
from core.experiment.metrics import MetricTerms, fetch_metric
from core.experiment.owners import stored_name, stored_salt
from core.experiment.phases import enter_phase, phase_terms
from monitoring.served_outcomes import OutcomeWindow, fetch_served_outcomes
from tests.core.experiment.test_cohorts import HORIZON, LATER, START, days, expose

if TYPE_CHECKING:
    import psycopg


def _observe(connection: psycopg.Connection, model: str, value: float, name: str = "") -> None:
    connection.execute(
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value, name, model) VALUES (%s, '1', %s, %s, %s, %s)",
        [f"{name}{value}", START + days(int(value)), value, name, model],
    )


@pytest.fixture
def two_plans(connection: psycopg.Connection) -> psycopg.Connection:
    """The entity 1 in an experiment of the model `returns`, and outcomes of it and of another plan's equal entity before it."""
    connection.execute(
        "INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest, feature_service, "
        "data_revision, code_revision, registry_version, metrics) "
        "VALUES ('theirs', 1, 'returns', 'c', 'd', 'all', 'd', 'c', '1', %s)",
        [Jsonb({})],
    )
    enter_phase(connection, phase_terms("trial", "s", {"champion": 1}, "theirs", None))
    expose(connection, "1", "champion")
    for name in ("", "calls"):
        _observe(connection, "churn", 2, name)
        _observe(connection, "returns", 3, name)
    return connection


def test_an_experiment_counts_the_outcomes_of_its_own_model(two_plans: psycopg.Connection) -> None:
    assert fetch_arms(two_plans, "trial", HORIZON, LATER).champion.outcome_sum == 3
    (found,) = fetch_metric(two_plans, "trial", MetricTerms("calls", "lower", "calls", within=days(30)), LATER)
    assert found.champion.y == 3


def test_the_performance_of_a_release_counts_the_outcomes_of_its_own_model(two_plans: psycopg.Connection) -> None:
    two_plans.execute(
        "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
        "features, event_times, statuses) "
        "VALUES (gen_random_uuid(), '1', %s, 'theirs', 'trial', 'champion', 0.5, '', '{}', '{}', '{}')",
        [START],
    )
    (cohort,) = fetch_served_outcomes(two_plans, "theirs", "week", OutcomeWindow(HORIZON, timedelta()), LATER)
    assert cohort.outcome.tolist() == [3]


def test_outcomes_from_before_they_had_a_model_count_for_each(two_plans: psycopg.Connection) -> None:
    _observe(two_plans, "", 1)
    assert fetch_arms(two_plans, "trial", HORIZON, LATER).champion.outcome_sum == 1


def test_the_experiment_of_another_model_has_a_name_of_its_own(two_plans: psycopg.Connection) -> None:
    assert stored_name(two_plans, "trial", "returns") == "trial"
    assert stored_name(two_plans, "another", "churn") == "another"
    assert stored_name(two_plans, "trial", "churn") == "churn/trial"


def test_a_challenger_that_ended_before_anybody_was_served_leaves_the_plans_name(
    two_plans: psycopg.Connection,
) -> None:
    _appoint(two_plans, "theirs")
    assert stored_name(two_plans, "trial", "returns") == "trial@theirs"
    _appoint(two_plans, None)
    assert stored_name(two_plans, "trial", "returns") == "trial"


def _appoint(connection: psycopg.Connection, challenger: str | None) -> None:
    connection.execute(
        "INSERT INTO panthera.release_role (model, role, release_id, reason, cause, actor) "
        "VALUES ('returns', 'challenger', %s, 'test', 'promote', 'somebody')",
        [challenger],
    )


def test_a_challenger_after_the_first_exposures_has_an_experiment_of_its_own_for_good(
    two_plans: psycopg.Connection,
) -> None:
    for release in ("first", "second"):
        two_plans.execute(
            "INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest, feature_service, "
            "data_revision, code_revision, registry_version, metrics) "
            "VALUES (%s, 1, 'returns', 'c', %s, 'all', 'd', 'c', '1', %s)",
            [release, release, Jsonb({})],
        )
    weights = {"champion": 1, "challenger": 1}
    _appoint(two_plans, "first")
    assert stored_name(two_plans, "trial", "returns") == "trial@first"
    enter_phase(two_plans, phase_terms("trial@first", "s@first", weights, "theirs", "first"))
    _appoint(two_plans, None)
    assert stored_name(two_plans, "trial", "returns") == "trial@first"
    _appoint(two_plans, "second")
    assert stored_name(two_plans, "trial", "returns") == "trial@second"
    _appoint(two_plans, "first")
    assert stored_name(two_plans, "trial", "returns") == "trial@first"
    assert stored_salt("s", "trial@first") == "s@first"


def test_a_challenger_from_the_beginning_has_the_plans_experiment(two_plans: psycopg.Connection) -> None:
    two_plans.execute("DELETE FROM panthera.exposure")
    _appoint(two_plans, "theirs")
    assert stored_name(two_plans, "trial", "returns") == "trial"
    enter_phase(two_plans, phase_terms("trial", "s", {"champion": 1, "challenger": 1}, "theirs", "theirs"))
    expose(two_plans, "1", "champion")
    assert stored_name(two_plans, "trial", "returns") == "trial"
