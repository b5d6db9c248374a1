"""`panthera score`: score many entities with one release."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.roles import CHAMPION, ROLES
from core.settings import read_settings
from panthera.verb import EXIT_FINDING, add_json, add_verb, count, past_instant, plain_text, read_current_plan, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from panthera.verb import Add
    from serving.batch.outputs import Open


def score(arguments: argparse.Namespace) -> int:
    """Score all entities, or those of a file, as the service would; exit with 3 if no entity could be scored."""
    from serving.batch.run import Asked, score_entities

    asked = Asked(arguments.release or arguments.role, arguments.entities, arguments.as_of, arguments.top)
    written_to = arguments.to_table or (str(arguments.out) if arguments.out else None)
    summary = score_entities(
        read_settings(), read_current_plan(), asked, lambda: datetime.now(UTC), _output(arguments), written_to
    )
    show(summary, summary.table, as_json=arguments.json)
    return 0 if summary.scored else EXIT_FINDING


def _output(arguments: argparse.Namespace) -> Callable[[str], Open] | None:
    from serving.batch.outputs import to_file, to_table

    if arguments.to_table:
        return partial(to_table, name=arguments.to_table)
    return (lambda _: to_file(arguments.out)) if arguments.out else None


def _scores_file(text: str) -> Path:
    from serving.batch.outputs import SUFFIXES

    if Path(text).suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected a name that ends with {' or '.join(SUFFIXES)}")
    return Path(text)


def add_score_verb(add: Add) -> None:
    """Add the verb that scores many entities."""
    added = add_verb(add, "score", score)
    which = added.add_mutually_exclusive_group()
    which.add_argument("--release", type=plain_text, metavar="ID", help="id of the release")
    which.add_argument("--role", choices=ROLES, default=CHAMPION, help="role of the release; default: champion")
    added.add_argument(
        "--entities",
        type=Path,
        metavar="FILE",
        help="keys, one a line (- is the standard input), or a .csv or .parquet",
    )
    where = added.add_mutually_exclusive_group()
    where.add_argument("--out", type=_scores_file, metavar="FILE", help="write the scores to a .parquet or .csv file")
    where.add_argument("--to-table", metavar="NAME", help="write the scores to a table of the platform's database")
    added.add_argument("--as-of", type=past_instant, help="the instant, such as 1998-04-01; default: now")
    added.add_argument("--top", type=count, metavar="N", help="decide `above` for the N highest scores")
    add_json(added)
