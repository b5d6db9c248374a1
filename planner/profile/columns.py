"""Profile the columns of a table: kinds, missing values, distinct values, quantiles, frequent values, times, personal data.

The kind of a column is decided by all rows. Texts are read as the plan will read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.plan.ingest import TextTable
from feature_repo.files.duck import identifier, literal
from planner.profile.column import Column, column_value, plain_number, time_value
from planner.profile.measured import measured
from planner.profile.patterns import (
    MISSING_MARKS,
    MISSING_WORDS,
    PERSONAL,
    POSTAL_NAME,
    TIME_FORMS,
    TRUTH_WORDS,
    Personal,
    unix_form,
)
from planner.profile.sentinels import without_sentinel
from planner.profile.texts import LONG, column_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import duckdb

    from planner.profile.column import Kind
    from planner.profile.patterns import TimeForm
    from planner.profile.tables import Loaded
    from planner.profile.texts import Texts

#: Columns of one statement, which bounds its memory and its text.
_COLUMNS_AT_ONCE = 50
_WIDE = 150
#: Values by which a kind is proposed; all rows then confirm or refuse it.
_SAMPLE = 1000
#: Share of the values that must be of a kind for the others to be faults.
_MOSTLY = 0.98
#: Share of the values that must be numbers for words among them to be missing values.
_MANY = 0.7
#: Rows of a long table by which columns of words are found, and values among them that are enough for it.
_PART, _ENOUGH = 20_000, 200
_FRACTION = re.compile(r"[+-]?\d*\.\d*[1-9]\d*")
_WHOLE_TEXT = re.compile(r"[+-]?\d[\d.,' ]*")
_FEW_WORDS = 3
#: Mean length, and mean number of words, from which on a string is free text.
_TEXT_LENGTH, _TEXT_WORDS = 25, 4
#: Share of the values that must be personal data of a kind; if the name tells it too, half of them are enough.
_PERSONAL_SHARE, _NAMED_SHARE = 0.9, 0.5
_WHOLE = frozenset(
    {*(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")), "INTEGER", "UINTEGER"}
)
_FRACTIONS = ("DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UHUGEINT")


def profile_columns(connection: duckdb.DuckDBPyConnection, table: Loaded) -> list[Column]:
    """Return the profile of each column of a table, in their order."""
    names = list(table.types)
    found: list[Column] = []
    for start in range(0, len(names), _COLUMNS_AT_ONCE):
        chosen = names[start : start + _COLUMNS_AT_ONCE]
        found += _profiled(connection, _narrow(connection, table, chosen), chosen)
    return found


def _narrow(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> Loaded:
    """Return the table, or a copy with some columns of a wide one, since DuckDB binds all columns in each query."""
    if len(table.types) <= _WIDE:
        return table
    narrow = replace(table, name="some columns")
    chosen = ", ".join(map(identifier, names))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {narrow.relation} AS SELECT {chosen} FROM {table.relation}")
    return narrow


def _profiled(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> Iterator[Column]:
    counts, samples = _counted(connection, table, names), _sampled(connection, table, names)
    for name in names:
        column = Column(name, table.raw[name], table.types[name], "empty", table.rows, distinct=counts[name].distinct)
        texts = column_texts(connection, table, column)
        known = _known(connection, table, column, texts, counts[name], samples[name])
        if known.kind == "integer" and POSTAL_NAME.search(name):
            known = replace(known, kind="string")
        known = without_sentinel(connection, table, measured(connection, table, known, texts), texts)
        known = _as_unix_time(connection, table, known, texts)
        yield _with_person(known, samples[name])


def _as_unix_time(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts) -> Column:
    """Return a column of numbers as times if by its name and its range they are times since 1970."""
    if not column.is_numeric or column.smallest is None or column.largest is None:
        return column
    form = unix_form(column.name, float(column.smallest), float(column.largest))
    if form is None:
        return column
    times = replace(column, kind="timestamp", forms=(form,), has_zone=True, mean=None, quantiles=())
    return measured(connection, table, times, texts)


@dataclass(frozen=True)
class _Counts:
    """The counts of a column over all rows.

    Attributes
    ----------
    values, marks : values, and those that may mean a missing value.
    numbers, plain : values that are numbers, and those that the plan certainly reads as numbers; 0 in a column of words.
    zeros : texts that begin with a zero and another digit.
    distinct : distinct values, estimated.

    """

    values: int
    marks: int
    numbers: int
    plain: int
    zeros: int
    distinct: int


def _counted(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> dict[str, _Counts]:
    """Return the counts of all columns; in a long table, numbers are not counted in columns of words.

    A cast that fails takes ten times as long as one that succeeds.
    """
    if table.rows < LONG:
        return _counted_all(connection, table, names)
    part = _counted_all(connection, _random_rows(connection, table, names), names)
    return _counted_all(connection, table, names, {name for name, counts in part.items() if _is_wordy(counts)})


def _random_rows(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> Loaded:
    part = replace(table, name="random rows", rows=_PART)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {part.relation} AS SELECT {', '.join(map(identifier, names))} "
        f"FROM {table.relation} WHERE hash(rowid) % {table.rows // _PART} = 0"
    )
    return part


def _is_wordy(part: _Counts) -> bool:
    """Return whether by the counts over random rows, far too few values of the column are numbers."""
    values = part.values - part.marks
    return values >= _ENOUGH and part.numbers < values * _MANY / 2


def _counted_all(
    connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str], wordy: Collection[str] = ()
) -> dict[str, _Counts]:
    texts = [name for name in names if table.rows < LONG and table.types[name] == "VARCHAR"]
    found = _counted_texts(connection, table, texts) if texts else {}
    others = [name for name in names if name not in found]
    chosen = [sql for name in others for sql in _counts(table, name, is_wordy=name in wordy)]
    (row,) = connection.execute(f"SELECT {', '.join(chosen)} FROM {table.relation}").fetchall() if chosen else [()]
    width = len(chosen) // max(1, len(others))
    parts = [row[place * width : (place + 1) * width] for place in range(len(others))]
    return found | {name: _Counts(*map(int, values)) for name, values in zip(others, parts, strict=True)}


def _counted_texts(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> dict[str, _Counts]:
    """Return the counts of columns of texts by one set of aggregates; to plan one set per column costs more than to run it."""
    rows = connection.execute(
        f"""SELECT name, {", ".join(_text_counts(table, "value", is_wordy=False))}
            FROM (UNPIVOT (SELECT {", ".join(map(identifier, names))} FROM {table.relation})
                  ON COLUMNS(*) INTO NAME name VALUE value) GROUP BY name"""
    ).fetchall()
    counts = {str(name): _Counts(*map(int, values)) for name, *values in rows}
    return {name: counts.get(name, _Counts(0, 0, 0, 0, 0, 0)) for name in names}


def _counts(table: Loaded, name: str, *, is_wordy: bool) -> list[str]:
    """Compose the aggregates of `_Counts` for a column."""
    column = identifier(name)
    if table.types[name] != "VARCHAR":
        return [f"count({column})", "0", "0", "0", "0", f"approx_count_distinct({column})"]
    return _text_counts(table, column, is_wordy=is_wordy)


def _text_counts(table: Loaded, column: str, *, is_wordy: bool) -> list[str]:
    text = plain_number(column, table)
    number = f"TRY_CAST({text} AS DOUBLE)"
    # The plan refuses underscores, and whole numbers that a float cannot hold.
    plain = f"{number} IS NOT NULL AND NOT contains({column}, '_') AND (contains({text}, '.') OR abs({number}) < 1e15)"
    return [
        f"count({column})",
        _rows_where(table, f"{column} IN ({', '.join(map(literal, MISSING_MARKS))})"),
        *(("0", "0") if is_wordy else (f"count({number})", f"count(*) FILTER ({plain})")),
        _rows_where(table, f"{column} >= '00' AND {column} < '0:'"),
        f"approx_count_distinct({column})",
    ]


def _rows_where(table: Loaded, condition: str) -> str:
    """Compose the SQL of the number of rows that fulfil a condition; in a long table, the scan itself filters faster."""
    if table.rows < LONG:
        return f"count(*) FILTER ({condition})"
    return f"(SELECT count(*) FROM {table.relation} WHERE {condition})"


def _sampled(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> dict[str, list[str]]:
    """Return a sample of each column's values as text, from rows at equal distances."""
    step = max(1, table.rows // _SAMPLE)
    chosen = ", ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in names)
    rows = connection.execute(
        f"SELECT {chosen} FROM {table.relation} WHERE rowid % {step} = 0 LIMIT {_SAMPLE}"
    ).fetchall()
    return {name: [row[place] for row in rows if row[place] is not None] for place, name in enumerate(names)}


def _known(
    connection: duckdb.DuckDBPyConnection,
    table: Loaded,
    column: Column,
    texts: Texts,
    counts: _Counts,
    sample: Sequence[str],
) -> Column:
    """Return the column with its kind, its missing values and its faults."""
    length = sum(map(len, sample)) / max(1, len(sample))
    column = replace(column, mean_length=length, leading_zeros=counts.zeros)
    column = replace(column, nulls=table.rows - counts.values)
    if not counts.values:
        return replace(column, distinct=0, is_exact=True)
    if column.found != "VARCHAR":
        return replace(column, kind=_kind_of_type(column.found))
    for proposed in _proposals(table, column, counts, sample):
        if proposed.kind == "number" and counts.plain == counts.values:
            return proposed
        if checked := _confirmed(connection, table, proposed, texts):
            return checked
    words = () if _are_codes(sample) else MISSING_WORDS
    has_marks = counts.marks or any(value.strip() in MISSING_WORDS for value in sample)
    missing = _marks(connection, column, texts, words) if has_marks else {}
    is_text = length >= _TEXT_LENGTH and sum(value.count(" ") for value in sample) >= (_TEXT_WORDS - 1) * len(sample)
    column = replace(column, missing=missing, nulls=column.nulls + sum(missing.values()))
    return replace(column, kind="empty" if not column.values else "text" if is_text else "string")


def _are_codes(sample: Sequence[str]) -> bool:
    """Return whether the values are codes of two capitals, so that NA is a value (Namibia, North America)."""
    others = {value for value in sample if value not in MISSING_MARKS}
    return len(others) > _FEW_WORDS and all(len(value) == 2 and value.isupper() for value in others)  # noqa: PLR2004


def _kind_of_type(found: str) -> Kind:
    if found in _WHOLE:
        return "integer"
    if found.startswith(_FRACTIONS):
        return "number"
    if found == "BOOLEAN":
        return "bool"
    if found.startswith("TIMESTAMP"):
        return "timestamp"
    return "date" if found == "DATE" else "string"


def _proposals(table: Loaded, column: Column, counts: _Counts, sample: Sequence[str]) -> Iterator[Column]:
    """Yield the column in each kind that most of its sampled values may have."""
    values = [value.strip() for value in sample if value.strip() not in MISSING_MARKS]
    if forms := _forms(values):
        kind: Kind = "timestamp" if forms[0].has_clock else "date"
        has_zone = forms[0].is_iso and all(value.endswith(("Z", "UTC")) or _has_offset(value) for value in values)
        yield replace(column, kind=kind, forms=tuple(form.format for form in forms), has_zone=has_zone)
    pair = _truth_pair(values)
    if pair and column.distinct <= len(MISSING_MARKS):
        yield replace(column, kind="bool", truth=pair)
    if counts.numbers >= (counts.values - counts.marks) * _MANY and counts.numbers and not counts.zeros:
        words = {value for value in values if value.isalpha() or not any(map(str.isdigit, value))}
        numbers = [value for value in values if value not in words] if len(words) <= _FEW_WORDS else values
        if all(map(_WHOLE_TEXT.fullmatch, numbers)) and not any(_is_fraction(table, value) for value in values):
            yield replace(column, kind="integer")
        yield replace(column, kind="number")


def _is_fraction(table: Loaded, value: str) -> bool:
    """Return whether a text is a number with decimals other than zero, which no integer column may have."""
    if isinstance(table.reader, TextTable):
        value = value.replace(table.reader.thousands, "") if table.reader.thousands else value
        value = value.replace(table.reader.decimal, ".")
    return _FRACTION.fullmatch(value) is not None


def _has_offset(value: str) -> bool:
    return len(value) > 16 and any(mark in value[16:] for mark in "+-")  # noqa: PLR2004 - beyond the minutes


def _forms(values: Sequence[str]) -> list[TimeForm]:
    """Return the formats of times whose pattern fits all sampled values."""
    if not values:
        return []
    return [form for form in TIME_FORMS if all(form.pattern.fullmatch(value) for value in values)]


def _truth_pair(values: Sequence[str]) -> tuple[str, str] | None:
    """Return the words for true and false, as written; None unless the column has exactly these two."""
    distinct = sorted(set(values))
    if len(distinct) != 2:  # noqa: PLR2004
        return None
    for pair in TRUTH_WORDS:
        by_word = {value.lower(): value for value in distinct}
        if set(pair) == set(by_word):
            return by_word[pair[0]], by_word[pair[1]]
    return None


def _confirmed(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts) -> Column | None:
    """Return the column if all its values are of its kind except words for missing values and few faults; else None."""
    if len(column.forms) > 1:
        column = replace(column, forms=_by_fit(connection, column, texts))
    missing, others = _misfits(connection, table, column, texts)
    values = column.values - sum(missing.values())
    faults = sum(others.values())
    if values <= 0 or faults > values * (1 - _MOSTLY):
        return None
    if column.kind in {"integer", "bool"} and faults:
        return None
    return replace(column, missing=missing, nulls=column.nulls + sum(missing.values()), faults=faults)


def _misfits(
    connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, texts: Texts
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of values that are not of the column's kind: words for a missing value, and other values."""
    value, raw = column_value(table, column), identifier(column.name)
    rows = connection.execute(
        f"SELECT trim({raw}), {texts.rows} FROM {texts.relation} WHERE {raw} IS NOT NULL AND {value} IS NULL "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000"
    ).fetchall()
    missing = {str(text): int(count) for text, count in rows if text in MISSING_MARKS or text == ""}
    others = {str(text): int(count) for text, count in rows if text not in missing}
    if len(rows) == 1000:  # noqa: PLR2004 - the limit
        others[""] = table.rows
    if 0 < len(others) <= _FEW_WORDS and column.is_numeric and all(any(map(str.isalpha, text)) for text in others):
        frequent = {text: count for text, count in others.items() if count >= _FEW_WORDS}
        missing |= frequent
        others = {text: count for text, count in others.items() if text not in frequent}
    return missing, others


def _marks(connection: duckdb.DuckDBPyConnection, column: Column, texts: Texts, words: Sequence[str]) -> dict[str, int]:
    if not words:
        return {}
    raw = identifier(column.name)
    rows = connection.execute(
        f"SELECT trim({raw}), {texts.rows} FROM {texts.relation} WHERE trim({raw}) IN ({', '.join(map(literal, words))}) "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {str(text): int(count) for text, count in rows}


def _by_fit(connection: duckdb.DuckDBPyConnection, column: Column, texts: Texts) -> tuple[str, ...]:
    """Return the formats that fit the most values; among equals, the one with the shorter range of times comes first."""
    chosen: list[str] = []
    for form in column.forms:
        value = time_value(identifier(column.name), form)
        chosen.append(
            f"{texts.rows_with(f'{value} IS NOT NULL')}, coalesce(date_diff('day', min({value}), max({value})), 0)"
        )
    (row,) = connection.execute(f"SELECT {', '.join(chosen)} FROM {texts.relation}").fetchall()
    fits = [(row[2 * place], row[2 * place + 1], form) for place, form in enumerate(column.forms)]
    most = max(count for count, _, _ in fits)
    return tuple(form for count, _, form in sorted(fits, key=lambda one: one[1]) if count == most)


def _with_person(column: Column, sample: Sequence[str]) -> Column:
    """Return the column with the kind of personal data that its name and its values indicate."""
    values = [value for value in sample if value not in MISSING_MARKS]
    for person in PERSONAL:
        is_named = person.named.search(column.name) is not None
        share = _share(person, column, values, is_named=is_named)
        if share is not None and share >= (_NAMED_SHARE if is_named and not person.needs_name else _PERSONAL_SHARE):
            return replace(column, personal=person.kind, treatment=person.treatment, personal_share=share)
        if is_named and person.fits is None and column.kind != "bool":
            return replace(column, personal=person.kind, treatment=person.treatment)
    return column


def _share(person: Personal, column: Column, values: Sequence[str], *, is_named: bool) -> float | None:
    """Return the share of values that match a kind of personal data; for numbers, the name must match too.

    It is None where it cannot reach `_PERSONAL_SHARE`: after so many misfits, the other values are not tried.
    """
    if person.fits is None or not values or column.is_time or column.kind == "bool":
        return None
    if not is_named and (column.is_numeric or person.needs_name):
        return None
    tolerated, misfits = len(values) * (1 - _PERSONAL_SHARE), 0
    for value in values:
        misfits += not person.fits(value)
        if misfits > tolerated:
            return None
    return 1 - misfits / len(values)
