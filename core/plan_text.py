"""Parse the text of a plan into its sections, and check what these owe to each other; its SQL is not looked at.

Who runs no SQL of a plan reads it here, without DuckDB; all others read it by `core.plan_file`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from core.errors import PlanError
from core.plan import Plan
from core.plan_checks import findings

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from core.plan_checks import Finding


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which YAML's own would quietly overwrite."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, yaml.Mark] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"the key {key!r} stands here and in line {seen[key].line + 1}; keep one",
                key_node.start_mark,
            )
        seen[key] = key_node.start_mark
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


#: The keys whose value says of which kind a section is.
_TAGS = ("kind", "estimator", "step", "by")
#: The kinds of what is searched, which its keys tell apart.
_SHAPES = ("range", "choices")


def _path(error: ErrorDetails, raw: object) -> str:
    """Join the keys that lead to `error`, without the tags that a choice between kinds adds."""
    keys: list[str] = []
    for key in error["loc"]:
        if key == "[key]":  # the fault is in the key, which the path names already
            continue
        if isinstance(raw, dict) and key not in raw and error["type"] != "missing" and key != error["loc"][-1]:
            continue
        if isinstance(raw, dict) and key not in raw and key in (*_SHAPES, *(raw.get(tag) for tag in _TAGS)):
            continue
        if raw == key:  # the name of a step, which stands for the step
            continue
        keys.append(str(key))
        raw = raw[key] if (isinstance(raw, dict) and key in raw) or _indexes(raw, key) else None  # type: ignore[index]
    return ".".join(keys)


def _indexes(raw: object, key: int | str) -> bool:
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
    """Parse the text of a plan, but for its SQL.

    Raises
    ------
    PlanError
        With one line for each fault: where it is, what was found, and what is allowed there.

    """
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # PyYAML lets a ValueError through, as for 1998-13-45
        reason = " ".join(str(error).replace('in "<unicode string>", ', "in ").split())
        raise PlanError(f"{name}: not valid YAML: {reason}") from None
    if not isinstance(raw, dict):
        raise PlanError(f"{name}: expected a mapping of sections, found {type(raw).__name__}")
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        lines = [f"{name}: {_path(fault, raw) or 'top level'}: {_sentence(fault)}" for fault in error.errors()]
        raise PlanError("\n".join(lines)) from None
    refuse(name, findings(plan))
    return plan


def refuse(name: str, found: Collection[Finding]) -> None:
    """Raise PlanError with a line for each of the findings about the plan `name`, if there are any."""
    if found:
        raise PlanError("\n".join(f"{name}: {path}: {fault}" for path, fault in found))


def read_sections(path: Path) -> Plan:
    """Read the plan at `path`; see `parse_sections`."""
    return parse_sections(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Read the file at `path`, which should be a plan."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError(f"{path}: there is no plan here; run in the project's folder or set PANTHERA_PLAN") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: the plan cannot be read: {error}") from None
