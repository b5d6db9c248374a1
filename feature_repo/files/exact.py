"""Exact casts to the declared dtype: a value that the dtype cannot represent is null or an error, never rounded.

DuckDB rounds 1.6 to 2 when it casts to an integer. With these casts:

- A value becomes an integer only if it is one: 3.0 and 1e3 do. 1.6 does not, nor does a float so large that its type cannot
  represent every integer.
- A decimal fraction becomes the nearest float, as everywhere. An integer that the float type cannot represent, or a finite
  number that would become infinite, is refused.
- Text must be decimal: 0x10 and 1_000 are refused.
"""

from __future__ import annotations

from core.dtypes import FLOATS, INTEGERS
from feature_repo.files.duck import SQL_TYPES, literal

#: DuckDB's integer types.
_WHOLE_TYPES = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | frozenset({"INTEGER", "UINTEGER"})
#: From this integer on, a float type cannot represent every integer, by DuckDB's type.
_FIRST_INEXACT = {"FLOAT": 2**24, "DOUBLE": 2**53}
#: Integers of at most this many digits are exact in each float dtype.
_EXACT_DIGITS = {"float32": 7, "float64": 15}
_PLAIN_INTEGER = r"\s*[+-]?[0-9]+(\.0*)?\s*"
#: Scientific notation of so few digits that the double is an integer only if the text is one.
_SCIENTIFIC = r"\s*[+-]?[0-9]{1,9}(\.[0-9]{0,6})?[eE]\+?[0-9]{1,2}\s*"


def exact_or_null(value: str, found: str, dtype: str) -> str:
    """Compose the cast of a source's `value`, of the DuckDB type `found`, to `dtype`; null where no exact value exists."""
    cast = f"TRY_CAST({value} AS {SQL_TYPES[dtype]})"
    if dtype in INTEGERS:
        return _integer(value, found, cast)
    if dtype in FLOATS:
        return _float(value, found, dtype, cast)
    if dtype == "bool" and found != "BOOLEAN":
        return _truth(value, found, cast)
    if dtype == "string" and found == "BLOB":
        return f"TRY(decode({value}))"
    return cast


def _truth(value: str, found: str, cast: str) -> str:
    number = f"TRY_CAST({value} AS DOUBLE)"
    zero_or_one = f"CASE WHEN {number} IN (0, 1) THEN {number} = 1 END"
    if found != "VARCHAR":
        return zero_or_one
    return f"coalesce({cast}, CASE lower(trim({value})) WHEN 'on' THEN true WHEN 'off' THEN false END, {zero_or_one})"


def _integer(value: str, found: str, cast: str) -> str:
    if found == "VARCHAR":
        number = f"TRY_CAST({value} AS DOUBLE)"
        return (
            f"CASE WHEN CAST({cast} AS VARCHAR) = {value} OR regexp_full_match({value}, {literal(_PLAIN_INTEGER)}) "
            f"OR (regexp_full_match({value}, {literal(_SCIENTIFIC)}) AND {_distinct_integer(number, 'DOUBLE')}) "
            f"THEN {cast} END"
        )
    if found in _FIRST_INEXACT:
        return f"CASE WHEN {_distinct_integer(value, found)} THEN {cast} END"
    if found.startswith("DECIMAL"):
        return f"CASE WHEN {value} % 1 = 0 THEN {cast} END"
    # A boolean is no number.
    return f"CAST(NULL AS {cast.rpartition(' ')[2][:-1]})" if found == "BOOLEAN" else cast


def _distinct_integer(value: str, kind: str) -> str:
    return f"({value} = trunc({value}) AND abs({value}) < {_FIRST_INEXACT[kind]})"


def _float(value: str, found: str, dtype: str, cast: str) -> str:
    same = f"TRY_CAST({cast} AS HUGEINT) = TRY_CAST({value} AS HUGEINT)"
    if found in _WHOLE_TYPES:
        return f"CASE WHEN {same} THEN {cast} END"
    if found == "BOOLEAN":
        return f"CAST(NULL AS {SQL_TYPES[dtype]})"
    if found != "VARCHAR":
        return cast
    infinite = f"isinf({cast}) AND NOT regexp_matches({value}, '(?i)inf')"
    rounded = f"length({value}) > {_EXACT_DIGITS[dtype]} AND regexp_full_match({value}, '[+-]?[0-9]+') AND NOT ({same})"
    return f"CASE WHEN contains({value}, '_') OR ({infinite}) OR coalesce({rounded}, false) THEN NULL ELSE {cast} END"


def exact_or_error(value: str, dtype: str) -> str:
    """Compose the cast of the feature SQL `value` to `dtype`; the query fails where no exact value exists.

    The connection must be from `open_duckdb`, which defines the two macros. They repeat their argument.
    """
    if dtype in INTEGERS:
        return f"CAST(panthera_whole({value}) AS {SQL_TYPES[dtype]})"
    return f"panthera_truth({value})" if dtype == "bool" else f"CAST({value} AS {SQL_TYPES[dtype]})"
