"""`panthera drift`, `parity`, `performance`, `cohorts`, `expose` and `explain`: monitor the served predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from core.roles import CHAMPION, ROLES
from core.settings import read_settings
from panthera.verb import (
    DATA,
    EXIT_FINDING,
    add_json,
    add_verb,
    duration,
    past_instant,
    plain_text,
    read_current_plan,
    show,
)

if TYPE_CHECKING:
    import argparse

    from panthera.verb import Add


def drift(arguments: argparse.Namespace) -> int:
    """Compare the served values with the training values of the release; exit with 3 if a column drifted."""
    from monitoring.verbs import drift_verb

    result = drift_verb(
        read_settings(),
        read_current_plan(),
        as_of=end_of_window(arguments),
        window=arguments.window,
        role=arguments.role,
        report=arguments.report,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def end_of_window(arguments: argparse.Namespace) -> datetime | None:
    """Return the end of the window: `--as-of`, or the present for a window of a given length; None without both."""
    return arguments.as_of or (datetime.now(UTC) if arguments.window else None)


def parity(arguments: argparse.Namespace) -> int:
    """Recompute served feature vectors offline and compare them value by value; exit with 3 on a defect."""
    from monitoring.verbs import parity_verb

    result = parity_verb(
        read_settings(),
        read_current_plan(),
        data=arguments.data,
        as_of=end_of_window(arguments),
        window=arguments.window,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.defects else 0


def performance(arguments: argparse.Namespace) -> int:
    """Measure served predictions by cohort, and estimate their metrics before outcomes; exit with 3 on concept drift."""
    from monitoring.performance_verb import performance_verb

    result = performance_verb(
        read_settings(),
        read_current_plan(),
        as_of=arguments.as_of or datetime.now(UTC),
        release_id=arguments.release,
        period=arguments.cohort,
        report=arguments.report,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def cohorts(arguments: argparse.Namespace) -> int:
    """Compare the outcomes of champion and challenger over mature exposures."""
    from monitoring.cohorts import cohorts_table
    from monitoring.verbs import cohorts_verb

    result = cohorts_verb(read_settings(), read_current_plan(), as_of=arguments.as_of or datetime.now(UTC))
    show(result, lambda: cohorts_table(result), as_json=arguments.json)
    return 0


def expose(arguments: argparse.Namespace) -> int:
    """Import replayed predictions as exposures of the experiment, dated by their as_of; actor and reason are recorded."""
    from monitoring.verbs import expose_verb

    result = expose_verb(
        read_settings(),
        read_current_plan(),
        as_of=end_of_window(arguments),
        window=arguments.window,
        why=arguments.why,
    )
    show(result, result.table, as_json=arguments.json)
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Show the contribution of each feature to the score of a served prediction."""
    from monitoring.verbs import explain_verb

    result = explain_verb(read_settings(), arguments.prediction)
    show(result, result.table, as_json=arguments.json)
    return 0


def add_monitor_verbs(add: Add) -> None:
    """Add the verbs about served predictions."""
    for name, run in {"drift": drift, "parity": parity, "cohorts": cohorts}.items():
        added = add_verb(add, name, run)
        added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; default: now")
        add_json(added)
        if name != "cohorts":
            added.add_argument("--window", type=duration, help="length of the window, such as 7d; default: all")
        if name == "drift":
            added.add_argument("--role", choices=ROLES, default=CHAMPION, help="role of the release; default: champion")
            added.add_argument("--report", type=Path, help="also write an HTML report to this file")
        if name == "parity":
            added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    added = add_verb(add, "performance", performance)
    added.add_argument("--as-of", type=past_instant, help="what counts as known, such as 1998-04-01; default: now")
    added.add_argument("--release", type=plain_text, help="id of the release; default: the champion")
    added.add_argument("--cohort", choices=("week", "month"), default="week", help="period of a cohort; default: week")
    added.add_argument("--report", type=Path, help="also write an HTML page to this file")
    add_json(added)
    added = add_verb(add, "expose", expose)
    added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; default: now")
    added.add_argument("--window", type=duration, help="length of the window, such as 7d; default: all")
    added.add_argument("--why", type=plain_text, required=True, help="the reason, recorded with the exposures")
    add_json(added)
    added = add_verb(add, "explain", explain)
    added.add_argument("prediction", type=UUID, nargs="?", help="its prediction_id; default: the latest one")
    add_json(added)
