"""`panthera log` and `panthera shadow`: the retention of the prediction log, and its scores by another release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.settings import read_settings
from panthera.verb import (
    EXIT_FINDING,
    add_group,
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


def seal(arguments: argparse.Namespace) -> int:
    """Move days of the prediction log that are older than `serve.keep_log` to Parquet files in the state folder."""
    from monitoring.sealing_verbs import seal_verb

    result = seal_verb(read_settings(), read_current_plan(), datetime.now(UTC), arguments.keep)
    show(result, result.table, as_json=arguments.json)
    return 0


def list_files(arguments: argparse.Namespace) -> int:
    """List the files of the sealed log."""
    from monitoring.sealing_verbs import list_verb

    result = list_verb(read_settings(), read_current_plan())
    show(result, result.table, as_json=arguments.json)
    return 0


def shadow(arguments: argparse.Namespace) -> int:
    """Score logged predictions with another release and compare it; exit with 3 if it could not score one."""
    from monitoring.paired.verb import compared_shadow

    now = datetime.now(UTC)
    since = arguments.since or now - timedelta(days=1)
    as_of = arguments.as_of or now
    result = compared_shadow(
        read_settings(), read_current_plan(), arguments.release, since, as_of, follow=arguments.follow
    )
    show(result, result.table, as_json=arguments.json)
    return EXIT_FINDING if result.shadow.summary.faults else 0


def add_log_verbs(add: Add) -> None:
    """Add the verbs of the prediction log."""
    added = add_verb(add, "shadow", shadow)
    added.add_argument(
        "--release",
        type=plain_text,
        metavar="ID",
        help="release that scores, by id or role; default: challenger",
    )
    added.add_argument("--since", type=past_instant, help="first instant of the log; default: a day ago")
    added.add_argument(
        "--as-of", type=past_instant, help="outcomes that are mature then count in the comparison; default: now"
    )
    added.add_argument("--follow", action="store_true", help="go on as predictions are logged, until it is stopped")
    add_json(added)
    action = add_group(add, "log", "Move old days of the prediction log to files, and list them.")
    added = add_verb(action, "seal", seal)
    added.add_argument(
        "--keep", type=duration, help="how long rows stay in the database, such as 90d; default: serve.keep_log"
    )
    add_json(added)
    add_json(add_verb(action, "list", list_files))
