"""The stages that `dvc repro` runs because of a change of the plan, after a run of the plan before the change.

DVC runs a stage if one of its dependencies has changed; its file of the stage `inputs` changes with the sections of the plan
that it reads. A stage that runs may write the same output as before, and then the stages that read it need not run. For the
outputs that are computed from the plan alone, this module compares what would be written; of all others it assumes that they
change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import yaml

from core.pipeline.stages import read_declared, section_values, sections_of
from feature_repo.views.definitions import view_definitions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.plan.plan import Plan

#: The sections that define features, and those that define training rows.
_OF_FEATURES = ("build_features", "entities", "ingest")
_OF_TRAINING_ROWS = (*_OF_FEATURES, "label", "project", "training_set")
#: `if_rows_differ`: the stage runs only if other rows pass the quality rules.
Runs = Literal["yes", "if_rows_differ"]


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline: the sections of the plan that it reads, its dependencies, and its outputs."""

    name: str
    sections: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    always: bool = False


@dataclass(frozen=True)
class StageRun:
    """A stage that runs, and because of what."""

    name: str
    runs: Runs
    because: tuple[str, ...]


@dataclass(frozen=True)
class Versions:
    """A plan before and after a change: its text, the values of the text, the parsed plan, and its sections as JSON."""

    before_text: str
    after_text: str
    before_raw: Mapping[str, Any]
    after_raw: Mapping[str, Any]
    before: Plan
    after: Plan

    def section_differs(self, name: str) -> bool:
        """Return whether a section has other values."""
        return self._sections[0][name] != self._sections[1][name]

    @cached_property
    def _sections(self) -> tuple[dict[str, str], dict[str, str]]:
        before, after = (
            {name: json.dumps(section) for name, section in section_values(plan).items()}
            for plan in (self.before, self.after)
        )
        return before, after


def read_stages(pipeline: Path) -> tuple[Stage, ...]:
    """Return the stages of a `dvc.yaml`, in their order."""
    return tuple(_stage(name, fields) for name, fields in read_declared(pipeline).items())


def _stage(name: str, fields: Mapping[str, Any]) -> Stage:
    written = [*fields.get("outs", ()), *fields.get("metrics", ()), *fields.get("plots", ())]
    outs = tuple(next(iter(each)) if isinstance(each, dict) else each for each in written)
    always = bool(fields.get("always_changed"))
    return Stage(name, sections_of(fields), tuple(fields["deps"]), outs, always)


def stages_that_run(
    stages: tuple[Stage, ...], versions: Versions, plan_file: str = "params.yaml"
) -> tuple[StageRun, ...]:
    """Return the stages that run after the change, in their order; those that always run and change nothing are left out."""
    walk = _Walk(versions, plan_file)
    for stage in stages:
        walk.visit(stage)
    return tuple(walk.runs)


@dataclass
class _Walk:
    """A walk through the stages, with the outputs that have changed so far."""

    versions: Versions
    plan_file: str
    changed: dict[str, Runs] = field(default_factory=dict)
    runs: list[StageRun] = field(default_factory=list)

    def visit(self, stage: Stage) -> None:
        """Record whether a stage runs, and which of its outputs change."""
        sections = [name for name in stage.sections if self.versions.section_differs(name)]
        read = [name for name in stage.deps if name in self.changed]
        if self.plan_file in stage.deps and self.versions.before_text != self.versions.after_text:
            read.append(self.plan_file)
        if not (sections or read):
            return
        certain = bool(sections) or any(self.changed.get(name, "yes") == "yes" for name in read)
        runs: Runs = "yes" if certain else "if_rows_differ"
        self.runs.append(StageRun(stage.name, runs, (*sections, *read)))
        for out in stage.outs:
            change = self._change(out) if certain else runs
            if change:
                self.changed[out] = change

    def _change(self, out: str) -> Runs | None:
        """Return whether an output changes when its stage runs."""
        before, after = self.versions.before, self.versions.after
        otherwise: Runs | None = None
        match out:
            case "data/inputs":  # each stage reads its own file, and so its own sections
                differs = False
            case "data/receipts/apply.json":
                differs = _applied(before) != _applied(after)
            case "data/accepted" | "data/rejected":
                differs, otherwise = self._differs("entities", "ingest"), _rejects_other_rows(self.versions)
            case "data/features":
                differs = self._differs(*_OF_FEATURES) and _snapshots(before) != _snapshots(after)
                otherwise = self.changed.get("data/accepted")
            case "data/training_set.parquet":
                differs, otherwise = self._differs(*_OF_TRAINING_ROWS), self.changed.get("data/accepted")
            case _:
                differs = True
        return "yes" if differs else otherwise

    def _differs(self, *sections: str) -> bool:
        """Return whether one of the sections has other values."""
        return any(map(self.versions.section_differs, sections))


def _rules(plan: Plan) -> dict[str, Any]:
    return {name: rules.model_dump(mode="json") for name, rules in plan.validate_.items()}


def _rejects_other_rows(versions: Versions) -> Runs | None:
    """Return whether other rows may pass; `max_rejected` only limits how many may fail."""

    def rules(plan: Plan) -> dict[str, Any]:
        return {name: {**each, "max_rejected": None} for name, each in _rules(plan).items()}

    return "if_rows_differ" if rules(versions.before) != rules(versions.after) else None


def _applied(plan: Plan) -> tuple[Any, ...]:
    tables = {name: each.table.name for name, each in view_definitions(plan).items()}
    return set(plan.entities), tables, set(plan.build_features.services)


def _snapshots(plan: Plan) -> tuple[Any, ...]:
    """Return what the feature files depend on: definitions of views, the order of their features, the period."""
    views = plan.build_features.views
    definitions = {name: each.fingerprint for name, each in view_definitions(plan).items()}
    return definitions, {name: list(view.features) for name, view in views.items()}, plan.build_features.snapshots


def sizes_of_outputs(lock: Path) -> dict[str, int]:
    """Return the bytes that each stage wrote when it last ran, from a `dvc.lock`; empty without one."""
    if not lock.exists():
        return {}
    locked = yaml.load(lock.read_text(encoding="utf-8"), yaml.CSafeLoader).get("stages", {})
    return {name: sum(int(out.get("size", 0)) for out in stage.get("outs", ())) for name, stage in locked.items()}
