"""Values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """Return `value` in types of JSON: times as ISO 8601, durations in seconds, numbers that are not finite as None.

    A dataclass becomes an object of its fields, a sequence a list.

    Raises
    ------
    TypeError
        If a value has no form in JSON.

    Examples
    --------
    >>> plain({"as_of": date(2026, 1, 2), "psi": math.nan, "names": ("a", "b")})
    {'as_of': '2026-01-02', 'psi': None, 'names': ['a', 'b']}

    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
