"""Check the regular expressions of a plan with the engine that will match them: DuckDB's RE2, not Python's `re`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan


def pattern_findings(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) for each pattern that DuckDB refuses."""
    patterns = [
        (f"validate.{source}.pattern.{column}", pattern)
        for source, rules in plan.validate_.items()
        for column, pattern in rules.pattern.items()
    ]
    for path, pattern in patterns:
        if reason := pattern_fault(pattern):
            yield path, reason


def pattern_fault(pattern: str) -> str | None:
    """Return why `pattern` is not a regular expression of RE2; None if it is one."""
    import duckdb

    try:
        duckdb.execute("SELECT regexp_full_match('', ?)", [pattern])
    except duckdb.Error as error:
        reason = " ".join(str(error).split()).removeprefix("Invalid Input Error: ")
        return (
            f"{pattern!r} is not a regular expression: {reason}; expected RE2 syntax, which has no look-around, "
            "backreferences or possessive repetition"
        )
    return None
