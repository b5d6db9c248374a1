"""`panthera log seal` and `panthera log list`: the retention of the prediction log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.settings import read_settings
from panthera.verb import add_group, add_json, add_verb, duration, read_current_plan, show

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


def add_log_verbs(add: Add) -> None:
    """Add the verbs of the prediction log."""
    action = add_group(add, "log", "Move old days of the prediction log to files, and list them.")
    added = add_verb(action, "seal", seal)
    added.add_argument(
        "--keep", type=duration, help="how long rows stay in the database, such as 90d; default: serve.keep_log"
    )
    add_json(added)
    add_json(add_verb(action, "list", list_files))
