"""Move the instants of a plan's text, so that its sources count as observed until a later one; the rest of the text stays."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from core.errors import PlanError
from core.plan.times import day_or_time, parse_instant, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_CUT = ("ingest", "*", "observed_until")
#: The instants that follow the cut; the starts of periods stay, so that training sees a longer history.
_MOVED = (
    _CUT,
    ("build_features", "snapshots", "end"),
    ("training_set", "as_of", "end"),
    ("training_set", "split", "validation_from"),
    ("training_set", "split", "test_from"),
    ("materialize", "as_of"),
)
_MONTHS = 12
#: What may stand before a value: its anchor and its tag.
_ANCHOR = re.compile(r"(?:[&!]\S+\s+)*")


@dataclass(frozen=True)
class _Place:
    """An instant in the text of a plan, from `begin` to `end`."""

    begin: int
    end: int
    instant: datetime


def moved_until(text: str, until: datetime) -> str:
    """Return the text of a plan whose latest `observed_until` is `until`; its other instants move by as much.

    They move by whole months if `until` is on the same day of a month and time of day as the latest `observed_until`, else by
    the time between the two.

    Raises
    ------
    PlanError
        If `until` is before the latest `observed_until`, or the plan has none.

    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    cuts = [place.instant for place in _found(text, root, _CUT)]
    if not cuts:
        raise PlanError("the plan has no ingest.*.observed_until, so there is no instant to move; leave out --until")
    latest = max(cuts)
    if until < latest:
        raise PlanError(
            f"--until is {day_or_time(until)}, the plan's sources are observed until {day_or_time(latest)}; give that "
            "instant or a later one"
        )
    move = _mover(latest, until)
    places = {place.begin: place for path in _MOVED for place in _found(text, root, path)}
    for begin in sorted(places, reverse=True):
        text = text[:begin] + f'"{written(move(places[begin].instant))}"' + text[places[begin].end :]
    return text


def _found(text: str, node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[_Place]:
    """Yield the instants at `path` in the node; an alias leads to the place of its anchor."""
    if not path:
        if isinstance(node, yaml.ScalarNode):
            begin = node.start_mark.index + len(
                "".join(_ANCHOR.findall(text, node.start_mark.index, node.end_mark.index)[:1])
            )
            yield _Place(begin, node.end_mark.index, parse_instant(node.value))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if path[0] in {"*", key.value}:
                yield from _found(text, value, path[1:])


def _mover(old: datetime, new: datetime) -> Callable[[datetime], datetime]:
    if (old.day, old.time()) == (new.day, new.time()):
        months = (new.year - old.year) * _MONTHS + new.month - old.month
        return lambda instant: _months_later(instant, months)
    return lambda instant: instant + (new - old)


def _months_later(instant: datetime, months: int) -> datetime:
    """Return the same day and time of day some months later; the last day of the month if it is shorter."""
    years, month = divmod(instant.month - 1 + months, _MONTHS)
    year = instant.year + years
    return instant.replace(year=year, month=month + 1, day=min(instant.day, calendar.monthrange(year, month + 1)[1]))
