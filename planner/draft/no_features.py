"""Columns that are no features: empty, constant or personal ones, numbers of rows, and texts that tell rows apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.profile.links import key_score
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: Share of distinct values from which on a column of texts tells rows apart and is no feature; of numbers with a key's name.
TELLS_APART, _NUMBERS = 0.5, 0.1
MOST_GROUPS = 6


def no_feature(column: Column, table: Table) -> str | None:
    """Return the reason why a column is not a feature; None if it is one."""
    is_number_of = column.kind == "integer" and KEY_NAME.search(column.name) is not None
    is_key = column.is_unique and column.kind == "integer" and key_score(table.name, column) > 0
    texts = column.kind == "string" and column.distinct > max(TELLS_APART * column.values, MOST_GROUPS)
    reasons = {
        "it has no value": column.kind == "empty",
        f"it is constant ({column.smallest})": column.is_constant and not column.nulls,
        f"it is personal ({column.personal})": column.treatment == "remove",
        "it numbers the rows or something else": is_key or (is_number_of and column.distinct > _NUMBERS * table.rows),
        f"it tells rows apart ({column.distinct:,} values in {column.values:,} rows)": texts,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
