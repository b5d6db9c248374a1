"""One round of monitoring: measure, decide by the plan's rules, carry out if asked to, record, alert."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import PantheraError
from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.roles import CHALLENGER, CHAMPION
from core.terminal import terminal_table
from models.bundles.bundle import load_bundle
from models.bundles.explained import feature_weights
from models.bundles.revisions import actor
from models.bundles.signing import read_trusted
from models.releases import ledger
from models.releases.promotion import champion_chain
from models.releases.verbs import promote_verb, retire_verb, rollback_verb
from monitoring.logged_predictions import fetch_releases
from monitoring.performance_verb import performance_verb
from monitoring.rounds.alerts import Channels, send_alerts
from monitoring.rounds.record import NewRound, past_rounds, record
from monitoring.rounds.rules import Decision, Measured, decide
from monitoring.verbs import Window, cohorts_verb, drift_verb, in_role, parity_verb

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import LedgerRelease
    from monitoring.drift import DriftResult
    from monitoring.performance import PerformanceResult
    from monitoring.rounds.rules import Decided

Result = TypeVar("Result")


@dataclass(frozen=True)
class Options:
    """How a round is run.

    Attributes
    ----------
    data : the folder of the stages' tables.
    act : carry out a promotion, a retirement, a rollback or a retraining instead of proposing it.
    retrain : retrains for the reason given, and returns why that led to no challenger, or None if it did; with `act` only.
    dry_run : record nothing, post no alert, change nothing.
    channels : where the round is told.

    """

    data: Path
    act: bool = False
    dry_run: bool = False
    retrain: Callable[[str], str | None] | None = None
    channels: Channels = field(default_factory=Channels)


@dataclass(frozen=True)
class Round:
    """A round and its outcome.

    Attributes
    ----------
    round_id : its id in the record; None for a dry run.
    acted : whether a role was changed, or a retraining was begun.
    act_problem : why the decision could not be carried out, or MLflow's aliases not updated; None if it could.
    alert_problem : why alerts could not be sent; None if they were, or none was due.
    findings : the results of the checks as JSON types.

    """

    round_id: int | None
    champion: str
    challenger: str | None
    window: Window
    decided: Decided
    acted: bool
    act_problem: str | None
    findings: dict[str, Any]
    alert_problem: str | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether the decision is another than hold."""
        return self.decided.decision is not Decision.HOLD

    @property
    def next_step(self) -> str | None:
        """What to do about the decision; None if there is nothing to do."""
        return None if self.acted else _NEXT_STEPS[self.decided.decision].format(target=self.decided.target)

    def to_dict(self) -> dict[str, object]:
        """Return the round as JSON types."""
        return {
            "round_id": self.round_id,
            "start": plain(self.window.start),
            "as_of": plain(self.window.end),
            "champion": self.champion,
            "challenger": self.challenger,
            "decision": str(self.decided.decision),
            "reasons": list(self.decided.reasons),
            "target": self.decided.target,
            "next": self.next_step or None,
            "acted": self.acted,
            "act_problem": self.act_problem,
            "alert_problem": self.alert_problem,
            "findings": self.findings,
        }

    def table(self) -> Table:
        """Return the decision, its reasons and what to do as a table for a terminal."""
        table = terminal_table(
            "", "", title=f"Round as of {self.window.end:%Y-%m-%d %H:%M} UTC: {self.decided.decision}"
        )
        table.show_header = False
        for reason in self.decided.reasons:
            table.add_row("because", reason)
        rows = {
            "target": self.decided.target if self.needs_attention else None,
            "done": _DONE.get(self.decided.decision) if self.acted else None,
            "next": self.next_step,
            "not done": self.act_problem,
            "alert": self.alert_problem,
        }
        for name, text in rows.items():
            if text:
                table.add_row(name, text)
        return table


_ROLE_CHANGED = "the role was changed; a running service follows within 2 s"
_DONE = {
    Decision.RETRAIN: "it was retrained; `panthera history` shows how it ended",
    Decision.RETIRE: _ROLE_CHANGED,
    Decision.PROMOTE: _ROLE_CHANGED,
    Decision.ROLL_BACK: _ROLE_CHANGED,
}
_NEXT_STEPS = {
    Decision.HOLD: "",
    Decision.RETRAIN: "`panthera retrain --why TEXT`, with newer data, or the same round with --act: the gate compares the "
    "new release with the champion",
    Decision.RETIRE: "`panthera release retire {target} --why TEXT`, or the same round with --act",
    Decision.PROMOTE: "`panthera promote {target} --why TEXT`, or the same round with --act",
    Decision.ROLL_BACK: "`panthera rollback --to {target} --why TEXT`, or the same round with --act",
    Decision.BLOCK: "mend the data first: train and promote nothing until a round does not block",
}


def run_round(settings: Settings, plan: Plan, window: Window, options: Options) -> Round:
    """Run one round over `window`, whose end is the instant of the round.

    Raises
    ------
    PantheraError
        If there is no champion, or the database does not answer. A check that cannot be made is a reason in the round.

    """
    assert window.end is not None, "a round has an instant"
    url, model = ensure_database(settings), plan.register_.model
    measured = measure(settings, plan, url, window, options.data)
    with connect(url) as connection:
        past = past_rounds(connection, model)
    decided = decide(measured, past, plan.monitor.decide, window.end)
    acts = options.act and not options.dry_run
    retrain = options.retrain if acts and decided.decision is Decision.RETRAIN else None
    acted, problem = (True, None) if retrain else _carried_out(settings, plan, decided) if acts else (False, None)
    findings = _findings(measured)
    round_id = None
    if not options.dry_run:
        with connect(url) as connection:
            new = NewRound(
                model,
                measured.champion,
                measured.challenger,
                window.start or window.end,
                window.end,
                decided.decision,
                decided.reasons,
                findings,
                decided.has_drift,
                decided.target,
                acted,
                actor(settings, Path.cwd()),
            )
            round_id = record(connection, new)
    if retrain:  # after the record, so that a retraining that is killed counts for the cooldown
        problem = retrain(f"panthera monitor: {decided.reasons[0]}")
    done = Round(round_id, measured.champion, measured.challenger, window, decided, acted, problem, findings)
    return done if options.dry_run else replace(done, alert_problem=send_alerts(done, model, options.channels))


def measure(settings: Settings, plan: Plan, url: str, window: Window, data: Path) -> Measured:
    """Return what a round measures over `window`; a check that cannot be made is among its problems."""
    with connect(url) as connection:
        champion = in_role(connection, plan.register_.model, CHAMPION)
        challenger = ledger.current(connection, plan.register_.model, CHALLENGER)
        chain, ever = _champions(connection, plan.register_.model)
        gate = _gate(connection, challenger)
        silent = _is_silent(connection, champion.release_id, window)
    problems: dict[str, str] = {}
    measured = partial(_measured, problems)
    length = window.end - window.start if window.end and window.start else None
    drift = measured("drift", lambda: drift_verb(settings, plan, as_of=window.end, window=length))
    parity = measured("parity", lambda: parity_verb(settings, plan, data=data, as_of=window.end, window=length))
    assert window.end is not None
    end = window.end
    cohorts = measured("cohorts", lambda: cohorts_verb(settings, plan, as_of=end))
    performance = measured("performance", lambda: performance_verb(settings, plan, as_of=end))
    weights = measured("the weight of the features", lambda: _weights(settings, champion, drift)) or {}
    return Measured(
        champion=champion.release_id,
        challenger=challenger.release_id if challenger else None,
        predecessor=chain[-2] if len(chain) > 1 else None,
        challenger_was_champion=challenger is not None and challenger.release_id in ever,
        gate=gate,
        drift=drift,
        parity=parity,
        cohorts=cohorts,
        performance=performance,
        problems=problems,
        weights=weights,
        is_silent=silent,
    )


def _measured(problems: dict[str, str], name: str, check: Callable[[], Result]) -> Result | None:
    """Return the result of a check, or None with its error among `problems`."""
    try:
        return check()
    except PantheraError as error:
        problems[name] = str(error)
        return None


def _champions(connection: psycopg.Connection, model: str) -> tuple[list[str], set[str | None]]:
    """Fetch the chain of champions, the current one last, and all that were ever champion."""
    changes = ledger.history(connection, model)
    return champion_chain(changes), {change.release_id for change in changes if change.role == CHAMPION}


def _gate(connection: psycopg.Connection, challenger: LedgerRelease | None) -> str | None:
    verdicts = ledger.verdicts(connection, [challenger.release_id]) if challenger else []
    return verdicts[-1].outcome if verdicts else None


def _is_silent(connection: psycopg.Connection, champion: str, window: Window) -> bool:
    """Return whether nothing was served in the window, but the champion had served something before it."""
    if fetch_releases(connection, window.start, window.end):
        return False
    return champion in fetch_releases(connection, None, window.start)


def _weights(settings: Settings, champion: LedgerRelease, drift: DriftResult | None) -> dict[str, float]:
    """Return the weights of the champion's features if a column drifted; they take seconds to compute."""
    if drift is None or not drift.alarms:
        return {}
    return feature_weights(load_bundle(settings.bundles / champion.bundle_digest, read_trusted(settings)))


def _findings(measured: Measured) -> dict[str, Any]:
    results = {"drift": measured.drift, "parity": measured.parity, "cohorts": measured.cohorts}
    return {
        **{name: result.to_dict() if result else None for name, result in results.items()},
        "performance": _performance(measured.performance),
        "problems": dict(measured.problems),
        "weights": plain(measured.weights),
        "gate": measured.gate,
        "predecessor": measured.predecessor,
    }


def _performance(result: PerformanceResult | None) -> dict[str, Any] | None:
    """Return the verdict and the alarms; the cohorts themselves would grow with the age of the release."""
    return {"verdict": result.verdict, "alarms": plain(result.alarms)} if result else None


def _carried_out(settings: Settings, plan: Plan, decided: Decided) -> tuple[bool, str | None]:
    """Promote, retire or roll back as decided; return whether that was done, and what went wrong."""
    why = f"panthera monitor: {decided.reasons[0]}"
    try:
        if decided.decision is Decision.PROMOTE and decided.target:
            return True, promote_verb(settings, plan, decided.target, CHAMPION, why).mlflow_problem
        if decided.decision is Decision.RETIRE and decided.target:
            return True, retire_verb(settings, plan, decided.target, why).mlflow_problem
        if decided.decision is Decision.ROLL_BACK:
            return True, rollback_verb(settings, plan, decided.target, why).mlflow_problem
    except PantheraError as error:
        return False, str(error)
    return False, None
