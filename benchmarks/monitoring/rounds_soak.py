"""A model that keeps itself up to date: simulated months of a subscription business with a concept shift, and no person.

Run it as `make soak-monitoring`. The real service answers campaigns on the first of each month over HTTP, outcomes mature, and
before each next campaign `panthera monitor --act` runs a round and carries out what it decides. In the fourth month after the
start the relation of usage and churn has changed for good. After the promotion of a retrained release its predecessor, which no
longer fits, is made challenger by hand, as a bad challenger; the rounds must end it. Then it is made champion by hand, and the
rounds must roll back. The folder keeps the state: the same command continues after a kill.

The last line is one JSON object:

- `rounds`: the decision of each round, and whether it was carried out. `roles`: the changes of roles in order, with causes.
- `shadow`: what the paired comparison said of each challenger.
- `history_in_order`: whether `panthera history` lists all by time.
- `by_hand`: what was done by hand besides the two planted mistakes; nothing, if the loop closes.
- `complete`: whether retraining, challenger, promotion, retirement and rollback all happened.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.plan.file import read_plan
from core.postgres.database import connect, ensure_database, running_database
from core.settings import read_settings, silence_telemetry
from feature_repo.catch_up import catch_up
from models.releases import ledger
from monitoring.verbs import expose_verb
from panthera.pipeline import reproduce
from panthera.project_folder import enter_project
from panthera.service.client import ServiceClient
from panthera.service.process import running_service
from worlds.subscription.changes import ConceptShift
from worlds.subscription.live.business import Business, deliver, month_of
from worlds.subscription.live.journal import Journal
from worlds.subscription.live.operation import Known, Operation
from worlds.subscription.settings import Offer, SubscriptionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan
    from core.settings import Settings

ROOT = Path(__file__).parents[2]
START, DAY = datetime(2024, 7, 1, tzinfo=UTC), timedelta(days=1)
#: Months of operation, and the first with the concept shift (0 = START).
MONTHS, SHIFTED = 7, 0
_DATA, _SOURCES, _JOURNAL, _STATE = Path("data"), Path("world"), Path("live"), Path("soak.pickle")
#: One day of outcomes after the first of each month: the label window of the campaign has closed.
_DAYS = (1, 29)
_SECONDS_TO_FOLLOW = 8
_PLANTED = "planted by the soak"


def world_of(customers: int, seed: int) -> SubscriptionSettings:
    """Return a world in which use stops to protect from churn, and the offer works on everybody."""
    segments = ("consumer", "family", "student", "business")
    start_month = 18 + SHIFTED
    return SubscriptionSettings(
        customers=customers,
        seed=seed,
        months=18 + MONTHS + 1,
        intercept=-2.4,
        offer=Offer(effects=dict.fromkeys(segments, -3.0)),
        changes=(ConceptShift(start_month=start_month, term="active_share_30d", coefficient=0.5),),
    )


def plan_text() -> str:
    """Return the world's plan with two candidates, short test periods, recent months that weigh more, and rules that decide."""
    text = (ROOT / "worlds/subscription/plan.yaml").read_text()
    head, rest = text.split("  candidates:\n")
    rest = rest[rest.index("\nevaluate:") :]
    candidates = """  candidates:
    inactive_days: {estimator: single_feature, feature: engagement.active_days_30d}
    lightgbm:
      estimator: lightgbm
      rounds: 150
      params: {learning_rate: 0.05, num_leaves: 7, min_child_samples: 50}
"""
    text = head + candidates + rest
    recency = "power(3.0, year(as_of) * 12 + month(as_of) - 24276)"
    for old, new in (
        (
            "        month_of_year:",
            f'        recency: {{sql: "{recency}", dtype: float64, meaning: weight of a row}}\n        month_of_year:',
        ),
        (
            'validation_from: "2024-02-01", test_from: "2024-04-01"',
            'validation_from: "2024-05-01", test_from: "2024-06-01"',
        ),
        ("  attributes: [profile.gender]\n", "  attributes: [profile.gender]\n  weight: profile.recency\n"),
        ("primary: roc_auc", "primary: log_loss"),
        ("  psi_alarm: 0.1\n", _MONITOR),
        # A machine that trains beside the service answers slowly.
        ("max_entities: 1000", "max_entities: 50"),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


_MONITOR = """  psi_alarm: 0.1
  decide: {better: lower, window: 40d, minimum_rows: 100, cooldown: 20d}
  experiment: {minimum_effect: 0.08, looks: 2}
"""


@dataclass
class State:
    """What a killed run is continued from; written after each day."""

    business: Business
    known: Known
    done: list[datetime] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    shadow: list[dict[str, Any]] = field(default_factory=list)
    planted: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def write(self) -> None:
        """Write the state."""
        fresh = _STATE.with_suffix(".new")
        fresh.write_bytes(pickle.dumps(self))
        fresh.replace(_STATE)


def verb(*arguments: str) -> Any:
    """Run a verb of the command line with `--json`; return its result."""
    command = [sys.executable, "-m", "panthera.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode not in {0, 3}:
        raise RuntimeError(f"panthera {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def days() -> Iterator[datetime]:
    """Yield the days of operation."""
    for number in range(MONTHS):
        year, month = divmod(START.month - 1 + number, 12)
        for day in _DAYS:
            yield datetime(START.year + year, month + 1, day, tzinfo=UTC)


class Soak:
    """The operation, with a round before each campaign but the first."""

    def __init__(self, settings: Settings, world: SubscriptionSettings, state: State) -> None:
        self._settings, self._world, self._state = settings, world, state

    @property
    def _plan(self) -> Plan:
        """The plan as the last retraining left it."""
        return read_plan(self._settings.plan)

    def operate(self) -> None:
        """Operate the days that are left."""
        plan = self._plan
        journal = Journal.__new__(Journal)
        journal._folder = _JOURNAL  # noqa: SLF001 - a continued run has the folder already
        _JOURNAL.mkdir(exist_ok=True)
        with (
            running_service(self._settings.state) as address,
            closing(ServiceClient(address, plan.unit.key, plan.serve.max_entities, self._settings.api_key)) as client,
        ):
            operation = Operation(
                self._world,
                self._state.business,
                client,
                journal,
                sources=_SOURCES,
                refresh=self._refresh,
                expose=lambda today: expose_verb(
                    self._settings, self._plan, as_of=today, window=DAY, why="the operation replays history"
                ),
                offer=plan.serve.decisions.above,
                horizon=plan.label.horizon,
            )
            operation.known = self._state.known
            for day in [each for each in days() if each not in self._state.done]:
                began = time.monotonic()
                done = operation.day(day)
                self._state.done.append(day)
                self._state.seconds += time.monotonic() - began
                self._state.write()
                print(f"{day:%Y-%m-%d}: {done}", flush=True)

    def _refresh(self, today: datetime) -> None:
        """Bring the features of `today` online; before a campaign, run a round, which may retrain."""
        if today.day == 1 and today > START:
            catch_up(self._settings, self._plan, _DATA, today)
            self._round(today)
            self._plant()
            time.sleep(_SECONDS_TO_FOLLOW)
        if today.day > 1:  # the outcomes of this month's campaign, not of each customer's first one
            self._state.known.exposed = dict.fromkeys(self._state.known.present, today.replace(day=1))
        catch_up(self._settings, self._plan, _DATA, today)

    def _round(self, today: datetime) -> None:
        instant = f"{today:%Y-%m-%d}"
        if self._roles()["challenger"]:
            found = verb("shadow", "--as-of", instant, "--since", "2020-01-01")
            self._state.shadow.append({"as_of": instant, **_short(found)})
            print(f"shadow: {self._state.shadow[-1]}", flush=True)
        found = verb("monitor", "--act", "--as-of", instant, "--until", instant)
        kept = {name: found[name] for name in ("as_of", "decision", "reasons", "target", "acted", "act_problem")}
        self._state.rounds.append(kept)
        print(f"round: {kept}", flush=True)

    def _roles(self) -> dict[str, str | None]:
        with connect(ensure_database(self._settings)) as connection:
            return {str(role): held for role, held in ledger.roles(connection, self._plan.register_.model).items()}

    def _plant(self) -> None:
        """After a promotion make the old champion challenger; once that is ended, make it champion."""
        last = self._state.rounds[-1]
        if last["decision"] == "promote" and last["acted"] and "challenger" not in self._state.planted:
            self._state.planted.append("challenger")
            self._state.planted.append(self._before(last["target"]))
            verb("promote", self._state.planted[1], "--role", "challenger", "--why", _PLANTED)
        elif last["decision"] == "retire" and last["acted"] and last["target"] in self._state.planted:
            good = str(self._roles()["champion"])
            verb("promote", last["target"], "--why", _PLANTED)
            verb("promote", good, "--role", "challenger", "--why", _PLANTED)

    def _before(self, champion: str) -> str:
        with connect(ensure_database(self._settings)) as connection:
            changes = ledger.history(connection, self._plan.register_.model)
        champions = [change.release_id for change in changes if change.role == "champion" and change.release_id]
        return str(next(each for each in reversed(champions) if each != champion))

    def result(self) -> dict[str, Any]:
        """Return the figures."""
        events = verb("history", "--limit", "1000")["events"]
        times = [event.get("decided_at") or event.get("happened_at") or event.get("since") for event in events]
        roles = [(each["role"], each["cause"], each["reason"]) for each in events if each["kind"] == "role"]
        acted = {each["decision"] for each in self._state.rounds if each["acted"]}
        return {
            "months": MONTHS,
            "rounds": [(each["as_of"][:10], each["decision"], each["acted"]) for each in self._state.rounds],
            "roles": [(role, cause) for role, cause, _ in roles],
            "shadow": self._state.shadow,
            "history_events": len(events),
            "history_in_order": times == sorted(times),
            "by_hand": [
                why
                for _, cause, why in roles
                if cause != "register" and not why.startswith("panthera monitor") and why != _PLANTED
            ],
            "seconds": round(self._state.seconds),
            "complete": {"retrain", "promote", "retire", "roll_back"} <= acted,
        }


def _short(found: dict[str, Any]) -> dict[str, Any]:
    comparison = found["comparison"] or {}
    return {"scored": found["scored"], "faults": found["faults"], "verdict": comparison.get("verdict")}


def begin(settings: Settings, world: SubscriptionSettings) -> State:
    """Simulate until the start, train, and return the state."""
    business = Business(world)
    business.simulate_until(month_of(world, START))
    history = business.known_before(START)
    deliver(history, _SOURCES, START)
    reproduce(settings, read_plan(settings.plan), _DATA)
    known = Known()
    known.learn(history)
    state = State(business, known)
    state.write()
    return state


def main() -> None:
    """Run or continue the soak, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".panthera" / "soak-monitoring")
    parser.add_argument("--customers", type=int, default=6_000, help="all who ever sign up")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    silence_telemetry()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    plan = arguments.folder.with_suffix(".yaml").absolute()
    if not (arguments.folder / _STATE).exists():
        plan.write_text(plan_text())
    enter_project(plan, arguments.folder)
    world, settings = world_of(arguments.customers, arguments.seed), read_settings()
    with running_database(settings):
        state = pickle.loads(_STATE.read_bytes()) if _STATE.exists() else begin(settings, world)  # noqa: S301 - its own
        soak = Soak(settings, world, state)
        soak.operate()
        result = soak.result()
    print(json.dumps(result))
    sys.exit(0 if result["complete"] and result["history_in_order"] and not result["by_hand"] else 1)


if __name__ == "__main__":
    os.environ.pop("PANTHERA_DATABASE_URL", None)
    main()
