"""The changes of running experiments: one row each, with who, when, why, from and to."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from core.errors import PantheraError
from core.experiment.phases import enter_phase, phase_terms
from core.experiment.running import changes
from core.experiment.running.changes import Author
from core.experiment.running.terms import ExperimentError, RunningArm, RunningTerms
from core.postgres.database import connect

_WHO = Author("somebody", "a test")
_TERMS = RunningTerms((RunningArm("control", "r1"), RunningArm("new", "r2")), "trial:1")


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def _planned(url: str, name: str = "trial", terms: RunningTerms = _TERMS) -> None:
    with connect(url) as connection:
        changes.plan_experiment(connection, "churn", name, terms, _WHO)


def test_an_experiment_goes_through_its_life_and_each_change_is_recorded(url: str) -> None:
    _planned(url)
    with connect(url) as connection:
        first = changes.start(connection, "churn", "trial", 100, _WHO)
        second = changes.ramp(connection, "churn", "trial", _WHO, coverage=500)
        other_arms = (RunningArm("control", "r1"), RunningArm("new", "r2", 3))
        third = changes.ramp(connection, "churn", "trial", _WHO, arms=other_arms)
        changes.stop(connection, "churn", "trial", _WHO)
        history = changes.changes(connection, "trial")
        assert not changes.running(connection, "churn")
    # A coverage continues the phase; other weights begin one, with another salt.
    assert first.phase_id == second.phase_id < third.phase_id
    assert (second.terms.salt, third.terms.salt, third.terms.coverage) == ("trial:1", "trial:2", 500)
    assert [change.action for change in history] == ["plan", "start", "ramp", "ramp", "stop"]
    assert {(change.actor, change.reason) for change in history} == {("somebody", "a test")}
    assert [change.before for change in history[1:]] == [change.after for change in history[:-1]]


def test_a_plans_experiment_and_one_that_is_planned_here_never_have_the_same_name(url: str) -> None:
    with connect(url) as connection:
        connection.execute(
            "INSERT INTO panthera.release VALUES ('r1', 1, 'churn', 'kind', 'digest', 'service', 'd', 'c', '1', '{}')"
        )
        enter_phase(connection, phase_terms("of_the_plan", "s", {"champion": 1}, "r1", None))
        with pytest.raises(ExperimentError, match=r"'of_the_plan' is the serve.experiment of a plan"):
            changes.plan_experiment(connection, "churn", "of_the_plan", _TERMS, _WHO)
        changes.plan_experiment(connection, "churn", "trial", _TERMS, _WHO)
        with pytest.raises(PantheraError, match="`panthera experiment plan` has named"):
            enter_phase(connection, phase_terms("trial", "s", {"champion": 1}, "r1", None))


def test_what_cannot_follow_a_state_is_refused(url: str) -> None:
    _planned(url)
    with connect(url) as connection:
        with pytest.raises(ExperimentError, match="is planned; expected a running one"):
            changes.ramp(connection, "churn", "trial", _WHO, coverage=10)
        changes.start(connection, "churn", "trial", 500, _WHO)
        with pytest.raises(ExperimentError, match="coverage only rises"):
            changes.ramp(connection, "churn", "trial", _WHO, coverage=100)
        with pytest.raises(ExperimentError, match="is running and keeps its terms"):
            changes.plan_experiment(connection, "churn", "trial", _TERMS, _WHO)
        changes.stop(connection, "churn", "trial", _WHO)
        with pytest.raises(ExperimentError, match="is stopped"):
            changes.start(connection, "churn", "trial", 500, _WHO)
        with pytest.raises(ExperimentError, match="has no experiment 'other'"):
            changes.stop(connection, "churn", "other", _WHO)


def test_a_name_belongs_to_one_model_and_to_no_experiment_of_a_plan(url: str) -> None:
    _planned(url)
    with connect(url) as connection:
        with pytest.raises(ExperimentError, match="belongs to the model 'churn'"):
            changes.plan_experiment(connection, "another", "trial", _TERMS, _WHO)
        with pytest.raises(ExperimentError, match="'another' has no experiment 'trial'"):
            changes.stop(connection, "another", "trial", _WHO)


def test_experiments_of_a_layer_get_disjoint_parts_and_no_more_than_there_is(url: str) -> None:
    for name, size in (("one", 6_000), ("two", 4_000), ("three", 1)):
        _planned(url, name, replace(_TERMS, layer_to=size))
    _planned(url, "elsewhere", replace(_TERMS, layer="other"))
    with connect(url) as connection:
        one = changes.start(connection, "churn", "one", 10_000, _WHO)
        two = changes.start(connection, "churn", "two", 10_000, _WHO)
        assert (one.terms.layer_from, one.terms.layer_to) == (0, 6_000)
        assert (two.terms.layer_from, two.terms.layer_to) == (6_000, 10_000)
        with pytest.raises(ExperimentError, match="no free part"):
            changes.start(connection, "churn", "three", 10_000, _WHO)
        changes.start(connection, "churn", "elsewhere", 10_000, _WHO)
        changes.stop(connection, "churn", "one", _WHO)
        assert changes.start(connection, "churn", "three", 10_000, _WHO).terms.layer_to == 1


@pytest.mark.parametrize("action", ["start", "ramp", "stop"])
def test_a_change_that_is_cut_off_leaves_the_state_before_it_and_can_be_repeated(url: str, action: str) -> None:
    _planned(url)

    def change(connection: psycopg.Connection) -> None:
        if action == "start":
            changes.start(connection, "churn", "trial", 100, _WHO)
        elif action == "ramp":
            changes.ramp(connection, "churn", "trial", _WHO, coverage=500)
        else:
            changes.stop(connection, "churn", "trial", _WHO)

    with connect(url) as connection:
        if action != "start":
            changes.start(connection, "churn", "trial", 100, _WHO)
        before = changes.find_state(connection, "churn", "trial")
    killed = psycopg.connect(url)
    change(killed)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [killed.info.backend_pid])
    killed.close()
    with connect(url) as connection:
        assert changes.find_state(connection, "churn", "trial") == before
        change(connection)
        assert changes.find_state(connection, "churn", "trial").action == action


def test_the_changes_are_never_rewritten(url: str) -> None:
    _planned(url)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RaiseException, match="is a history"):
        connection.execute("UPDATE panthera.experiment_change SET reason = 'another'")
