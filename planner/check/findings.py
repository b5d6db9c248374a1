"""What a check found: its level, what was found and expected, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from core.terminal import terminal_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from core.errors import PlanError

#: `refuse` would end a stage, `warn` makes results doubtful, `note` is worth knowing.
Level = Literal["refuse", "warn", "note"]
_ORDER: tuple[Level, ...] = ("refuse", "warn", "note")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """One finding about a key of the plan."""

    level: Level
    path: str
    found: str
    expected: str
    next: str


@dataclass(frozen=True)
class Checked:
    """All findings about a plan and its data, those that end a stage first."""

    findings: tuple[Finding, ...]
    sources: int
    rows: int

    @property
    def refused(self) -> bool:
        """Whether a stage would end for a finding."""
        return any(finding.level == "refuse" for finding in self.findings)

    def to_dict(self) -> dict[str, object]:
        """Return the findings as JSON types."""
        found = [asdict(finding) for finding in self.findings]
        return {"format_version": FORMAT_VERSION, "sources": self.sources, "rows": self.rows, "findings": found}

    def table(self) -> RenderableType:
        """Compose the findings for a terminal."""
        title = f"{self.sources} sources, {self.rows:,} rows: {len(self.findings)} findings"
        table = terminal_table("level", "key", "found", "expected", "next", title=title)
        for one in self.findings:
            table.add_row(one.level, one.path, one.found, one.expected, one.next)
        return table if self.findings else title


def faults_of(error: PlanError) -> Checked:
    """Return the faults of a plan that is not valid as findings; no row was read."""
    faults = error.faults or [("top level", str(error))]
    found = [Finding("refuse", path, fault, "a valid plan", "correct the key") for path, fault in faults]
    return Checked(in_order(found), 0, 0)


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return findings by level and key."""
    return tuple(sorted(findings, key=lambda one: (_ORDER.index(one.level), one.path)))
