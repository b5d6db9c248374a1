"""Replace texts by the value that the plan assigns to them, in SQL: words for missing and truth values, marks of numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.plan.ingest import TextTable
from feature_repo.files.duck import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.plan.ingest import Column, Reader

_NUMBERS = frozenset({"int32", "int64", "float32", "float64"})
#: Blanks that separate thousands: the usual one, and two at which no line breaks.
_BLANKS = " \u00a0\u202f"


def meant_value(value: str, found: str, column: Column, reader: Reader) -> str:
    """Compose the SQL of a `value` of the DuckDB type `found`, with the words of its column and its reader replaced."""
    missing = reader.missing if column.missing is None else column.missing
    if missing:
        value = _or_missing(value, found, missing)
    if found != "VARCHAR":
        return value
    if column.true_values or column.false_values:
        value = _truth(value, column)
    if column.dtype in _NUMBERS and isinstance(reader, TextTable):
        value = _number(value, reader.decimal, reader.thousands)
    return value


def _or_missing(value: str, found: str, missing: Iterable[str]) -> str:
    texts = ", ".join(map(literal, missing))
    if found == "VARCHAR":
        return f"CASE WHEN trim({value}) IN ({texts}) THEN NULL ELSE {value} END"
    same = " OR ".join(f"{value} = TRY_CAST({literal(text)} AS {found})" for text in missing)
    return f"CASE WHEN CAST({value} AS VARCHAR) IN ({texts}) OR coalesce({same}, false) THEN NULL ELSE {value} END"


def _truth(value: str, column: Column) -> str:
    words = {"true": column.true_values, "false": column.false_values}
    cases = " ".join(
        f"WHEN trim({value}) IN ({', '.join(map(literal, said))}) THEN '{truth}'"
        for truth, said in words.items()
        if said
    )
    return f"CASE {cases} ELSE {value} END"


def _number(value: str, decimal: str, thousands: str | None) -> str:
    """Compose a number's text with a decimal point and no other mark; a number in other marks than the plan's stays invalid."""
    if decimal == "." and thousands is None:
        return value
    group = f"[{_BLANKS if thousands == ' ' else re.escape(thousands)}]" if thousands else None
    whole = rf"(\d{{1,3}}({group}\d{{3}})+|\d+)" if group else r"\d+"
    point = re.escape(decimal)
    pattern = rf"\s*[+-]?({whole}({point}\d*)?|{point}\d+)([eE][+-]?\d+)?\s*"
    plain = f"regexp_replace({value}, {literal(group)}, '', 'g')" if group else value
    return (
        f"CASE WHEN regexp_full_match({value}, {literal(pattern)}) THEN replace({plain}, {literal(decimal)}, '.') "
        f"WHEN TRY_CAST({value} AS DOUBLE) IS NOT NULL AND contains({value}, '.') "
        f"THEN {value} || {literal(f' (the decimal mark is {decimal})')} ELSE {value} END"
    )
