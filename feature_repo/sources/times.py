"""The times of a source's rows, in SQL: texts, dates, timestamps and numbers become instants, or a reason why there is none.

A time without a zone is in the column's `zone`; a number since 1970 is an instant already. Digits finer than a microsecond are
truncated. The SQL calls the functions of `feature_repo.files.local_times`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from core.plan.ingest import TimeColumn
from core.plan.times import UNIX_FORMATS, YEARS
from feature_repo.files.duck import literal
from feature_repo.files.local_times import EXISTS_NEVER, EXISTS_TWICE, UNKNOWN_ZONE

if TYPE_CHECKING:
    from core.plan.ingest import Column

_NO_TIME = "no time that can be placed (a time zone is missing, or the format is another)"
_OF_ANOTHER_TYPE = (
    "a number or something else that is no time; a number since 1970 needs a format: unix, unix_ms, unix_us or unix_ns"
)
_OUTSIDE = f"outside the years {YEARS.start} to {YEARS.stop - 1}"
#: All reasons why a row has no time.
REASONS = (_NO_TIME, _OF_ANOTHER_TYPE, _OUTSIDE, UNKNOWN_ZONE, EXISTS_TWICE, EXISTS_NEVER)

#: The two usual forms of a text, which are read without looking for parts.
_PLACED = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-](0\d|1[0-5]):[0-5]\d)$"
_LOCAL = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?$"
_DAY = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
_CLOCK = r"[Tt\s]\s*\d{1,2}:\d\d(?::\d\d(?:\.\d*)?)?"
_LOCAL_PART = rf"^\s*({_DAY}(?:{_CLOCK})?)"
_ZONE_PART = rf"^\s*{_DAY}(?:{_CLOCK})?\s*(.*?)\s*$"
_WITH_CLOCK = rf"^\s*{_DAY}{_CLOCK}"
#: What a format may end in to say the zone: a directive, or the zone itself.
_SAID_BY_FORMAT = re.compile(r"(?:^|[^%])(?:%%)*(%z|%Z|Z|UTC|GMT|[+-]\d\d:?\d\d)$")
_WORD_OR_OFFSET = r"^(.*?)\s*([A-Za-z]\S*|[+-]\d[\d:]*)\s*$"

_PLACED_TYPES = frozenset({"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"})
#: The years that Python knows.
_FIRST, _LAST = "0001-01-01", "9999-12-31 23:59:59.999999"


@dataclass(frozen=True)
class _Text:
    """A parsed text, in SQL: its local time (a TIMESTAMP), its zone (empty if it has none), and whether it is only a date."""

    local: str
    said: str = "''"
    is_date: str = "false"


@dataclass(frozen=True)
class SourceTime:
    """A column of times of a source.

    Attributes
    ----------
    time : its declaration in the plan.
    column : its SQL expression.
    found : its DuckDB type.
    dtype : its type in the plan.

    """

    time: TimeColumn
    column: str
    found: str
    dtype: str

    @property
    def instant(self) -> str:
        """The instant, in SQL; null where there is none within the years of the platform."""
        return _between(self._instant(), f"{YEARS.start}-01-01", f"{YEARS.stop - 1}-12-31 23:59:59.999999")

    @property
    def value(self) -> str:
        """The value of the column in its dtype, in SQL: the instant, or the date in the column's zone."""
        return f"CAST({self._local()} AS DATE)" if self.dtype == "date" else self.instant

    @property
    def reason(self) -> str:
        """The reason why there is no instant, in SQL; one of `REASONS`."""
        if self._unix_format:
            return (
                f"CASE WHEN {_unix_number(self.column)} IS NULL THEN {literal(_NO_TIME)} ELSE {literal(_OUTSIDE)} END"
            )
        if self.found in _PLACED_TYPES:
            return literal(_OUTSIDE)
        if not (self._is_text or self.found == "DATE" or self.found.startswith("TIMESTAMP")):
            return literal(_OF_ANOTHER_TYPE)
        text, zone = self._text(), literal(self.time.zone or "")
        why = f"why_not_placed({text.local}, coalesce(nullif({text.said}, ''), nullif({zone}, '')))"
        outside = f"CASE WHEN {self._instant()} IS NOT NULL THEN {literal(_OUTSIDE)} END"
        return f"coalesce({why}, {outside}, {literal(_NO_TIME)})"

    @property
    def _unix_format(self) -> str | None:
        """The format of a column of numbers since 1970; None of others."""
        return self.time.format if self.time.format in UNIX_FORMATS else None

    @property
    def _is_text(self) -> bool:
        return self.found == "VARCHAR" or self.found.startswith("ENUM")

    @property
    def _zone(self) -> str:
        return self.time.zone or "UTC"

    def _instant(self) -> str:
        if self.dtype == "date":
            return self._bound_of_day(self._local())
        if placed := self._as_placed():
            return placed
        text = self._text()
        unsaid = self._unsaid(text.local, text.is_date)
        if text.said == "''":
            return unsaid
        general = f"CASE WHEN {text.said} <> '' THEN {self._said(text)} ELSE {unsaid} END"
        if self.time.format is not None:
            return general
        return f"""CASE WHEN {self._matches(_PLACED)} THEN TRY_CAST({self.column} AS TIMESTAMPTZ)
            WHEN {self._matches(_LOCAL)} THEN {self._unsaid(f"TRY_CAST({self.column} AS TIMESTAMP)", "false")}
            ELSE {general} END"""

    def _as_placed(self) -> str | None:
        """Compose the value of a column whose values are instants; None for others."""
        if self._unix_format:
            return unix_instant(self.column, self._unix_format)
        return in_microseconds(self.column, self.found) if self.found in _PLACED_TYPES else None

    def _unsaid(self, local: str, is_date: str) -> str:
        """Compose the instant of a local time without a zone: in the declared zone; else of a date, or null."""
        placed = self._placed(local, literal(self._zone)) if self.time.zone else "NULL"
        if is_date == "false":
            return placed
        day = self._bound_of_day(local)
        return day if is_date == "true" else f"CASE WHEN {is_date} THEN {day} ELSE {placed} END"

    def _said(self, text: _Text) -> str:
        return self._placed(text.local, text.said)

    def _placed(self, local: str, zone: str) -> str:
        if zone == "'UTC'":
            return f"timezone('UTC', {local})"
        return f"timezone('UTC', place_local({local}, {zone}, {literal(self.time.ambiguous)}))"

    def _local(self) -> str:
        """Compose the local time; that of an instant is in the column's zone."""
        zone = literal(self._zone)
        if placed := self._as_placed():
            return f"timezone({zone}, {placed})"
        text = self._text()
        if text.said == "''":
            return text.local
        general = f"CASE WHEN {text.said} <> '' THEN timezone({zone}, {self._said(text)}) ELSE {text.local} END"
        if self.time.format is not None:
            return general
        return f"CASE WHEN {self._matches(f'^{_DAY}$')} THEN TRY_CAST({self.column} AS TIMESTAMP) ELSE {general} END"

    def _bound_of_day(self, local: str) -> str:
        """Compose the first or last instant of a local day; null where the zone skipped that day."""
        day, next_day = f"date_trunc('day', {local})", f"date_trunc('day', {local}) + INTERVAL 1 DAY"
        first = f"timezone('UTC', {self._first(day)})"
        if self.time.at == "start_of_day":
            return first
        last = f"timezone('UTC', {self._first(next_day)}) - INTERVAL 1 MICROSECOND"
        return f"({last})" if self._zone == "UTC" else f"CASE WHEN {first} IS NOT NULL THEN {last} END"

    def _first(self, day: str) -> str:
        return f"({day})" if self._zone == "UTC" else f"first_of_day({day}, {literal(self._zone)})"

    def _text(self) -> _Text:
        """Return the parsed text; a date or timestamp without a zone is treated as a text without one."""
        if not self._is_text:
            return _Text(in_microseconds(self.column, self.found), is_date=str(self.found == "DATE").lower())
        return _iso(self.column) if self.time.format is None else _formatted(self.column, self.time.format)

    def _matches(self, pattern: str) -> str:
        return f"regexp_matches({self.column}, {literal(pattern)})"


def instant_value(column: str, found: str) -> str:
    """Compose a value as an instant; a value without a zone is UTC."""
    if found in _PLACED_TYPES:
        placed = in_microseconds(column, found)
    elif found == "VARCHAR":
        text = _iso(column)
        placed = f"""CASE WHEN regexp_matches({column}, {literal(_PLACED)}) THEN TRY_CAST({column} AS TIMESTAMPTZ)
            ELSE timezone('UTC', place_local({text.local}, coalesce(nullif({text.said}, ''), 'UTC'), 'reject')) END"""
    else:
        placed = f"timezone('UTC', {in_microseconds(column, found)})"
    return _between(placed, _FIRST, _LAST)


def stated_value(raw: str, found: str, column: Column) -> str:
    """Compose a value of the DuckDB type `found` by the format and zone that its column states."""
    if "INT" in found:  # 20240131
        raw, found = f"CAST({raw} AS VARCHAR)", "VARCHAR"
    time = TimeColumn(column="stated", format=column.format, zone=column.zone or "UTC")
    return SourceTime(time, raw, found, column.dtype).value


def unix_instant(column: str, form: str) -> str:
    """Compose a number since 1970 in UTC, or its text, as an instant; null for others and outside of Python's years."""
    number = f"floor({_unix_number(column)} * {Decimal(10**6) / UNIX_FORMATS[form]})"  # in microseconds
    first, last = (f"epoch_us(TIMESTAMP {literal(bound)})" for bound in (_FIRST, _LAST))
    return f"CASE WHEN {number} BETWEEN {first} AND {last} THEN make_timestamptz(CAST({number} AS BIGINT)) END"


def _unix_number(column: str) -> str:
    # By its text, which keeps all digits of a float, and is of no other type.
    return f"TRY_CAST(CAST({column} AS VARCHAR) AS DECIMAL(28, 9))"


def date_value(column: str) -> str:
    """Compose a value as a date."""
    date = f"TRY_CAST({column} AS DATE)"
    return f"CASE WHEN {date} BETWEEN DATE {literal(_FIRST)} AND DATE {literal(_LAST[:10])} THEN {date} END"


def in_microseconds(column: str, found: str) -> str:
    """Compose a timestamp in microseconds; finer digits are truncated, where a cast would round."""
    if found in {"TIMESTAMP_NS", "TIMESTAMPTZ_NS"}:
        nanoseconds = f"epoch_ns(CAST({column} AS TIMESTAMP_NS))"
        whole = f"make_timestamp(({nanoseconds} - ({nanoseconds} % 1000 + 1000) % 1000) // 1000)"
        return whole if found == "TIMESTAMP_NS" else f"timezone('UTC', {whole})"
    kind = "TIMESTAMPTZ" if found == "TIMESTAMP WITH TIME ZONE" else "TIMESTAMP"
    return f"TRY_CAST({column} AS {kind})"


def _between(instant: str, first: str, last: str) -> str:
    return (
        f"CASE WHEN {instant} BETWEEN TIMESTAMPTZ {literal(first)} AND TIMESTAMPTZ {literal(last)} THEN {instant} END"
    )


def _iso(column: str) -> _Text:
    local = f"TRY_CAST(upper(regexp_extract({column}, {literal(_LOCAL_PART)}, 1)) AS TIMESTAMP)"
    said = f"regexp_extract({column}, {literal(_ZONE_PART)}, 1)"
    return _Text(local, said, f"NOT regexp_matches({column}, {literal(_WITH_CLOCK)})")


def _formatted(column: str, form: str) -> _Text:
    found = _SAID_BY_FORMAT.search(form)
    if found is None:
        return _Text(_parsed(column, form), "'Z'" if "%z" in form else "''")
    if found[1] not in {"%z", "%Z"}:
        return _Text(_parsed(column, form), literal(found[1]))
    local, said = (f"regexp_extract({column}, {literal(_WORD_OR_OFFSET)}, {group})" for group in (1, 2))
    return _Text(_parsed(local, form[: found.start(1)].rstrip()), said)


def _parsed(text: str, form: str) -> str:
    parsed = f"try_strptime({text}, {literal(form)})"
    if "%n" in form:
        return in_microseconds(parsed, "TIMESTAMP_NS")
    return f"timezone('UTC', {parsed})" if "%z" in form else parsed
