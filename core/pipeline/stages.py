"""The stages of a `dvc.yaml`: their modules, and the sections of the plan that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.plan.plan import Plan

#: The words of a stage's command before its module.
_LAUNCHER = ("python", "-m", "core.launch")


def read_declared(pipeline: Path) -> dict[str, dict[str, Any]]:
    """Read the stages of a `dvc.yaml` as they are written, by name."""
    stages: dict[str, dict[str, Any]] = yaml.load(pipeline.read_text(encoding="utf-8"), yaml.CSafeLoader)["stages"]
    return stages


def module_of(declared: Mapping[str, Any]) -> str:
    """Return the module that a stage runs."""
    return str(declared["cmd"].split()[len(_LAUNCHER)])


def sections_of(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the sections of the plan that a stage reads."""
    return tuple(declared.get("meta", {}).get("sections", ()))


def section_values(plan: Plan) -> dict[str, Any]:
    """Return each section of the plan as JSON types, with defaults filled in and in the order of its keys."""
    return plan.model_dump(mode="json", by_alias=True)
