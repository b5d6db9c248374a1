"""Findings in SARIF 2.1.0 (Static Analysis Results Interchange Format), which code hosts show beside the lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from planner.check.findings import Checked, Finding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"refuse": "error", "warn": "warning", "note": "note"}


def sarif(checked: Checked, text: str, file: str) -> dict[str, Any]:
    """Return the findings about the plan `text` in the file `file`, each with the line of its key."""
    lines = key_lines(text)
    rules = sorted({_rule(finding) for finding in checked.findings})
    driver = {"name": "panthera plan check", "rules": [{"id": rule} for rule in rules]}
    results = [_result(finding, lines, file) for finding in checked.findings]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(finding: Finding) -> str:
    """Return the section that a finding is about."""
    return finding.path.split(".", maxsplit=1)[0].replace(" ", "-")


def _result(finding: Finding, lines: dict[str, int], file: str) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": file}, "region": {"startLine": line_of(finding.path, lines)}}
    return {
        "ruleId": _rule(finding),
        "level": _LEVELS[finding.level],
        "message": {"text": f"{finding.path}: {finding.found}; expected: {finding.expected}; {finding.next}"},
        "locations": [{"physicalLocation": place}],
    }


def line_of(path: str, lines: dict[str, int]) -> int:
    """Return the line of the key at a dotted path, or of the nearest key above it; 1 if there is none."""
    names = path.replace(":", ".").split(".")
    above = (".".join(names[:length]) for length in range(len(names), 0, -1))
    return next((lines[each] for each in above if each in lines), 1)


def key_lines(text: str) -> dict[str, int]:
    """Return the line of each key of a YAML text, counted from 1, by its dotted path; none if it is not YAML."""
    found: dict[str, int] = {}

    def visit(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = f"{path}.{key.value}" if path else str(key.value)
                found[below] = key.start_mark.line + 1
                visit(value, below)

    try:
        visit(yaml.compose(text, yaml.SafeLoader), "")
    except yaml.YAMLError:
        return {}
    return found
