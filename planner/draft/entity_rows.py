"""The tables about an entity: the one that the task names, its key and time, and others with the same key."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.suggestions import allowed_here
from feature_repo.files.duck import identifier
from planner.profile.links import name_score, singular
from planner.profile.patterns import KEY_NAME
from planner.profile.times import time_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from planner.draft.sheet import Sheet
    from planner.draft.task import WindowTask
    from planner.profile.column import Column
    from planner.profile.links import Link
    from planner.profile.profile import Profile, Table

_SEVERAL = 2
#: Share of distinct keys from which on the other rows are repeated deliveries.
_ALMOST = 0.97
#: Likeness of the name of a column and of the key of an entity.
_NAMED = 0.9


@dataclass(frozen=True)
class Through:
    """A link by which rows get their key and their time: a column of theirs, and the unique one of the rows that have both."""

    column: Column
    rows: Events
    to_column: Column


@dataclass(frozen=True)
class Events:
    """A table with times: the key of its entity, and the column of its event time.

    With `through`, both are columns of the table that it names.
    """

    table: Table
    key: Column
    time: Column
    first: datetime
    last: datetime
    through: Through | None = None

    @property
    def known(self) -> Column | None:
        """The column of when a row became known; None without one."""
        delay = self.table.delay
        return self.table.column(delay.known) if delay and delay.event == self.time.name and not self.through else None

    @property
    def is_one_row(self) -> bool:
        """Whether there is one row for each key, except for a few that were delivered twice."""
        return self.through is None and self.key.distinct >= _ALMOST * self.table.rows


@dataclass(frozen=True)
class Facts:
    """A table without times: one row for each key, whose values are taken as known at any time."""

    table: Table
    key: Column


def named_table(profile: Profile, name: str) -> Table:
    """Return the table that a task names, in the singular or the plural."""
    found = [table for table in profile.tables if name.lower() in {table.name, singular(table.name)}]
    if not found:
        raise PantheraError(
            f"{name!r} is no table of the data; {allowed_here(name, [table.name for table in profile.tables])}"
        )
    return found[0]


def in_plan_names(task: WindowTask, table: Table) -> WindowTask:
    """Return the task with columns by their names in the plan; a person may use the names in the file."""
    names = {one.raw: one.name for one in table.columns}

    def named(found: re.Match[str]) -> str:
        return identifier(names.get(found[1], found[1]))

    value, population = (re.sub(r'"([^"]+)"', named, sql) for sql in (task.value, task.population))
    return replace(task, value=value, population=population)


def entity_key(sheet: Sheet, profile: Profile, table: Table, task: WindowTask, key: str | None) -> Column:
    """Return the column that identifies the entity of rows: the named one, one linked to a table, or one named like a key."""
    named = key or sheet.answers.get("key")
    if named is None and task.entity is not None:
        scores = {column.name: name_score(column.name, f"{task.entity}s", "id") for column in table.columns}
        best = max(scores, key=scores.__getitem__)
        if scores[best] >= _NAMED or best == task.entity:
            named = best
    if named is not None:
        found = next((column for column in table.columns if named in {column.name, column.raw}), None)
        if found is None:
            raise PantheraError(
                f"{named!r} is no column of {table.name}; {allowed_here(named, [one.raw for one in table.columns])}"
            )
        return _able_key(found)
    linked = {link.column for link in profile.links if link.table == table.name}
    able = [
        one
        for one in table.columns
        if one.kind in {"integer", "string"} and not one.is_unique and not one.nulls and one.treatment != "remove"
    ]
    able = [one for one in able if one.name in linked or KEY_NAME.search(one.name) or one.leading_zeros]
    if not able:
        raise PantheraError(
            f"no column of {table.name} tells whom its rows are about; name it with --key, of "
            f"{', '.join(one.raw for one in table.columns)}"
        )
    able.sort(key=lambda one: (one.name not in linked, -one.distinct))
    if len(able) == 1:
        return able[0]
    answer = sheet.ask(
        "key",
        f"Which column of {table.name} tells whom a row is about?",
        able[0].raw,
        [one.raw for one in able],
        "the entity",
        95,
    )
    return next((one for one in able if answer in {one.name, one.raw}), able[0])


def _able_key(column: Column) -> Column:
    if column.kind not in {"integer", "string"} or column.treatment == "remove":
        found = column.personal if column.treatment == "remove" else column.kind
        raise PantheraError(
            f"the key {column.raw!r} is {found}; expected whole numbers or texts that identify no person: "
            "name another column with --key"
        )
    return column


def entity_of(key: Column, named: str | None) -> str:
    """Return the name of the entity that a key identifies."""
    return (named or "").lower() or KEY_NAME.sub("", key.name).strip("_") or f"one_{key.name}"[:40]


def label_rows(
    sheet: Sheet, profile: Profile, table: Table, task: WindowTask, key: str | None, time: str | None
) -> Events:
    """Return the rows of a label; a table without key or time has them from one that it is linked to.

    Raises
    ------
    PantheraError
        If there is no key or no time.

    """
    if time_columns(table.columns):
        with suppress(PantheraError):
            return rows_of(sheet, table, entity_key(sheet, profile, table, task, key), time)
    for link in (one for one in profile.links if one.table == table.name):
        other = profile.table_named(link.to_table)
        if time_columns(other.columns):
            rows = rows_of(sheet, other, entity_key(sheet, profile, other, task, key), time)
            return through(table, link, rows)
    return rows_of(sheet, table, entity_key(sheet, profile, table, task, key), time)


def through(table: Table, link: Link, rows: Events) -> Events:
    """Return the rows of a table whose key and time stand in `rows`."""
    by = Through(table.column(link.column), rows, rows.table.column(link.to_column))
    return Events(table, rows.key, rows.time, rows.first, rows.last, by)


def rows_of(sheet: Sheet, table: Table, key: Column, time: str | None) -> Events:
    """Return the table with its key and its event time.

    Raises
    ------
    PantheraError
        If it has no key or no time.

    """
    named = time or sheet.answers.get(f"time.{table.name}") or sheet.answers.get("time")
    able = time_columns(table.columns)
    if named is not None and any(named in {one.name, one.raw} for one in table.columns):
        able = [one for one in able if named in {one.name, one.raw}]
        if not able:
            raise PantheraError(
                f"{named!r} is no column of times with a value in every row of {table.name}; name another"
            )
    if not able:
        raise PantheraError(
            f"no column of {table.name} says when each of its rows happened, which a label in a window of time needs; predict "
            "a column instead, or name the time with --time"
        )
    if named is None and table.delay and able[0].name == table.delay.event:
        able = [one for one in able if one.name != table.delay.known]
    if len(able) > 1 and named is None:
        options = [one.raw for one in able]
        answer = sheet.ask(
            f"time.{table.name}",
            f"When did a row of {table.name} happen?",
            able[0].raw,
            options,
            "what was known when",
            85,
        )
        able = [one for one in able if answer in {one.name, one.raw}] or able
    found = next((times for times in table.times if times.column == able[0].name), None)
    if found is None:
        raise PantheraError(f"{able[0].raw!r} of {table.name} holds no time; name another column with --time")
    return Events(table, key, able[0], found.first.replace(tzinfo=UTC), found.last.replace(tzinfo=UTC))


def rows_about(sheet: Sheet, table: Table, events: Events, profile: Profile) -> Iterator[Events | Facts]:
    """Yield each other table about the same entity; a note states why others are left out."""
    keys = [
        column
        for column in table.columns
        if column.name == events.key.name or _is_linked(profile, table, column, events)
    ]
    keys = [column for column in keys if column.kind == events.key.kind and not column.nulls]
    if not keys:
        yield from _rows_through(sheet, table, events, profile)
    elif time_columns(table.columns):
        yield rows_of(sheet, table, keys[0], None)
    elif keys[0].is_unique:
        yield Facts(table, keys[0])
    else:
        sheet.notes.append(
            f"the table {table.name} is left out: it has no time, so nothing tells which of its values were known when"
        )


def _rows_through(sheet: Sheet, table: Table, events: Events, profile: Profile) -> Iterator[Events]:
    """Yield a table without the key whose rows are linked to rows that have it, as the lines of an order to orders."""
    for link in (one for one in profile.links if one.table == table.name):
        other = profile.table_named(link.to_table)
        keys = [one for one in other.columns if one.name == events.key.name]
        if keys and not keys[0].nulls and time_columns(other.columns):
            yield through(table, link, rows_of(sheet, other, keys[0], None))
            return
    sheet.notes.append(
        f"the table {table.name} is left out: no column of it holds the key {events.key.raw!r}; join it in a query"
    )


def _is_linked(profile: Profile, table: Table, column: Column, events: Events) -> bool:
    """Return whether a column and the key of the events are linked, in either direction or to a third table's key."""
    holder = events.through.rows.table if events.through else events.table
    ends = {(table.name, column.name), (holder.name, events.key.name)}
    direct = any({(link.table, link.column), (link.to_table, link.to_column)} == ends for link in profile.links)
    targets = [
        {(link.to_table, link.to_column) for link in profile.links if (link.table, link.column) == end} for end in ends
    ]
    return direct or (len(targets) == _SEVERAL and bool(targets[0] & targets[1]))
