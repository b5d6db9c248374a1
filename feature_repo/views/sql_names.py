"""Which columns an SQL expression of the plan may name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: `COLUMNS(…)`, or a star that is neither that of `count(*)` nor a product.
_PATTERN = re.compile(r"\bcolumns\b|(?<!\bcount)[(,]\s*\*", re.IGNORECASE)


def named(columns: Iterable[str], sql: str) -> list[str]:
    """List those of `columns` that `sql` may name; where it names columns by a pattern, it may name any."""
    if _PATTERN.search(sql):
        return list(columns)
    words = set(re.findall(r"\w+", sql.lower()))
    return [column for column in columns if column.lower() in words]
