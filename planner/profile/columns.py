"""Profile the columns of a table: kinds, missing values, distinct values, quantiles, frequent values, times, personal data.

The kind of a column is decided by all rows. Texts are read as the plan will read them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from core.plan.ingest import Column as PlanColumn
from core.plan.ingest import TextTable
from feature_repo.files.duck import identifier, literal
from feature_repo.files.exact import exact_or_null
from feature_repo.sources.tokens import meant_value
from planner.profile.patterns import MISSING_MARKS, MISSING_WORDS, PERSONAL, TIME_FORMS, TRUTH_WORDS, Personal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from planner.profile.patterns import TimeForm
    from planner.profile.tables import Loaded

Kind = Literal["integer", "number", "bool", "date", "timestamp", "string", "text", "empty"]

#: Columns of one statement, which bounds its memory and its text.
_COLUMNS_AT_ONCE = 50
_WIDE = 150
#: Values by which a kind is proposed; all rows then confirm or refuse it.
_SAMPLE = 1000
#: From so many rows on, quantiles and frequent values are of every n-th row, about so many.
_MOST_ROWS = 2_000_000
#: Share of the values that must be of a kind for the others to be faults.
_MOSTLY = 0.98
#: Share of the values that must be numbers for words among them to be missing values.
_MANY = 0.7
_WHOLE_TEXT = re.compile(r"[+-]?\d[\d.,' ]*")
_FEW_WORDS = 3
#: Distinct values up to which a column is grouped exactly.
_GROUPED = 20_000
_TOPS = 10
#: Estimates of distinct values are off by some percent.
_NEARLY = 0.9
_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
#: Mean length, and mean number of words, from which on a string is free text.
_TEXT_LENGTH, _TEXT_WORDS = 25, 4
_PERSONAL_SHARE = 0.9


@dataclass(frozen=True)
class Column:
    """The profile of a column.

    Attributes
    ----------
    name, raw : its name in the plan, and in the file.
    found : DuckDB's type.
    nulls : the number of rows without a value, including words for a missing value.
    missing : the words for a missing value, with the number of rows of each.
    faults : the number of values that are not of the kind.
    distinct : the number of distinct values, exact if `is_exact`.
    smallest, largest : the minimum and the maximum, as text.
    quantiles : of numbers, at 0, 1, 5, 25, 50, 75, 95, 99 and 100 %.
    top : the most frequent values with their numbers of rows.
    leading_zeros : the number of values that are digits beginning with a zero.
    forms : the formats of times that fit all values, the most likely first.
    truth : the words for true and false.
    has_zone : whether every time states its zone.
    personal : the kind of personal data, and the share of values that match it; NaN if only the name matches.

    """

    name: str
    raw: str
    found: str
    kind: Kind
    rows: int
    nulls: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    faults: int = 0
    distinct: int = 0
    is_exact: bool = False
    smallest: str | None = None
    largest: str | None = None
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    leading_zeros: int = 0
    mean_length: float = 0.0
    forms: tuple[str, ...] = ()
    truth: tuple[str, str] | None = None
    has_zone: bool = False
    personal: str | None = None
    treatment: str | None = None
    personal_share: float | None = None

    @property
    def values(self) -> int:
        """The number of rows with a value."""
        return self.rows - self.nulls

    @property
    def is_constant(self) -> bool:
        """Whether all rows have the same value."""
        return self.distinct <= 1

    @property
    def is_unique(self) -> bool:
        """Whether no value is missing and all values differ."""
        return self.rows > 0 and self.is_exact and not self.nulls and self.distinct == self.rows

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.kind in {"integer", "number"}

    @property
    def is_time(self) -> bool:
        """Whether its values are dates or times."""
        return self.kind in {"date", "timestamp"}

    @property
    def dtype(self) -> str:
        """The dtype that the plan declares."""
        return _DTYPES[self.kind]


_DTYPES: Mapping[str, str] = {
    "integer": "int64",
    "number": "float64",
    "bool": "bool",
    "date": "date",
    "timestamp": "timestamp",
    "string": "string",
    "text": "string",
    "empty": "string",
}
_WHOLE = frozenset(
    {*(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")), "INTEGER", "UINTEGER"}
)
_FRACTIONS = ("DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UHUGEINT")


def column_value(table: Loaded, column: Column) -> str:
    """Compose the SQL of a column's value in its kind; words for a missing value and faulty values are null."""
    stated = PlanColumn.model_validate(
        {"dtype": column.dtype, "missing": tuple(column.missing), **_truth_words(column)}
    )
    meant = meant_value(identifier(column.name), column.found, stated, table.reader)
    if column.is_time and column.found == "VARCHAR":
        return time_value(meant, column.forms[0] if column.forms else None)
    return exact_or_null(meant, column.found, column.dtype) if column.dtype in {"int64", "float64", "bool"} else meant


def _truth_words(column: Column) -> dict[str, Any]:
    if column.truth is None:
        return {}
    return {"true_values": (column.truth[0],), "false_values": (column.truth[1],)}


def time_value(value: str, form: str | None) -> str:
    """Compose the SQL of a text as a timestamp; texts in ISO 8601 need no format."""
    if form is None or any(one.is_iso and one.format == form for one in TIME_FORMS):
        return f"timezone('UTC', TRY_CAST({value} AS TIMESTAMPTZ))"
    return f"try_strptime({value}, {literal(form)})"


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
        column = Column(name, table.raw[name], table.types[name], "empty", table.rows)
        known = _known(connection, table, column, counts[name], samples[name])
        yield _with_person(_measured(connection, table, known), samples[name])


@dataclass(frozen=True)
class _Counts:
    """The counts of a column over all rows.

    Attributes
    ----------
    values, marks : values, and those that may mean a missing value.
    numbers, plain : values that are numbers, and those that the plan certainly reads as numbers.
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
    """Return the counts of all columns, from one pass over the rows."""
    chosen = [sql for name in names for sql in _counts(table, name)]
    (row,) = connection.execute(f"SELECT {', '.join(chosen)} FROM {table.relation}").fetchall()
    width = len(chosen) // len(names)
    parts = [row[place * width : (place + 1) * width] for place in range(len(names))]
    return {name: _Counts(*map(int, values)) for name, values in zip(names, parts, strict=True)}


def _counts(table: Loaded, name: str) -> list[str]:
    column = identifier(name)
    if table.types[name] != "VARCHAR":
        return [f"count({column})", "0", "0", "0", "0", f"approx_count_distinct({column})"]
    text = _plain_number(column, table)
    number = f"TRY_CAST({text} AS DOUBLE)"
    # The plan refuses underscores, and whole numbers that a float cannot hold.
    plain = f"{number} IS NOT NULL AND NOT contains({column}, '_') AND (contains({text}, '.') OR abs({number}) < 1e15)"
    return [
        f"count({column})",
        f"count(*) FILTER ({column} IN ({', '.join(map(literal, MISSING_MARKS))}))",
        f"count({number})",
        f"count(*) FILTER ({plain})",
        f"count(*) FILTER ({column} >= '00' AND {column} < '0:')",
        f"approx_count_distinct({column})",
    ]


def _plain_number(column: str, table: Loaded) -> str:
    if not isinstance(table.reader, TextTable):
        return column
    marks = [mark for mark in (table.reader.thousands,) if mark]
    plain = column
    for mark in marks:
        plain = f"replace({plain}, {literal(mark)}, '')"
    return f"replace({plain}, ',', '.')" if table.reader.decimal == "," else plain


def _sampled(connection: duckdb.DuckDBPyConnection, table: Loaded, names: Sequence[str]) -> dict[str, list[str]]:
    """Return a sample of each column's values as text, from rows at equal distances."""
    step = max(1, table.rows // _SAMPLE)
    chosen = ", ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in names)
    rows = connection.execute(
        f"SELECT {chosen} FROM {table.relation} WHERE rowid % {step} = 0 LIMIT {_SAMPLE}"
    ).fetchall()
    return {name: [row[place] for row in rows if row[place] is not None] for place, name in enumerate(names)}


def _known(
    connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, counts: _Counts, sample: Sequence[str]
) -> Column:
    """Return the column with its kind, its missing values and its faults."""
    length = sum(map(len, sample)) / max(1, len(sample))
    column = replace(column, distinct=counts.distinct, mean_length=length, leading_zeros=counts.zeros)
    column = replace(column, nulls=table.rows - counts.values)
    if not counts.values:
        return replace(column, distinct=0, is_exact=True)
    if column.found != "VARCHAR":
        return replace(column, kind=_kind_of_type(column.found))
    for proposed in _proposals(column, counts, sample):
        if proposed.kind == "number" and counts.plain == counts.values:
            return proposed
        if checked := _confirmed(connection, table, proposed):
            return checked
    words = () if _are_codes(sample) else MISSING_WORDS
    has_marks = counts.marks or any(value.strip() in MISSING_WORDS for value in sample)
    missing = _marks(connection, table, column, words) if has_marks else {}
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


def _proposals(column: Column, counts: _Counts, sample: Sequence[str]) -> Iterator[Column]:
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
        if all(map(_WHOLE_TEXT.fullmatch, values)):
            yield replace(column, kind="integer")
        yield replace(column, kind="number")


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


def _confirmed(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column) -> Column | None:
    """Return the column if all its values are of its kind except words for missing values and few faults; else None."""
    if column.is_time:
        column = replace(column, forms=_by_fit(connection, table, column))
    missing, others = _misfits(connection, table, column)
    values = column.values - sum(missing.values())
    faults = sum(others.values())
    if values <= 0 or faults > values * (1 - _MOSTLY):
        return None
    if column.kind in {"integer", "bool"} and faults:
        return None
    return replace(column, missing=missing, nulls=column.nulls + sum(missing.values()), faults=faults)


def _misfits(
    connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of values that are not of the column's kind: words for a missing value, and other values."""
    value, raw = column_value(table, column), identifier(column.name)
    rows = connection.execute(
        f"SELECT trim({raw}), count(*) FROM {table.relation} WHERE {raw} IS NOT NULL AND {value} IS NULL "
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


def _marks(
    connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, words: Sequence[str]
) -> dict[str, int]:
    if not words:
        return {}
    raw = identifier(column.name)
    rows = connection.execute(
        f"SELECT trim({raw}), count(*) FROM {table.relation} WHERE trim({raw}) IN ({', '.join(map(literal, words))}) "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {str(text): int(count) for text, count in rows}


def _by_fit(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column) -> tuple[str, ...]:
    """Return the formats that fit the most values; among equals, the one with the shorter range of times comes first."""
    chosen: list[str] = []
    for form in column.forms:
        value = time_value(identifier(column.name), form)
        chosen.append(f"count({value}), coalesce(date_diff('day', min({value}), max({value})), 0)")
    (row,) = connection.execute(f"SELECT {', '.join(chosen)} FROM {table.relation}").fetchall()
    fits = [(row[2 * place], row[2 * place + 1], form) for place, form in enumerate(column.forms)]
    most = max(count for count, _, _ in fits)
    return tuple(form for count, _, form in sorted(fits, key=lambda one: one[1]) if count == most)


def _measured(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column) -> Column:
    """Return the column with its distinct values, its range, its quantiles and its most frequent values."""
    if column.kind == "empty":
        return column
    value = _measured_value(table, column)
    column = replace(column, **_range(connection, table, column, value))
    if column.distinct > _GROUPED:
        if column.distinct >= _NEARLY * column.values and column.kind != "number":
            column = _exact(connection, table, column, value)
        return column
    return _grouped(connection, table, column, value)


def read_as(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, form: str) -> Column:
    """Return a column of times as it is in another of its formats."""
    return _measured(connection, table, replace(column, forms=(form,)))


def _measured_value(table: Loaded, column: Column) -> str:
    """Compose the SQL of a value for statistics; a number is not checked for what the plan would reject."""
    if column.found == "VARCHAR" and column.is_numeric:
        return f"TRY_CAST({_plain_number(identifier(column.name), table)} AS {_SQL_NUMBERS[column.kind]})"
    return column_value(table, column)


_SQL_NUMBERS: Mapping[str, str] = {"integer": "BIGINT", "number": "DOUBLE"}


def _range(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, value: str) -> dict[str, Any]:
    """Return the fields of `Column` with its minimum and maximum, and of a number its mean and quantiles."""
    if not column.is_numeric:
        ((low, high),) = connection.execute(
            f"SELECT CAST(min({value}) AS VARCHAR), CAST(max({value}) AS VARCHAR) FROM {table.relation}"
        ).fetchall()
        return {"smallest": low, "largest": high}
    number = f"CAST({value} AS DOUBLE)"
    ((low, high, mean, quantiles),) = connection.execute(
        f"SELECT min({value}), max({value}), avg({number}), quantile_cont({number}, {list(_QUANTILES)}) "
        f"FROM {table.relation} WHERE isfinite({number}) AND {sampling(table)}"
    ).fetchall()
    if low is None:
        return {}
    return {"smallest": str(low), "largest": str(high), "mean": float(mean), "quantiles": tuple(map(float, quantiles))}


def sampling(table: Loaded) -> str:
    """Compose the condition that selects rows at equal distances from a long table."""
    step = -(-table.rows // _MOST_ROWS)
    return f"rowid % {step} = 0" if step > 1 else "true"


def sampled_rows(table: Loaded) -> int | None:
    """Return the number of rows that quantiles are computed from; None if that is all rows."""
    step = -(-table.rows // _MOST_ROWS)
    return -(-table.rows // step) if step > 1 else None


def _exact(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, value: str) -> Column:
    ((distinct,),) = connection.execute(f"SELECT count(DISTINCT {value}) FROM {table.relation}").fetchall()
    return replace(column, distinct=int(distinct), is_exact=True)


def _grouped(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column, value: str) -> Column:
    rows = connection.execute(
        f"SELECT CAST(value AS VARCHAR), rows, count(*) OVER () FROM (SELECT {value} AS value, count(*) AS rows "
        f"FROM {table.relation} GROUP BY 1) WHERE value IS NOT NULL ORDER BY 2 DESC, 1 LIMIT {_TOPS}"
    ).fetchall()
    top = tuple((str(text), int(count)) for text, count, _ in rows)
    return replace(column, distinct=int(rows[0][2]) if rows else 0, is_exact=True, top=top)


def _with_person(column: Column, sample: Sequence[str]) -> Column:
    """Return the column with the kind of personal data that its name and its values indicate."""
    values = [value for value in sample if value not in MISSING_MARKS]
    for person in PERSONAL:
        is_named = person.named.search(column.name) is not None
        share = _share(person, column, values, is_named=is_named)
        if share is not None and share >= _PERSONAL_SHARE:
            return replace(column, personal=person.kind, treatment=person.treatment, personal_share=share)
        if is_named and person.fits is None and column.kind != "bool":
            return replace(column, personal=person.kind, treatment=person.treatment)
    return column


def _share(person: Personal, column: Column, values: Sequence[str], *, is_named: bool) -> float | None:
    """Return the share of values that match a kind of personal data; for numbers, the name must match too."""
    if person.fits is None or not values or column.is_time or column.kind == "bool":
        return None
    if not is_named and (column.is_numeric or person.needs_name):
        return None
    return sum(map(person.fits, values)) / len(values)
