"""Read `params.yaml`; an invalid plan raises one error with a line for each fault."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.plan.checks import future_findings
from core.plan.patterns import pattern_findings
from core.plan.sql import sql_findings
from core.plan.text import parse_sections, read_text, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan


def parse_plan(text: str, name: str = "params.yaml") -> Plan:
    """Return the plan of a YAML text, with its SQL and its patterns checked.

    Raises
    ------
    PlanError
        With one line for each fault: the key, what was found, and what is allowed there.

    """
    plan = parse_sections(text, name)
    refuse(name, [*sql_findings(plan), *pattern_findings(plan)])
    return plan


def read_plan(path: Path) -> Plan:
    """Read the plan at `path`; raise PlanError as `parse_plan` does, or if an instant of it is in the future."""
    plan = parse_plan(read_text(path), str(path))
    refuse(str(path), list(future_findings(plan, datetime.now(UTC))))
    return plan
