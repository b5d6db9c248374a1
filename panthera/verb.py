"""What the verbs of the command line share: a place in the parser, the plan they read, a way to show what they found."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.settings import read_settings
from core.terminal import harmless, print_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from rich.console import RenderableType

    from core.plan.plan import Plan

    Run = Callable[[argparse.Namespace], int]
    #: Makes a parser of that name, as `add_parser` of argparse does.
    Add = Callable[..., argparse.ArgumentParser]

#: What the shell sees: bad usage is 2 (argparse), a finding that needs attention 3; the others are those of `core.entry`.
EXIT_FINDING = 3

_MOST = 1_000_000_000
REPORT = Path("reports/drift.html")
DATA = Path("data")


class Result(Protocol):
    """What a verb found."""

    def to_dict(self) -> dict[str, object]:
        """Give it as what JSON has."""


def plan_here() -> Plan:
    """Read the plan that the settings name."""
    from core.plan.file import read_plan

    return read_plan(read_settings().plan)


def show(result: Result, table: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print what was found, as a table or as one JSON object."""
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    print_whole(table())


def words(text: str) -> str:
    """Read an argument of text, which may be stored and shown: of letters only, no commands to a terminal."""
    if harmless(text) != text or "\n" in text:
        raise argparse.ArgumentTypeError(f"{text!a} has a control character; expected is plain text on one line")
    return text


def count(text: str) -> int:
    """Read an argument that says how many."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST - 1:,}")
    return int(text)


def instant(text: str) -> datetime:
    """Read an argument that is an instant."""
    from core.plan.times import parse_instant

    try:
        return parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def past_instant(text: str) -> datetime:
    """Read an argument that is an instant which has come: nothing is known as of a later one."""
    from core.clock import future_fault, is_ahead

    found, now = instant(text), datetime.now(UTC)
    if is_ahead(found, now):
        raise argparse.ArgumentTypeError(f"{future_fault(found, now)}; take an instant that has come, or none for now")
    return found


def duration(text: str) -> timedelta:
    """Read an argument that is a length of time."""
    from core.plan.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_verb(add: Add, name: str, run: Run) -> argparse.ArgumentParser:
    """Add the verb that `run` does, and that its docstring explains."""
    text = (run.__doc__ or "").strip()
    added = add(name, help=text, description=text)
    added.set_defaults(function=run)
    return added


def add_group(add: Add, name: str, text: str) -> Add:
    """Add a verb that is one of several actions; return what adds an action."""
    return add(name, help=text, description=text).add_subparsers(required=True, metavar="ACTION").add_parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a verb print JSON."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
