"""SQL expressions of the plan, with one value for what SQL leaves open."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_PART = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | (?P<any>\b(?:any_value|arbitrary)(?=\s*\()) | (?P<order>\border\s+by\b) | [()]""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def with_smallest_values(sql: str) -> str:
    """Return an expression with `any_value` and `arbitrary` read as `min`, unless they state an order.

    Both may return any value, so DuckDB returns the first of the rows as they lie, which offline and online differ.
    """
    found: re.Match[str] | None = None
    opened: list[re.Match[str] | None] = []
    calls: list[re.Match[str]] = []
    for part in _PART.finditer(sql):
        if part["any"]:
            found = part
        elif part[0] == "(":
            opened.append(found)
            found = None
        elif part["order"] and opened:
            opened[-1] = None
        elif part[0] == ")" and opened and (call := opened.pop()):
            calls.append(call)
    for call in sorted(calls, key=re.Match.start, reverse=True):
        sql = f"{sql[: call.start()]}min{sql[call.end() :]}"
    return sql


#: An SQL expression over rows.
Expression = Annotated[str, AfterValidator(with_smallest_values)]
