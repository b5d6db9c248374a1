"""Suggestions for the plan from rejected values: words for a missing value, marks of numbers, another type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.dtypes import NUMERIC
from feature_repo.files.duck import files_literal, identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from core.plan.ingest import Source

#: Texts that usually mean a missing value, in lower case; no other text of a source is quoted, as it may be personal.
_TOKENS = ("", "na", "n/a", "nan", "#n/a", "null", "none", "nil", r"\n", "-", "--", "?", ".", "unknown", "missing")
_COMMA = r"\s*[+-]?(\d{1,3}([. ]\d{3})+|\d+),\d+\s*"
_FRACTION = r"\s*[+-]?\d*\.\d*[1-9]\d*\s*"
_KINDS = ("token", "comma", "fraction")


def remedies(connection: duckdb.DuckDBPyConnection, source: Source, rejected: Path) -> list[str]:
    """Return changes of the plan by which rows of the file `rejected` would be accepted, as sentences."""
    rows = f"read_parquet({files_literal(rejected)})"
    return [
        remedy
        for name, column in source.columns.items()
        if column.dtype != "string"
        for remedy in _of_column(connection, rows, name, column.dtype)
    ]


def _of_column(connection: duckdb.DuckDBPyConnection, rows: str, name: str, dtype: str) -> Iterator[str]:
    found = _found(connection, rows, name, dtype)
    if tokens := found["token"]:
        words = ", ".join(map(_quoted, tokens))
        yield (
            f"{name} has {words}: if that stands for no value, set missing: [{words}] in the reader or for the column in "
            "ingest.columns"
        )
    if dtype in NUMERIC and found["comma"]:
        yield f"{name} has numbers with a decimal comma: set decimal: ',' (and thousands) in the reader"
    if (dtype.startswith("int") or dtype == "bool") and found["fraction"]:
        yield f"{name} has fractions: declare it as float64"
    if dtype in {"date", "timestamp"} and found["others"]:
        yield f"{name} has times that are not in ISO 8601 (2020-12-31): set format for the column, such as format: '%d.%m.%Y'"
    if dtype == "bool" and found["others"]:
        yield f"{name} has other words for true and false: set true_values and false_values for the column"


def _found(connection: duckdb.DuckDBPyConnection, rows: str, name: str, dtype: str) -> dict[str, list[str]]:
    """Return the rejected texts of a column by kind; only words for a missing value are quoted, other texts may be personal."""
    at_fault = f"list_contains(reasons, {literal(f'{name}: not a {dtype}')})"
    tokens = ", ".join(map(literal, _TOKENS))
    texts = connection.execute(
        f"""SELECT DISTINCT kind, CASE kind WHEN 'token' THEN text ELSE kind END FROM (
            SELECT text, CASE WHEN lower(trim(text)) IN ({tokens}) THEN 'token'
                WHEN regexp_full_match(text, {literal(_COMMA)}) THEN 'comma'
                WHEN regexp_full_match(text, {literal(_FRACTION)}) THEN 'fraction' ELSE 'others' END AS kind
            FROM (SELECT CAST({identifier(name)} AS VARCHAR) AS text FROM {rows} WHERE {at_fault})
        ) ORDER BY 1, 2"""
    ).fetchall()
    return {kind: [text for found, text in texts if found == kind] for kind in (*_KINDS, "others")}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
