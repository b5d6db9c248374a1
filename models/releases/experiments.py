"""The verbs `panthera experiment ...`: plan, start, ramp, stop and show experiments that run in the service, and canaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.experiment.assignment import BUCKETS
from core.experiment.running import changes
from core.experiment.running.changes import Author
from core.experiment.running.exposed import ArmExposures, exposures, sample_ratio_p_value
from core.experiment.running.terms import ExperimentError, RunningArm
from core.postgres.database import connect, ensure_database
from core.terminal import terminal_table
from models.bundles.revisions import actor
from models.releases import ledger
from models.releases.verbs import check_ready, known_release, plain_reason, refuse_other_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg
    from rich.table import Table

    from core.experiment.running.changes import ExperimentChange, ExperimentState
    from core.experiment.running.terms import RunningTerms
    from core.plan.plan import Plan
    from core.settings import Settings


@dataclass(frozen=True)
class NamedArm:
    """An arm as it is named on the command line: the release by its id or its role."""

    name: str
    release: str
    weight: int = 1


@dataclass(frozen=True)
class ExperimentReport:
    """An experiment with its changes, and the exposures of its arms by phase."""

    state: ExperimentState
    history: tuple[ExperimentChange, ...]
    exposures: tuple[ArmExposures, ...]
    sample_ratio_p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            **self.state.to_dict(),
            "exposures": [vars(row) for row in self.exposures],
            "sample_ratio_p_value": self.sample_ratio_p_value,
            "history": [change.to_dict() for change in self.history],
        }

    def table(self) -> Table:
        """Return the arms and the changes as a table for a terminal."""
        state, terms = self.state, self.state.terms
        ratio = "" if self.sample_ratio_p_value is None else f"; sample ratio p = {self.sample_ratio_p_value:.3g}"
        table = terminal_table(
            "what",
            "value",
            title=f"Experiment {state.experiment}: {state.status}, phase {terms.phase}",
            caption=f"a running service follows within 5 s{ratio}",
        )
        counts = {row.arm: row.units for row in self.exposures if row.phase_id == state.phase_id}
        for arm in terms.arms:
            table.add_row(
                f"arm {arm.name}",
                f"{arm.release}, weight {arm.weight}, {counts.get(arm.name, 0)} exposed in this phase",
            )
        table.add_row("coverage", _percent(terms.coverage))
        table.add_row("layer", f"{terms.layer}: {_percent(terms.layer_from)} to {_percent(terms.layer_to)}")
        table.add_row("holdout", _percent(terms.holdout))
        if terms.target:
            table.add_row("target", str(terms.target))
        if terms.canary:
            steps = ", ".join(_percent(step) for step in terms.canary.steps)
            table.add_row("canary", f"{steps}, then champion; {terms.canary.hold_seconds:g} s each")
        for change in self.history:
            table.add_row(f"{change.changed_at:%Y-%m-%d %H:%M:%S} {change.action}", f"{change.actor}: {change.reason}")
        return table


@dataclass(frozen=True)
class ExperimentList:
    """The experiments of a model."""

    model: str
    states: tuple[ExperimentState, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the list as JSON values."""
        return {"model": self.model, "experiments": [state.to_dict() for state in self.states]}

    def table(self) -> Table:
        """Return the list as a table for a terminal."""
        table = terminal_table(
            "experiment", "status", "phase", "coverage", "layer", "arms", title=f"Experiments of {self.model}"
        )
        for state in self.states:
            terms = state.terms
            arms = ", ".join(f"{arm.name} ({arm.release})" for arm in terms.arms)
            table.add_row(state.experiment, state.status, str(terms.phase), _percent(terms.coverage), terms.layer, arms)
        return table


def _percent(parts: int) -> str:
    return f"{parts / 100:g} %"


def plan_experiment(
    settings: Settings, plan: Plan, name: str, arms: Sequence[NamedArm], terms: RunningTerms, why: str
) -> ExperimentReport:
    """Write a planned experiment with `terms`, and the arms that `arms` name.

    Raises
    ------
    PantheraError
        If a release does not exist or is not ready to serve, the terms are not usable, or the name is taken.

    """
    author = author_of(settings, why)
    if name == plan.serve.experiment:
        raise ExperimentError(f"{name!r} is the serve.experiment of this plan; choose another name")
    with connect(ensure_database(settings)) as connection:
        chosen = _arms(connection, settings, plan, arms)
        _refuse_unread_target(settings, connection, terms, chosen)
        changes.plan_experiment(connection, plan.register_.model, name, with_arms(terms, chosen), author)
        return report(connection, plan.register_.model, name)


def with_arms(terms: RunningTerms, arms: Sequence[RunningArm]) -> RunningTerms:
    """Return the terms with these arms.

    Raises
    ------
    ExperimentError
        If there are fewer than two, a name occurs twice, or all weigh nothing.

    """
    names = [arm.name for arm in arms]
    if len(names) < 2 or len({*names}) < len(names):  # noqa: PLR2004
        raise ExperimentError(f"found the arms {', '.join(names) or 'none'}; expected two or more with different names")
    if any(arm.weight < 1 for arm in arms):
        raise ExperimentError("found an arm with the weight 0; expected weights of at least 1, or no such arm")
    if terms.canary and (len(names) > 2 or arms[0].weight != arms[1].weight):  # noqa: PLR2004
        raise ExperimentError("a canary has two arms of equal weight: the control, and the new release")
    return replace(terms, arms=tuple(arms))


def start(settings: Settings, plan: Plan, name: str, coverage: int | None, why: str) -> ExperimentReport:
    """Start a planned experiment; a canary begins with its first step, another one with all units by default.

    Raises
    ------
    PantheraError
        If it is not planned, a release is not ready, its layer is full, or a challenger of the plan's experiment answers.

    """
    author, model = author_of(settings, why), plan.register_.model
    with connect(ensure_database(settings)) as connection:
        state = changes.find_state(connection, model, name)
        _refuse_challenger(connection, plan)
        for release in state.terms.releases:
            check_ready(connection, settings, plan, known_release(connection, plan, release))
        canary = state.terms.canary
        if canary and coverage is not None:
            raise ExperimentError(f"{name!r} is a canary, which begins with its first step; leave --coverage out")
        first = 2 * canary.steps[0] if canary else BUCKETS
        changes.start(connection, model, name, first if coverage is None else coverage, author)
        return report(connection, model, name)


def _refuse_challenger(connection: psycopg.Connection, plan: Plan) -> None:
    held = ledger.roles(connection, plan.register_.model)
    if held["challenger"] and plan.serve.arms.get("challenger", 0):
        raise ExperimentError(
            f"release {held['challenger']} is the challenger in the plan's experiment {plan.serve.experiment!r}, whose units "
            f"this experiment would take; `panthera release retire {held['challenger']} --why ...` first"
        )


def ramp(
    settings: Settings, plan: Plan, name: str, coverage: int | None, arms: Sequence[NamedArm], why: str
) -> ExperimentReport:
    """Raise the coverage of a running experiment, or begin a phase with other arms.

    Raises
    ------
    PantheraError
        If it does not run, the coverage would fall, or a release is not ready.

    """
    author, model = author_of(settings, why), plan.register_.model
    with connect(ensure_database(settings)) as connection:
        chosen = None
        if arms:
            state = changes.find_state(connection, model, name)
            chosen = with_arms(state.terms, _arms(connection, settings, plan, arms)).arms
        changes.ramp(connection, model, name, author, coverage, chosen)
        return report(connection, model, name)


def stop(settings: Settings, plan: Plan, name: str, why: str) -> ExperimentReport:
    """Stop an experiment; its units are answered by the plan's experiment from then on.

    Raises
    ------
    PantheraError
        If there is no such experiment, or it is stopped already.

    """
    author, model = author_of(settings, why), plan.register_.model
    with connect(ensure_database(settings)) as connection:
        changes.stop(connection, model, name, author)
        return report(connection, model, name)


def show(settings: Settings, plan: Plan, name: str | None) -> ExperimentReport | ExperimentList:
    """Return the report on an experiment, or the list of all.

    Raises
    ------
    PantheraError
        If there is no such experiment.

    """
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        if name is None:
            return ExperimentList(model, tuple(changes.states(connection, model)))
        return report(connection, model, name)


def report(connection: psycopg.Connection, model: str, name: str) -> ExperimentReport:
    """Return the report on an experiment of `model`."""
    state = changes.find_state(connection, model, name)
    found = exposures(connection, name)
    return ExperimentReport(
        state, tuple(changes.changes(connection, name)), tuple(found), sample_ratio_p_value(state, found)
    )


def author_of(settings: Settings, why: str) -> Author:
    """Return who acts, with the reason `why`.

    Raises
    ------
    ReleaseError
        If the reason is empty, or has a control character.

    """
    return Author(actor(settings, Path.cwd()), plain_reason(why))


def _arms(connection: psycopg.Connection, settings: Settings, plan: Plan, arms: Iterable[NamedArm]) -> list[RunningArm]:
    """Return the arms with the ids of their releases, each of which is ready to serve."""
    found = []
    for arm in arms:
        release = known_release(connection, plan, arm.release)
        refuse_other_model(release, plan)
        check_ready(connection, settings, plan, release)
        found.append(RunningArm(arm.name, release.release_id, arm.weight))
    return found


def _refuse_unread_target(
    settings: Settings, connection: psycopg.Connection, terms: RunningTerms, arms: Sequence[RunningArm]
) -> None:
    """Refuse a target on a feature that no release of the experiment reads, since no unit could meet it."""
    from models.bundles.bundle import load_bundle
    from models.bundles.signing import read_trusted

    if terms.target is None:
        return
    releases = [ledger.find_release(connection, arm.release) for arm in arms]
    contracts = [
        load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings)).contract
        for release in releases
        if release
    ]
    columns = sorted({feature.column for contract in contracts for feature in contract.features})
    if terms.target.feature not in columns:
        raise ExperimentError(
            f"found the target feature {terms.target.feature!r}; expected one that a release of the arms reads: "
            f"{', '.join(columns[:20])}"
        )
