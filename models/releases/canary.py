"""The steps of a canary: raise its share while it keeps its limits, promote it after the last step, roll it back otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from core.experiment.assignment import BUCKETS
from core.experiment.running import changes
from core.experiment.running.measures import measures_since, roll_back_if_broken
from core.experiment.running.terms import ExperimentError
from core.postgres.database import connect, ensure_database
from core.roles import CHAMPION
from models.releases import ledger, promotion
from models.releases.experiments import author_of
from models.releases.verbs import change_roles, known_release

if TYPE_CHECKING:
    import psycopg

    from core.experiment.running.changes import Author, ExperimentState
    from core.experiment.running.terms import RunningArm
    from core.plan.plan import Plan
    from core.settings import Settings

#: A step ends only after the new release has answered so many calls since its begin.
FEWEST_SCORED = 50
_REASON = "the canary's steps"


@dataclass(frozen=True)
class CanaryStep:
    """What became of a canary at one look: it waits, has the next share, is promoted, or is rolled back."""

    experiment: str
    result: Literal["wait", "step", "promote", "rollback", "stopped"]
    share: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the step as JSON values."""
        return vars(self)

    def __str__(self) -> str:
        """Return the step as a line of text."""
        return f"{self.experiment}: {self.result} at {self.share:.2%} of the units: {self.reason}"


def advance(settings: Settings, plan: Plan, name: str) -> CanaryStep:
    """Look at a canary once, and change it if its limits or the time of its step say so.

    Raises
    ------
    PantheraError
        If there is no such canary, or another release became champion meanwhile.

    """
    author, model = author_of(settings, _REASON), plan.register_.model
    with connect(ensure_database(settings)) as connection:
        state = changes.find_state(connection, model, name)
        if state.terms.canary is None:
            raise ExperimentError(f"the experiment {name!r} is no canary; plan one with --canary")
        if state.status != "running":
            return _step(state, "stopped", f"{state.action} by {state.actor}: {state.reason}")
        if broken := roll_back_if_broken(connection, state, author.actor):
            return _step(state, "rollback", broken)
        if waits := _waits(connection, state):
            return _step(state, "wait", waits)
        if following := _following(state):
            changes.ramp(connection, model, name, author, coverage=2 * following)
            return _step(changes.find_state(connection, model, name), "step", "the limits are kept")
    return _promoted(settings, plan, state, author)


def _step(state: ExperimentState, result: Literal["wait", "step", "rollback", "stopped"], reason: str) -> CanaryStep:
    return CanaryStep(state.experiment, result, state.terms.coverage / (2 * BUCKETS), reason)


def _following(state: ExperimentState) -> int | None:
    """Return the first step above the present share; None after the last."""
    assert state.terms.canary is not None, "checked by the caller"
    return next((step for step in state.terms.canary.steps if 2 * step > state.terms.coverage), None)


def _waits(connection: psycopg.Connection, state: ExperimentState) -> str | None:
    """Return why the step goes on; None if it has lasted long enough and enough was measured."""
    assert state.terms.canary is not None, "checked by the caller"
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", [state.changed_at]).fetchone()
    assert row is not None, "the statement has one row"
    left = state.terms.canary.hold_seconds - row[0]
    if left > 0:
        return f"{left:.0f} s are left"
    release = _new(state).release
    scored = measures_since(connection, [release], state.changed_at)[release].scored
    return f"{scored} of {FEWEST_SCORED} calls are measured" if scored < FEWEST_SCORED else None


def _new(state: ExperimentState) -> RunningArm:
    return state.terms.arms[1]


def _promoted(settings: Settings, plan: Plan, state: ExperimentState, author: Author) -> CanaryStep:
    """Promote the new release and stop the canary, in one transaction."""

    def change(connection: psycopg.Connection) -> None:
        release, control = known_release(connection, plan, _new(state).release), state.terms.control.release
        champion = ledger.roles(connection, release.model)[CHAMPION]
        if champion != control:
            raise ExperimentError(
                f"the champion is {champion}, the canary {state.experiment!r} was compared with {control}; stop it, and "
                "plan one against the present champion"
            )
        promotion.promote(connection, release, CHAMPION, ledger.Act("promote", author.actor, author.reason))
        changes.stop(connection, release.model, state.experiment, author, "promote", state.change_id)

    roles = change_roles(settings, plan, change)
    problem = f"; MLflow's aliases are not updated: {roles.mlflow_problem}" if roles.mlflow_problem else ""
    return CanaryStep(state.experiment, "promote", 1.0, f"{_new(state).release} is the champion{problem}")
