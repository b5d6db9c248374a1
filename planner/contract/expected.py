"""The plan's expectations of its sources as a contract in the Open Data Contract Standard (ODCS), version 3."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from core.dtypes import DTYPES
from core.plan.ingest import QualityRules
from core.plan.rows.look_ups import JoinedColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.plan.ingest import Column, Source
    from core.plan.plan import Plan

API_VERSION = "v3.0.2"
KIND = "DataContract"
#: The logical type of a value by its type in Python.
_LOGICAL_TYPES: Mapping[type, str] = {
    bool: "boolean",
    date: "date",
    datetime: "date",
    float: "number",
    int: "integer",
    str: "string",
}
_CLASSIFICATIONS = {"remove": "restricted", "hash": "restricted", "keep": "confidential"}


def contract(plan: Plan) -> dict[str, Any]:
    """Return the contract of all sources of `plan`, under the names that their columns have in the raw tables."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "id": plan.project.name,
        "name": plan.project.name,
        "version": "1.0.0",
        "status": "active",
        "description": {
            "purpose": plan.project.statement,
            **({"usage": plan.project.scope} if plan.project.scope else {}),
        },
        "schema": [_table(plan, name, source) for name, source in plan.ingest.items()],
    }


def raw_name(name: str, column: Column) -> str:
    """Return the name of a column in the raw table."""
    return column.rename_from or name


def promised_columns(source: Source) -> dict[str, Column]:
    """Return the columns of a source that its raw table has; those that are joined stand in another source."""
    return {name: column for name, column in source.columns.items() if not isinstance(column, JoinedColumn)}


def _table(plan: Plan, name: str, source: Source) -> dict[str, Any]:
    rules = plan.validate_.get(name, QualityRules())
    keys = rules.unique or ((plan.entities[source.entity].key,) if source.event_time is None else ())
    properties = [
        _property(column, spec, rules, keys, is_time=any(time.column == column for time in source.times))
        for column, spec in promised_columns(source).items()
    ]
    return {"name": name, "logicalType": "object", "properties": properties}


def _property(
    name: str, column: Column, rules: QualityRules, keys: tuple[str, ...], *, is_time: bool
) -> dict[str, Any]:
    described = ", in ".join(filter(None, (column.meaning, column.unit)))
    position = keys.index(name) + 1 if name in keys else None
    options = _options(name, column, rules)
    return {
        "name": raw_name(name, column),
        "logicalType": _LOGICAL_TYPES[DTYPES[column.dtype].python],
        "physicalType": column.dtype,
        **({"description": described} if described else {}),
        "required": is_time or name in rules.not_null or position is not None,
        **({"unique": True} if keys == (name,) else {}),
        **({"primaryKey": True, "primaryKeyPosition": position} if position else {}),
        **({"classification": _CLASSIFICATIONS[column.pii]} if column.pii else {}),
        **({"logicalTypeOptions": options} if options else {}),
        **({"quality": [_allowed(rules.allowed[name])]} if name in rules.allowed else {}),
    }


def _options(name: str, column: Column, rules: QualityRules) -> dict[str, Any]:
    low, high = rules.range.get(name, (None, None))
    stated = {"minimum": low, "maximum": high, "pattern": rules.pattern.get(name), "format": column.format}
    return {key: value for key, value in stated.items() if value is not None}


def _allowed(values: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "library", "rule": "validValues", "validValues": list(values)}
