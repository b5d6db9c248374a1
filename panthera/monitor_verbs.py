"""`panthera drift`, `parity`, `cohorts`, `expose` and `explain`: what became of what was served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from core.roles import CHAMPION, ROLES
from core.settings import read_settings
from panthera.verb import DATA, EXIT_FINDING, add_json, add_verb, duration, past_instant, plan_here, show, words

if TYPE_CHECKING:
    import argparse

    from panthera.verb import Add


def drift(arguments: argparse.Namespace) -> int:
    """Compare what was served with what the release was trained on; exit with 3 if a column drifted."""
    from monitoring.verbs import drift_verb

    result = drift_verb(
        read_settings(),
        plan_here(),
        as_of=arguments.as_of,
        window=arguments.window,
        role=arguments.role,
        report=arguments.report,
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.alarms else 0


def parity(arguments: argparse.Namespace) -> int:
    """Recompute served feature vectors offline and compare them value by value; exit with 3 on a defect."""
    from monitoring.verbs import parity_verb

    result = parity_verb(
        read_settings(), plan_here(), data=arguments.data, as_of=arguments.as_of, window=arguments.window
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.defects else 0


def cohorts(arguments: argparse.Namespace) -> int:
    """Compare the outcomes of champion and challenger over mature exposures."""
    from monitoring.cohorts import cohorts_table
    from monitoring.verbs import cohorts_verb

    result = cohorts_verb(read_settings(), plan_here(), as_of=arguments.as_of or datetime.now(UTC))
    show(result, lambda: cohorts_table(result), as_json=arguments.json)
    return 0


def expose(arguments: argparse.Namespace) -> int:
    """Count replayed predictions as exposures of the experiment, dated by their as_of; who did it and why is kept."""
    from monitoring.verbs import expose_verb

    result = expose_verb(
        read_settings(), plan_here(), as_of=arguments.as_of, window=arguments.window, why=arguments.why
    )
    show(result, result.table, as_json=arguments.json)
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Tell what each feature added to the score of a prediction that was served."""
    from monitoring.verbs import explain_verb

    result = explain_verb(read_settings(), arguments.prediction)
    show(result, result.table, as_json=arguments.json)
    return 0


def add_monitor_verbs(add: Add) -> None:
    """Add the verbs about what was served."""
    for name, run in {"drift": drift, "parity": parity, "cohorts": cohorts}.items():
        added = add_verb(add, name, run)
        added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; without it: now")
        add_json(added)
        if name != "cohorts":
            added.add_argument("--window", type=duration, help="length of the window, such as 7d; without it: all")
        if name == "drift":
            added.add_argument("--role", choices=ROLES, default=CHAMPION)
            added.add_argument("--report", type=Path, help="also draw an HTML report into this file")
        if name == "parity":
            added.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")
    added = add_verb(add, "expose", expose)
    added.add_argument("--as-of", type=past_instant, help="end of the window, such as 1998-04-01; without it: now")
    added.add_argument("--window", type=duration, help="length of the window, such as 7d; without it: all")
    added.add_argument("--why", type=words, required=True, help="why they count; kept beside the exposures")
    add_json(added)
    added = add_verb(add, "explain", explain)
    added.add_argument("prediction", type=UUID, nargs="?", help="its prediction_id; without it: the last one")
    add_json(added)
