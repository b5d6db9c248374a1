"""Numbers of the prediction log in SQL: a feature of the logged vector."""

from __future__ import annotations

from psycopg import sql

_NUMBER = sql.SQL(
    "CASE jsonb_typeof({row}.features -> {column}) WHEN 'number' THEN ({row}.features ->> {column})::float8 END"
)


def logged_number(row: str, column: str) -> sql.Composed:
    """Compose the number of `column` (`view__feature`) in the logged vector of `row`; NULL if there is none."""
    return _NUMBER.format(row=sql.Identifier(row), column=column)
