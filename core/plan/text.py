"""Parse the text of a plan into its sections and check them against each other, without checking its SQL.

Programs that run no SQL of the plan, such as the service, read it by this module and need no DuckDB; all others use
`core.plan.file`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from core.errors import PlanError
from core.plan.checks import findings
from core.plan.plan import Plan
from core.plan.rows.instants import with_row_label
from core.plan.rows.look_ups import with_look_ups
from core.plan.rows.validity import with_validity
from core.plan.without_time import with_meanings
from core.plan.yaml_text import load_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from core.plan.checks import Finding


#: The keys whose value is the discriminator of a union of sections.
_TAGS = ("kind", "estimator", "step", "by")
#: The tags of a search space, which is discriminated by its keys.
_SHAPES = ("range", "choices")


def _path(error: ErrorDetails, raw: object) -> str:
    """Return the dotted path of the key at fault, without the tags that pydantic adds for unions."""
    keys: list[str] = []
    for key in error["loc"]:
        if key == "[key]":  # the fault is the key itself, which is already in the path
            continue
        if isinstance(raw, dict) and key not in raw and error["type"] != "missing" and key != error["loc"][-1]:
            continue
        if isinstance(raw, dict) and key not in raw and key in (*_SHAPES, *(raw.get(tag) for tag in _TAGS)):
            continue
        if raw == key:  # a step written as only its name
            continue
        keys.append(str(key))
        raw = raw[key] if (isinstance(raw, dict) and key in raw) or _is_index(raw, key) else None  # type: ignore[index]
    return ".".join(keys)


def _is_index(raw: object, key: int | str) -> bool:
    return isinstance(raw, list) and isinstance(key, int) and key < len(raw)


def _sentence(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "this key is missing; add it"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "union_tag_not_found":
        return f"the key {error['ctx']['discriminator']} is missing; add it"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"{context['discriminator']} should be one of {context['expected_tags']}, found {context['tag']!r}"
    found = error["input"]
    shown = f"{type(found).__name__} {found!r}" if isinstance(found, str | int | float | bool) else type(found).__name__
    return f"{error['msg'].replace('Input should', 'should')}, found {shown}"


def parse_sections(text: str, name: str = "params.yaml") -> Plan:
    """Return the plan of a YAML text, without checking its SQL.

    Raises
    ------
    PlanError
        With one line for each fault: the key, what was found, and what is allowed there.

    """
    try:
        raw = load_yaml(text)
    except ValueError as error:
        raise PlanError(f"{name}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise PlanError(f"{name}: expected a mapping of sections, found {type(raw).__name__}")
    try:
        plan = with_validity(with_row_label(with_meanings(with_look_ups(Plan.model_validate(raw)))))
    except ValidationError as error:
        raise _refusal(
            name, [(_path(fault, raw) or "top level", _sentence(fault)) for fault in error.errors()]
        ) from None
    refuse(name, findings(plan))
    return plan


def _refusal(name: str, found: Sequence[Finding]) -> PlanError:
    return PlanError("\n".join(f"{name}: {path}: {fault}" for path, fault in found), found)


def refuse(name: str, found: Sequence[Finding]) -> None:
    """Raise PlanError with a line for each finding about the plan `name`, if there are any."""
    if found:
        raise _refusal(name, found)


def read_sections(path: Path) -> Plan:
    """Read the plan at `path` without checking its SQL; raise PlanError as `parse_sections` does."""
    return parse_sections(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read the text of the plan at `path`; raise PlanError if there is none or it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"{path}: there is no plan here; run in the project's folder or set PANTHERA_PLAN") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: the plan cannot be read: {error}") from None
