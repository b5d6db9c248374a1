"""Values in their declared dtype: exactly what they were, or nothing; never the nearest one that the dtype can hold.

DuckDB rounds 1.6 to 2 when it casts to an integer. Here a value becomes an integer only if it is one: 3.0 and 1e3 are, 1.6 and
a float beyond the integers that its type tells apart are not. Floats are the nearest ones, as everywhere, but a whole number
that a float cannot hold, or a finite number that would be infinite, is no float. A text is decimal: neither 0x10 nor 1_000.
"""

from __future__ import annotations

from feature_repo.files.duck import SQL_TYPES, literal

_INTEGERS = frozenset({"int32", "int64"})
_FLOATS = frozenset({"float32", "float64"})
#: DuckDB's integer types.
_WHOLE_TYPES = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | frozenset({"INTEGER", "UINTEGER"})
#: The first integer that a float cannot tell from its neighbour, by DuckDB's type.
_INDISTINCT = {"FLOAT": 2**24, "DOUBLE": 2**53}
#: How many digits a whole number may have that each of our floats holds for sure.
_SURE_DIGITS = {"float32": 7, "float64": 15}
_PLAIN_INTEGER = r"\s*[+-]?[0-9]+(\.0*)?\s*"
#: Of so few digits, a double that has no fraction comes from a text that has none.
_SCIENTIFIC = r"\s*[+-]?[0-9]{1,9}(\.[0-9]{0,6})?[eE]\+?[0-9]{1,2}\s*"


def exact_or_null(value: str, found: str, dtype: str) -> str:
    """Compose the SQL of a source's `value`, found as a DuckDB type, in `dtype`; null where it is none exactly."""
    cast = f"TRY_CAST({value} AS {SQL_TYPES[dtype]})"
    if dtype in _INTEGERS:
        return _integer(value, found, cast)
    if dtype in _FLOATS:
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
    if found in _INDISTINCT:
        return f"CASE WHEN {_distinct_integer(value, found)} THEN {cast} END"
    if found.startswith("DECIMAL"):
        return f"CASE WHEN {value} % 1 = 0 THEN {cast} END"
    # A truth value is no number, in parquet as little as in JSON.
    return f"CAST(NULL AS {cast.rpartition(' ')[2][:-1]})" if found == "BOOLEAN" else cast


def _distinct_integer(value: str, kind: str) -> str:
    return f"({value} = trunc({value}) AND abs({value}) < {_INDISTINCT[kind]})"


def _float(value: str, found: str, dtype: str, cast: str) -> str:
    same = f"TRY_CAST({cast} AS HUGEINT) = TRY_CAST({value} AS HUGEINT)"
    if found in _WHOLE_TYPES:
        return f"CASE WHEN {same} THEN {cast} END"
    if found == "BOOLEAN":
        return f"CAST(NULL AS {SQL_TYPES[dtype]})"
    if found != "VARCHAR":
        return cast
    infinite = f"isinf({cast}) AND NOT regexp_matches({value}, '(?i)inf')"
    rounded = f"length({value}) > {_SURE_DIGITS[dtype]} AND regexp_full_match({value}, '[+-]?[0-9]+') AND NOT ({same})"
    return f"CASE WHEN contains({value}, '_') OR ({infinite}) OR coalesce({rounded}, false) THEN NULL ELSE {cast} END"


def exact_or_error(value: str, dtype: str) -> str:
    """Compose the SQL of what feature SQL gives, in `dtype`; an error where it is none exactly.

    It needs a connection of `open_duckdb`, which knows the two macros. They name their argument several times.
    """
    if dtype in _INTEGERS:
        return f"CAST(panthera_whole({value}) AS {SQL_TYPES[dtype]})"
    return f"panthera_truth({value})" if dtype == "bool" else f"CAST({value} AS {SQL_TYPES[dtype]})"
