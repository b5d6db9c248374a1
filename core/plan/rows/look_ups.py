"""Look-ups: columns of other sources, which the stage `ingest` joins to the rows of a source by a key.

A row with event times may be joined to a source with event times only if it gets its own event time from that source: otherwise
the joined values could be later than the row.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.plan.ingest import Column, Source, TimeColumn
from core.plan.rows.look_up import LookUp
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan.plan import Plan

Finding = tuple[str, str]

_TIMES = ("event_time", "created_time")
_HOW_A_TIME_IS_READ = ("format", "at", "zone", "ambiguous")
_TEXT = re.compile(r"'(?:[^']|'')*'")


class JoinedColumn(Column):
    """A column that a look-up adds; it is not written in the plan."""

    look_up: str
    """Name of the look-up."""
    source: str
    """Source that the column comes from."""
    origin: str
    """Name of the column in that source."""


def own(source: Source) -> Source:
    """Return a source without the columns of look-ups."""
    return source.model_copy(update={"columns": _read(source)})


def _read(source: Source) -> dict[str, Column]:
    return {name: column for name, column in source.columns.items() if not isinstance(column, JoinedColumn)}


def joined_columns(source: Source) -> dict[str, dict[str, JoinedColumn]]:
    """Return the columns that each look-up of a source adds, by look-up and by their names."""
    return {
        look_up: {
            name: column
            for name, column in source.columns.items()
            if isinstance(column, JoinedColumn) and column.look_up == look_up
        }
        for look_up in source.join
    }


def with_look_ups(plan: Plan) -> Plan:
    """Return the plan with the columns of its look-ups; a look-up of an undeclared source adds none."""
    sources = {name: _with_columns(plan, source) for name, source in plan.ingest.items()}
    return plan.model_copy(update={"ingest": sources})


def _with_columns(plan: Plan, source: Source) -> Source:
    columns, look_ups = dict(source.columns), dict[str, LookUp]()
    entity = plan.entities.get(source.entity)
    for name, look_up in source.join.items():
        other = look_up.source or name
        look_ups[name] = look_up.model_copy(update={"source": other})
        if other in plan.ingest:
            brought = _brought(name, look_ups[name], plan.ingest[other], source.columns, entity.key if entity else "")
            columns |= {key: column for key, column in brought.items() if key not in columns}
    times = {}
    for key in _TIMES:
        time = getattr(source, key)
        if time is not None and time.through:
            times[key], needed = _through(plan, time, look_ups)
            columns |= {name: column for name, column in needed.items() if name not in columns}
    return source.model_copy(update={"columns": columns, "join": look_ups, **times})


def _brought(
    name: str, look_up: LookUp, other: Source, stated: Mapping[str, Column], entity_key: str
) -> dict[str, JoinedColumn]:
    """Return the columns that a look-up adds: those of the other source except the key."""
    return {
        column if column == entity_key and column not in stated else f"{name}_{column}": _joined(
            name, look_up, column, spec
        )
        for column, spec in own(other).ingested().columns.items()
        if column not in look_up.key.values()
    }


def _joined(name: str, look_up: LookUp, origin: str, spec: Column) -> JoinedColumn:
    """Return the column of a look-up; words for a missing value are replaced when the other source is read."""
    stated = {key: getattr(spec, key) for key in ("dtype", "unit", "meaning", "pii")}
    return JoinedColumn(look_up=name, source=look_up.source, origin=origin, **stated)


def _through(plan: Plan, time: TimeColumn, look_ups: dict[str, LookUp]) -> tuple[TimeColumn, dict[str, JoinedColumn]]:
    """Return a time that comes from another source as a column of this one, and that column; add its look-up to `look_ups`."""
    source, _, origin = str(time.through).partition(".")
    look_up = LookUp(source=source, key=time.key or {})
    name = next((name for name, each in look_ups.items() if each == look_up), source)
    there = own(plan.ingest[source]).ingested().columns if source in plan.ingest else {}
    if origin not in there or look_ups.get(name, look_up) != look_up:
        return time, {}
    look_ups[name] = look_up
    column = f"{name}_{origin}"
    stated = next((each for each in plan.ingest[source].times if each.column == origin), TimeColumn(column=column))
    read = {key: getattr(stated, key) for key in _HOW_A_TIME_IS_READ if key not in time.model_fields_set}
    brought = {column: _joined(name, look_up, origin, there[origin])}
    return time.model_copy(update={"column": column, **read}), brought


def look_up_findings(plan: Plan) -> Iterator[Finding]:
    """Yield the faults of look-ups: undeclared sources or columns, keys of different types, names that are taken."""
    for name, source in plan.ingest.items():
        path = f"ingest.{name}"
        for look_up, stated in source.join.items():
            yield from _key_findings(plan, f"{path}.join.{look_up}", source, stated)
        for key in _TIMES:
            time = getattr(source, key)
            if time is not None and not time.column:
                yield from _time_findings(plan, f"{path}.{key}", source, time)
        yield from _doubled(plan, path, source)
    yield from _dotted(plan)


def _key_findings(plan: Plan, path: str, source: Source, look_up: LookUp) -> Iterator[Finding]:
    if look_up.source not in plan.ingest:
        yield path, f"{look_up.source!r} is not a declared source; {allowed_here(look_up.source, list(plan.ingest))}"
        return
    other = plan.ingest[look_up.source]
    there = own(other).ingested().columns
    for mine, theirs in look_up.key.items():
        if mine not in source.columns:
            yield (
                f"{path}.key",
                f"{mine!r} is not a declared column of this source; {allowed_here(mine, list(source.columns))}",
            )
        if theirs not in there:
            yield (
                f"{path}.key",
                f"{theirs!r} is not a declared column of {look_up.source!r}; {allowed_here(theirs, list(there))}",
            )
        if mine in source.columns and theirs in there:
            yield from _unlike(path, mine, source.columns[mine], look_up.source, there[theirs])


def _unlike(path: str, name: str, mine: Column, source: str, theirs: Column) -> Iterator[Finding]:
    if mine.dtype != theirs.dtype:
        yield f"{path}.key", f"{name!r} is {mine.dtype}, the key of {source!r} is {theirs.dtype}; declare them alike"
    elif (mine.pii == "hash") != (theirs.pii == "hash"):
        yield (
            f"{path}.key",
            f"one of {name!r} and the key of {source!r} is hashed, so no row matches; hash both or none",
        )


def _time_findings(plan: Plan, path: str, source: Source, time: TimeColumn) -> Iterator[Finding]:
    """Yield why a time that comes from another source cannot be found."""
    name, _, column = str(time.through).partition(".")
    if name not in plan.ingest:
        yield f"{path}.through", f"{name!r} is not a declared source; {allowed_here(name, list(plan.ingest))}"
    elif column not in plan.ingest[name].columns:
        known = list(plan.ingest[name].columns)
        yield f"{path}.through", f"{column!r} is not a declared column of {name!r}; {allowed_here(column, known)}"
    elif name in source.join:
        yield f"{path}.key", f"join looks {name!r} up by another key; write the same, or give the look-up another name"


def _doubled(plan: Plan, path: str, source: Source) -> Iterator[Finding]:
    """Yield a finding for each look-up that would add a column whose name is taken."""
    for look_up, stated in source.join.items():
        if stated.source in plan.ingest:
            brought = _brought(look_up, stated, plan.ingest[stated.source], _read(source), "")
            for name in brought.keys() & source.columns.keys():
                column = source.columns[name]
                if not (isinstance(column, JoinedColumn) and column.look_up == look_up):
                    yield f"{path}.join.{look_up}", f"it brings {name!r}, which is another column; give it another name"


def timed_look_up_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each look-up of a source with times whose values may be later than the row."""
    for name, source in plan.ingest.items():
        time = source.columns.get(source.event_time.column) if source.event_time else None
        for look_up, columns in joined_columns(source).items():
            other = plan.ingest[source.join[look_up].source]
            if other.event_time is None or {*columns.values()} <= {time}:
                continue
            if isinstance(time, JoinedColumn) and (time.look_up, time.origin) == (look_up, other.event_time.column):
                if other.created_time is not None and source.created_time is None:
                    yield (
                        f"ingest.{name}.created_time",
                        (
                            f"{time.source!r} has created_time, and the rows are known no earlier; add "
                            f"{{through: {time.source}.{other.created_time.column}, key: ...}}"
                        ),
                    )
                continue
            yield (
                f"ingest.{name}.join.{look_up}",
                (
                    f"{source.join[look_up].source!r} has event_time, so its values may be later than the rows that they would "
                    "be joined to; take its event_time out if they hold at any time, or let the rows have their event_time "
                    f"through {source.join[look_up].source}.{other.event_time.column}"
                ),
            )


def _dotted(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for SQL that names a joined column as `look_up.column`."""
    for path, sql, name in _expressions(plan):
        for look_up in plan.ingest[name].join if name in plan.ingest else ():
            for column in re.findall(rf"\b{look_up}\.(\w+)", _TEXT.sub("''", sql)):
                yield path, f"the column {column!r} of {look_up!r} is called {look_up}_{column} in the rows of {name!r}"


def _expressions(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for name, view in plan.build_features.views.items():
        for key, feature in view.features.items():
            if feature.over != "features":
                yield f"build_features.views.{name}.features.{key}.sql", feature.sql, feature.source or view.source
    yield "label.population", plan.label.population, plan.label.source
    yield plan.label.path, plan.label.value, plan.label.source
