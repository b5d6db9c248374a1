"""The profile of a column, and its values in SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from core.plan.ingest import Column as PlanColumn
from core.plan.ingest import TextTable
from core.plan.times import UNIX_FORMATS
from feature_repo.files.duck import identifier, literal
from feature_repo.files.exact import exact_or_null
from feature_repo.sources.times import unix_instant
from feature_repo.sources.tokens import meant_value
from planner.profile.patterns import TIME_FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planner.profile.tables import Loaded

Kind = Literal["integer", "number", "bool", "date", "timestamp", "string", "text", "empty"]


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
    def is_unix(self) -> bool:
        """Whether its values are times since 1970, as numbers."""
        return bool(self.forms) and self.forms[0] in UNIX_FORMATS

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


def column_value(table: Loaded, column: Column) -> str:
    """Compose the SQL of a column's value in its kind; words for a missing value and faulty values are null."""
    stated = PlanColumn.model_validate(
        {"dtype": column.dtype, "missing": tuple(column.missing), **_truth_words(column)}
    )
    meant = meant_value(identifier(column.name), column.found, stated, table.reader)
    if column.is_time and (column.found == "VARCHAR" or column.is_unix):
        return time_value(meant, column.forms[0] if column.forms else None)
    return exact_or_null(meant, column.found, column.dtype) if column.dtype in {"int64", "float64", "bool"} else meant


def _truth_words(column: Column) -> dict[str, Any]:
    if column.truth is None:
        return {}
    return {"true_values": (column.truth[0],), "false_values": (column.truth[1],)}


def time_value(value: str, form: str | None) -> str:
    """Compose the SQL of a text or number as a timestamp; texts in ISO 8601 need no format."""
    if form and form in UNIX_FORMATS:
        return f"timezone('UTC', {unix_instant(value, form)})"
    if form is None or any(one.is_iso and one.format == form for one in TIME_FORMS):
        return f"timezone('UTC', TRY_CAST({value} AS TIMESTAMPTZ))"
    return f"try_strptime({value}, {literal(form)})"


def plain_number(column: str, table: Loaded) -> str:
    """Compose the SQL of a number's text with a decimal point, and without marks of thousands."""
    if not isinstance(table.reader, TextTable):
        return column
    marks = [mark for mark in (table.reader.thousands,) if mark]
    plain = column
    for mark in marks:
        plain = f"replace({plain}, {literal(mark)}, '')"
    return f"replace({plain}, ',', '.')" if table.reader.decimal == "," else plain
