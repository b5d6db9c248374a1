"""Shared code of the command-line verbs: adding parsers, parsing arguments, reading the plan, printing results."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.settings import read_settings
from core.terminal import harmless, print_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from rich.console import RenderableType

    from core.plan.plan import Plan

    Run = Callable[[argparse.Namespace], int]
    #: Adds a parser with the given name, as `add_parser` of argparse does.
    Add = Callable[..., argparse.ArgumentParser]

#: Exit code of a finding that needs attention; 2 is wrong usage (argparse), the others are in `core.entry`.
EXIT_FINDING = 3

_MAX_COUNT = 1_000_000_000
REPORT = Path("reports/drift.html")
DATA = Path("data")


class Result(Protocol):
    """The result of a verb."""

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""


def read_current_plan() -> Plan:
    """Read the plan that the settings name."""
    from core.plan.file import read_plan

    return read_plan(read_settings().plan)


def show(result: Result, table: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print a result as a table or as one JSON object."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    print_whole(table())


def show_line(line: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print a result as one line, or its facts as one JSON object."""
    print(json.dumps(facts, indent=2) if as_json else line)


def plain_text(text: str) -> str:
    """Return an argument that is one line of text without control characters; raise ArgumentTypeError otherwise."""
    if harmless(text) != text or "\n" in text:
        raise argparse.ArgumentTypeError(f"{text!a} has a control character; expected plain text on one line")
    return text


def count(text: str) -> int:
    """Return an argument that is a positive integer; raise ArgumentTypeError otherwise."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < _MAX_COUNT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MAX_COUNT - 1:,}")
    return int(text)


def instant(text: str) -> datetime:
    """Return an argument that is an instant; raise ArgumentTypeError otherwise."""
    from core.plan.times import parse_instant

    try:
        return parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def past_instant(text: str) -> datetime:
    """Return an argument that is an instant not in the future; raise ArgumentTypeError otherwise."""
    from core.clock import future_fault, is_ahead

    parsed, now = instant(text), datetime.now(UTC)
    if is_ahead(parsed, now):
        raise argparse.ArgumentTypeError(
            f"{future_fault(parsed, now)}; choose an earlier instant, or leave it out for now"
        )
    return parsed


def duration(text: str) -> timedelta:
    """Return an argument that is a duration such as 7d; raise ArgumentTypeError otherwise."""
    from core.plan.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_verb(add: Add, name: str, run: Run) -> argparse.ArgumentParser:
    """Add a verb that calls `run`, with the docstring of `run` as its help; return its parser."""
    text = (run.__doc__ or "").strip()
    added = add(name, help=text, description=text)
    added.set_defaults(function=run)
    return added


def add_group(add: Add, name: str, text: str) -> Add:
    """Add a verb with several actions; return the function that adds an action."""
    return add(name, help=text, description=text).add_subparsers(required=True, metavar="ACTION").add_parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option --data to a parser: the folder of the stages' tables."""
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the stages' tables")


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add the option --json to a parser.

    It has no default, so that an action does not reset what was given before its name; `panthera.cli` sets it to false.
    """
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
