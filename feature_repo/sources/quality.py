"""The types and faults of a source's rows, in SQL.

The SQL uses two relations. `raw` has the rows as ingested. `typed` has each declared column in its type (null if the value does
not fit), the two times, the reason why a time is null, and each column as it was ingested (see `as_ingested`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from core.contracts import LONGEST_KEY
from core.plan.rows.look_ups import JoinedColumn
from core.plan.times import ROWS_WITHOUT_TIME
from feature_repo.files.duck import SQL_TYPES, identifier, instant, literal
from feature_repo.files.exact import exact_or_null
from feature_repo.sources.parts import UNREAD
from feature_repo.sources.times import REASONS, SourceTime, date_value, instant_value, stated_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan.ingest import Column, QualityRules, Source, TimeColumn
_TIMES = frozenset({"date", "timestamp"})


class Fault(NamedTuple):
    """A fault that a row can have: the reason in words, and the SQL condition by which a row has it."""

    reason: str
    condition: str


def as_ingested(column: str) -> str:
    """Return the name in `typed` of a column as it was ingested; its blank distinguishes it from every column of a plan."""
    return identifier(f"raw {column}")


def _why(time: str) -> str:
    """Return the name of the column with the reason why a row has no `time`."""
    return identifier(f"why {time}")


def times_of(source: Source) -> dict[str, TimeColumn]:
    """Return the column that holds each of the platform's times, by the name of the time."""
    return dict(zip(("event_timestamp", "created_timestamp"), source.times, strict=False))


def typed_rows(source: Source, relation: str, found: Mapping[str, str]) -> str:
    """Compose the query of `typed` over the ingested rows in `relation`, whose columns have the DuckDB types `found`."""
    typed = _typed_columns(source, found)
    typed.setdefault("event_timestamp", instant(ROWS_WITHOUT_TIME))
    typed.setdefault("created_timestamp", typed["event_timestamp"])
    columns = [f"{sql} AS {identifier(name)}" for name, sql in typed.items()]
    before = [f"raw.{identifier(name)} AS {as_ingested(name)}" for name in source.columns]
    unread = f"{f'raw.{identifier(UNREAD)}' if UNREAD in found else 'NULL::VARCHAR'} AS {identifier(UNREAD)}"
    chosen = ", ".join(("raw.source_row", *columns, *before, unread))
    reasons = "".join(
        f", CASE WHEN {name} IS NULL THEN {replace(time, column=as_ingested(time.time.column)).reason} END AS {_why(name)}"
        for name, time in _source_times(source, found).items()
    )
    return f"SELECT *{reasons} FROM (SELECT {chosen} FROM {relation} AS raw) WHERE {_within(source)}"


def _typed_columns(source: Source, found: Mapping[str, str]) -> dict[str, str]:
    times = _source_times(source, found)
    typed = {
        name: typed_value(f"raw.{identifier(name)}", column, found[name]) for name, column in source.columns.items()
    }
    typed |= {time.time.column: time.value for time in times.values() if time.dtype in _TIMES}
    return typed | {name: time.instant for name, time in times.items()}


def typed_value(raw: str, column: Column, found: str) -> str:
    """Compose a value of a source's `column`, of the DuckDB type `found`, in its dtype; null if it does not fit."""
    if column.format or column.zone:
        return stated_value(raw, found, column)
    if column.dtype == "timestamp":
        return instant_value(raw, found)
    return date_value(raw) if column.dtype == "date" else exact_or_null(raw, found, column.dtype)


def _source_times(source: Source, found: Mapping[str, str]) -> dict[str, SourceTime]:
    """Return how each of the platform's times is read from `raw`, whose columns have the DuckDB types `found`."""
    return {
        name: SourceTime(time, f"raw.{identifier(time.column)}", found[time.column], source.columns[time.column].dtype)
        for name, time in times_of(source).items()
    }


def _within(source: Source) -> str:
    """Compose the condition that a row is in the extract; a row without a time is, so that it can be rejected."""
    if source.later_rows == "reject":
        return "true"
    observed = instant(source.observed_until)
    return f"coalesce(greatest(event_timestamp, created_timestamp) <= {observed}, true)"


def row_faults(source: Source, rules: QualityRules, key: str) -> Iterator[Fault]:
    """Yield the faults for which a row is rejected, except duplicates."""
    yield Fault("the line could not be read as a row", f"{identifier(UNREAD)} IS NOT NULL")
    for name in source.columns:
        if name not in rules.as_missing:
            yield from value_faults(source, rules, name)
    for name, time in times_of(source).items():
        yield from (Fault(f"{time.column}: {reason}", f"{_why(name)} = {literal(reason)}") for reason in REASONS)
    if source.event_time is not None and source.later_rows == "reject":
        observed = source.observed_until.isoformat()
        yield Fault(
            f"{source.event_time.column}: after observed_until {observed}",
            f"event_timestamp > TIMESTAMPTZ {literal(observed)}",
        )
    if source.columns[key].dtype == "string":
        yield Fault(
            f"{key}: of no character, or of more than the {LONGEST_KEY} that a key may have",
            f"length({identifier(key)}) NOT BETWEEN 1 AND {LONGEST_KEY}",
        )
    for name in dict.fromkeys((key, *(time.column for time in source.times[:1]), *rules.not_null)):
        yield Fault(f"{name}: null{_unless_joined(source, name)}", f"{as_ingested(name)} IS NULL")


def _unless_joined(source: Source, name: str) -> str:
    column = source.columns[name]
    return f", since the row has no match in {column.source}" if isinstance(column, JoinedColumn) else ""


def value_faults(source: Source, rules: QualityRules, name: str) -> Iterator[Fault]:
    """Yield the faults that a value of the column `name` can have; null has none."""
    column, dtype = identifier(name), source.columns[name].dtype
    if dtype not in _TIMES or name not in {time.column for time in times_of(source).values()}:  # these have reasons
        yield Fault(f"{name}: not a {dtype}", f"{as_ingested(name)} IS NOT NULL AND {column} IS NULL")
    if dtype == "string":
        yield Fault(f"{name}: has a NUL character, which PostgreSQL cannot hold", f"contains({column}, chr(0))")
    if name in rules.range:
        low, high = rules.range[name]
        shown = f"[{-math.inf if low is None else low:g}, {math.inf if high is None else high:g}]"
        yield Fault(f"{name}: outside {shown}", any_of(_beyond(column, dtype, low, high)))
        if dtype.startswith("float"):
            yield Fault(f"{name}: not a number", f"isnan({column})")
    if name in rules.allowed:
        allowed = rules.allowed[name]
        values = ", ".join(map(literal, allowed))
        yield Fault(f"{name}: not among {', '.join(allowed)}", f"CAST({column} AS VARCHAR) NOT IN ({values})")
    if name in rules.pattern:
        pattern = rules.pattern[name]
        yield Fault(f"{name}: does not match {pattern}", f"NOT regexp_full_match({column}, {literal(pattern)})")


def _beyond(column: str, dtype: str, low: float | None, high: float | None) -> Iterator[Fault]:
    """Yield a fault for each bound of a range, by which a number lies outside of it; an open end has none."""
    whole = not dtype.startswith("float")
    value = f"CAST({column} AS INTEGER)" if dtype == "bool" else column
    for end, sign, inner in ((low, "<", math.ceil), (high, ">", math.floor)):
        if end is not None and math.isfinite(end):
            bound = str(inner(end)) if whole else f"CAST({literal(repr(end))} AS {SQL_TYPES[dtype]})"
            yield Fault(f"{sign} {end}", f"{value} {sign} {bound}")


def any_of(faults: Iterator[Fault]) -> str:
    """Compose the condition that a row has one of `faults`; a condition that is NULL counts as false."""
    return " OR ".join(["false", *(f"coalesce({fault.condition}, false)" for fault in faults)])
