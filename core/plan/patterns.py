"""The patterns of a plan, held against the engine that matches them: DuckDB's RE2, which is not the dialect of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan


def pattern_findings(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the path of each pattern that the engine refuses, and why."""
    patterns = [
        (f"validate.{source}.pattern.{column}", pattern)
        for source, rules in plan.validate_.items()
        for column, pattern in rules.pattern.items()
    ]
    for path, pattern in patterns:
        if reason := pattern_fault(pattern):
            yield path, reason


def pattern_fault(pattern: str) -> str | None:
    """Say why `pattern` is no regular expression of RE2; None if it is one."""
    import duckdb

    try:
        duckdb.execute("SELECT regexp_full_match('', ?)", [pattern])
    except duckdb.Error as error:
        reason = " ".join(str(error).split()).removeprefix("Invalid Input Error: ")
        return (
            f"{pattern!r} is not a regular expression: {reason}; patterns are of RE2, which has neither look-around, "
            "backreferences nor possessive repetition"
        )
    return None
