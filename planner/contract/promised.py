"""Whether the contract of a producer (ODCS, version 3) promises what the plan expects of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import PantheraError
from core.plan.yaml_text import load_yaml
from planner.check.findings import Checked, Finding, in_order
from planner.contract.expected import KIND, contract

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from core.plan.plan import Plan
    from planner.check.findings import Level

_WIDER = {("number", "integer"), ("string", "integer"), ("string", "number"), ("string", "boolean"), ("string", "date")}


def read_contract(file: Path) -> dict[str, Mapping[str, Any]]:
    """Return the tables of a contract by name.

    Raises
    ------
    PantheraError
        If the file is no contract in ODCS, version 3.

    """
    try:
        content: Any = load_yaml(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise PantheraError(
            f"{file} is no YAML: {error}; expected a contract in the Open Data Contract Standard"
        ) from None
    is_contract = isinstance(content, dict) and content.get("kind") == KIND
    if not is_contract or not str(content.get("apiVersion", "")).startswith("v3"):
        raise PantheraError(
            f"{file} has no `kind: {KIND}` with an apiVersion of v3; expected the Open Data Contract Standard"
        )
    tables = content.get("schema")
    if not isinstance(tables, list) or not all(isinstance(table, dict) and "name" in table for table in tables):
        raise PantheraError(f"{file} has no schema, a list of tables with names; correct the contract")
    return {str(table["name"]): table for table in tables}


def compare_with(plan: Plan, promised: Mapping[str, Mapping[str, Any]], file: str) -> Checked:
    """Return a finding for each expectation of the plan that a contract does not promise, for the tables that it has."""
    expected = {table["name"]: table for table in contract(plan)["schema"]}
    shared = [name for name in expected if name in promised]
    if not shared:
        raise PantheraError(
            f"{file} has the tables {', '.join(promised)}, and none is a source of the plan: {', '.join(expected)}; "
            "rename a table to the source that it feeds"
        )
    findings = [finding for name in shared for finding in _table(name, expected[name], promised[name])]
    return Checked(in_order(findings), len(shared), 0)


def _table(name: str, expected: Mapping[str, Any], promised: Mapping[str, Any]) -> Iterator[Finding]:
    columns = {str(column.get("name")): column for column in promised.get("properties", ())}
    for column in expected["properties"]:
        path = f"ingest.{name}.columns: {column['name']}"
        found = columns.get(column["name"])
        if found is None:
            what = "ask the producer to promise the column, or take it out of the plan"
            yield Finding("refuse", path, "the contract has no such column", column["physicalType"], what)
        else:
            yield from _column(path, column, found)


def _column(path: str, expected: Mapping[str, Any], promised: Mapping[str, Any]) -> Iterator[Finding]:
    kind, wanted = promised.get("logicalType"), expected["logicalType"]
    if kind is not None and kind != wanted:
        level: Level = "warn" if (kind, wanted) in _WIDER else "refuse"
        yield Finding(level, path, f"the contract promises {kind}", wanted, "agree on the type with the producer")
    for key, what in (("required", "a value in every row"), ("unique", "one row for each value")):
        if expected.get(key) and not (promised.get(key) or promised.get("primaryKey")):
            yield Finding("warn", path, f"the contract does not promise {key}", what, "agree on it with the producer")
    yield from _bounds(path, expected.get("logicalTypeOptions", {}), promised.get("logicalTypeOptions", {}))


def _bounds(path: str, expected: Mapping[str, Any], promised: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("minimum", "maximum"):
        own, found = expected.get(key), promised.get(key)
        if own is None or (found is not None and (found >= own if key == "minimum" else found <= own)):
            continue
        said = f"the contract promises {'no' if found is None else found} {key}"
        yield Finding("note", path, said, f"{key} {own}", "rows beyond are rejected by the rules of the plan")
