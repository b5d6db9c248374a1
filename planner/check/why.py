"""Why a drafted key is as it is: its evidence, and what its query finds now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from core.errors import PantheraError
from core.suggestions import allowed_here
from core.terminal import terminal_table
from planner.check.evidence import read_evidence
from planner.profile.tables import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from core.plan.plan import Plan

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Reason:
    """The evidence of a key: what a query found when the plan was drafted, and what it finds now; None without a query."""

    path: str
    why: str
    query: str
    rows: int
    then: Any
    now: Any


@dataclass(frozen=True)
class Why:
    """The evidence of the keys below one."""

    reasons: tuple[Reason, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the evidence as JSON types."""
        return {"format_version": FORMAT_VERSION, "reasons": [asdict(reason) for reason in self.reasons]}

    def table(self) -> RenderableType:
        """Compose the evidence for a terminal."""
        table = terminal_table("key", "why", "query", "then", "now", title="Evidence of the draft")
        for one in self.reasons:
            then, now = ("" if value is None else str(value) for value in (one.then, one.now))
            table.add_row(one.path, one.why, one.query, then, now)
        return table


def find_why(connection: duckdb.DuckDBPyConnection, plan: Plan, evidence: Path, path: str, scratch: Path) -> Why:
    """Return the evidence of the key at `path` and of those below it; the queries run again on the sources of the plan.

    Raises
    ------
    PantheraError
        If there is no evidence of the key, or no file of evidence.

    """
    keys: Sequence[Mapping[str, Any]] = read_evidence(evidence, "keys")["keys"]
    chosen = [one for one in keys if one["path"] == path or one["path"].startswith(f"{path}.")]
    if not chosen:
        known = [str(one["path"]) for one in keys]
        raise PantheraError(f"{evidence} has no evidence of {path!r}; {allowed_here(path, known)}")
    return Why(tuple(_reasons(connection, plan, chosen, scratch)))


def _reasons(
    connection: duckdb.DuckDBPyConnection, plan: Plan, keys: Sequence[Mapping[str, Any]], scratch: Path
) -> Iterator[Reason]:
    sources = {one["source"] for one in keys if one["query"]}
    for name in sorted(sources.intersection(plan.ingest)):
        load(connection, name, plan.ingest[name].reader, scratch)
    for one in keys:
        now = _figure(connection, one["query"]) if one["query"] and one["source"] in plan.ingest else None
        yield Reason(one["path"], one["why"], one["query"], one["rows"], one["figure"], now)


def _figure(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    """Return what a query finds; the reason if its columns are no longer there."""
    try:
        row = connection.execute(query).fetchone()
    except duckdb.Error as error:
        return " ".join(str(error).split("\n", maxsplit=1)[0].split())
    return row[0] if row else None
