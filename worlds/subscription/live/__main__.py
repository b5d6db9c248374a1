"""Operate the plan of this world against a running service for a quarter: `python -m worlds.subscription.live --folder DIR`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.terminal import print_whole, terminal_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from core.plan.plan import Plan
    from core.settings import Settings
    from worlds.subscription.live.business import Business
    from worlds.subscription.live.checks import TruthCheck
    from worlds.subscription.settings import SubscriptionSettings

PLAN = Path(__file__).parents[1] / "plan.yaml"
DATA, SOURCES, JOURNAL = Path("data"), Path("world"), Path("live")
#: July, August, September and 1 October, the first day whose features contain the broken feed of September.
DAYS = 93
_DAY = timedelta(days=1)


def main(arguments: list[str] | None = None) -> int:
    """Operate; return 0, 2 after one line of error message on standard error, or 3 if the platform contradicts the truth."""
    parsed = _parser().parse_args(arguments)
    try:
        checks = operate(parsed.plan, parsed.folder, parsed.customers, parsed.seed, parsed.days)
    except PantheraError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    return 0 if all(check.holds for check in checks) else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worlds.subscription.live",
        description="Train on the history, serve, and simulate day by day; then compare the measurements with the truth.",
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="project folder to make; must not exist, or be empty"
    )
    parser.add_argument("--plan", type=Path, default=PLAN, help="plan to operate (default: the plan of this world)")
    parser.add_argument("--customers", type=int, default=10_000, help="all who ever sign up (default 10000)")
    parser.add_argument("--seed", type=int, default=7, help="another seed gives another world (default 7)")
    parser.add_argument("--days", type=int, default=DAYS, help=f"days to operate (default {DAYS})")
    return parser


def operate(plan_path: Path, folder: Path, customers: int, seed: int, days: int) -> list[TruthCheck]:
    """Make the project, train on the records known at the start, operate `days` days, and return the checks.

    Raises
    ------
    PantheraError
        If the folder is not empty, the world has fewer days, or a stage or the service fails.

    """
    from core.plan.file import read_plan
    from core.settings import read_settings
    from panthera.project_folder import enter_project
    from worlds.subscription.settings import SubscriptionSettings

    if folder.exists() and any(folder.iterdir()):
        raise PantheraError(f"{folder} is not empty; expected a new or empty folder: remove it, or choose another one")
    world = SubscriptionSettings(customers=customers, seed=seed)
    start = min(source.observed_until for source in read_plan(plan_path).ingest.values())
    _refuse_days(world, start, days)
    enter_project(plan_path, folder)
    settings = read_settings()
    return _operate(settings, read_plan(settings.plan), world, start, days)


def _refuse_days(world: SubscriptionSettings, start: datetime, days: int) -> None:
    from worlds.subscription.live.business import month_of
    from worlds.subscription.months import month_grid

    grid = month_grid(world.start_date, world.months)
    left = grid.days - grid.start_day(month_of(world, start))
    if not 1 <= days <= left:
        raise PantheraError(
            f"days: found {days}, expected 1 to {left}, the days of the history from {start:%Y-%m-%d} on"
        )


def _operate(
    settings: Settings, plan: Plan, world: SubscriptionSettings, start: datetime, days: int
) -> list[TruthCheck]:
    from core.postgres.database import running_database
    from panthera.pipeline import reproduce
    from worlds.subscription.live.business import Business, deliver, month_of

    clock = _Clock()
    business = Business(world)
    business.simulate_until(month_of(world, start))
    history = business.known_before(start)
    clock.print(f"simulated until {start:%Y-%m-%d}: {deliver(history, SOURCES, start):,} records are known")
    with running_database(settings):
        reproduce(settings, plan, DATA)
        clock.print("the releases are trained")
        _serve_and_operate(
            settings, plan, world, business, history, [start + timedelta(days=day) for day in range(days)], clock
        )
        return _run_checks(settings, plan, world, start + timedelta(days=days), clock)


class _Clock:
    """Prints messages with the seconds since its creation."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def print(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)


def _serve_and_operate(
    settings: Settings,
    plan: Plan,
    world: SubscriptionSettings,
    business: Business,
    history: Mapping[str, pa.Table],
    days: Sequence[datetime],
    clock: _Clock,
) -> None:
    """Serve, and operate on each of `days`."""
    from feature_repo.catch_up import catch_up
    from monitoring.verbs import expose_verb
    from panthera.service.client import ServiceClient
    from panthera.service.process import running_service
    from worlds.subscription.live.journal import Journal
    from worlds.subscription.live.operation import Operation

    journal = Journal(JOURNAL)
    with (
        running_service(settings.state) as address,
        closing(ServiceClient(address, plan.unit.key, plan.serve.max_entities, settings.api_key)) as client,
    ):
        operation = Operation(
            world,
            business,
            client,
            journal,
            sources=SOURCES,
            refresh=lambda today: catch_up(settings, plan, DATA, today),
            expose=lambda today: expose_verb(
                settings, plan, as_of=today, window=_DAY, why="the operation replays history"
            ),
            offer=plan.serve.decisions.above,
            horizon=plan.label.horizon,
        )
        operation.known.learn(history)
        for day in days:
            done = operation.day(day)
            counts = ", ".join(f"{count:,} {what}" for what, count in done.items() if isinstance(count, int) and count)
            clock.print(f"{day:%Y-%m-%d}: {counts}")


def _run_checks(
    settings: Settings, plan: Plan, world: SubscriptionSettings, end: datetime, clock: _Clock
) -> list[TruthCheck]:
    """Return all checks; print them, and write them to `live/checks.json`."""
    from worlds.subscription.live.checks import all_checks

    checks = list(all_checks(settings, plan, world, JOURNAL, DATA, end))
    table = terminal_table("check", "platform", "truth", "agree", title="The operation compared with the truth")
    for check in checks:
        table.add_row(check.what, check.found, check.truth, "yes" if check.holds else "NO")
    print_whole(table)
    target = JOURNAL / "checks.json"
    target.write_text(json.dumps([asdict(check) for check in checks], indent=2) + "\n")
    clock.print(
        f"{sum(check.holds for check in checks)} of {len(checks)} agree; what was sent is in {JOURNAL.absolute()}"
    )
    return checks


if __name__ == "__main__":
    sys.exit(main())
