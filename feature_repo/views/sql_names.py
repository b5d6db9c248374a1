"""The columns that an SQL expression of the plan may reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: `COLUMNS(…)`, or a star that is neither `count(*)` nor a multiplication.
_PATTERN = re.compile(r"\bcolumns\b|(?<!\bcount)[(,]\s*\*", re.IGNORECASE)


def named(columns: Iterable[str], sql: str) -> list[str]:
    """Return those of `columns` that `sql` may reference; all of them if `sql` selects columns by a pattern."""
    if _PATTERN.search(sql):
        return list(columns)
    words = set(re.findall(r"\w+", sql.lower()))
    return [column for column in columns if column.lower() in words]
