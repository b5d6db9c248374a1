"""What a change of the plan does besides running stages: online tables, callers, releases, the running experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feature_repo.views.definitions import view_definitions
from planner.diff.values import changes
from serving.wire.openapi import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan
    from planner.diff.values import Change

#: Keys of an OpenAPI document that are for readers.
_FOR_READERS = frozenset({"description", "summary", "title", "version", "example", "examples"})
#: The sections that a release is made from.
_OF_A_RELEASE = (
    "project",
    "entities",
    "ingest",
    "validate",
    "label",
    "build_features",
    "training_set",
    "train",
    "evaluate",
)
_MOST_NAMED = 3


@dataclass(frozen=True)
class Effect:
    """An effect of a change; `breaking` if a caller of the service has to change."""

    subject: str
    effect: str
    breaking: bool = False


def effects(before: Plan, after: Plan) -> tuple[Effect, ...]:
    """Return the effects of changing one plan to another, the breaking ones first."""
    found = [
        *_callers(before, after),
        *_decisions(before, after),
        *_tables(before, after),
        *_releases(before, after),
        *_experiment(before, after),
        *_settings(before, after),
    ]
    return tuple(sorted(found, key=lambda effect: not effect.breaking))


def _callers(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find the keys of requests and answers that differ: what is added is optional, all else breaks callers."""
    differing = list(changes(*(_without_words(describe(plan)) for plan in (before, after))))
    breaking = [change for change in differing if change.kind != "added"]
    if breaking:
        yield Effect("requests and answers", f"differ in {_named(breaking)}", breaking=True)
    elif differing:
        yield Effect("requests and answers", f"may have more: {_named(differing)}")


def _without_words(described: Any) -> Any:
    """Return a description without what is for readers."""
    if isinstance(described, list):
        return [_without_words(each) for each in described]
    if not isinstance(described, dict):
        return described
    return {key: _without_words(each) for key, each in described.items() if key not in _FOR_READERS}


def _named(differing: list[Change]) -> str:
    """Compose the places of an OpenAPI document that differ, without its own words."""
    words = {"components", "schemas", "properties", "items", "anyOf", "oneOf"}
    places = dict.fromkeys(
        ".".join(part for part in change.path.split(".") if part not in words) for change in differing
    )
    named = list(places)[:_MOST_NAMED]
    more = len(places) - len(named)
    return ", ".join(named) + (f" and {more} more places" if more else "")


def _decisions(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find words of answers that differ: decisions and classes."""
    for path, then, now in (
        ("serve.decisions", before.serve.decisions, after.serve.decisions),
        ("label.names", before.label.names, after.label.names),
        ("label.order", before.label.order, after.label.order),
    ):
        if then != now:
            yield Effect(path, "answers name decisions or classes by other words", breaking=True)


def _tables(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find views whose values are computed otherwise, so that they have another online table."""
    then, now = ({name: each.table.name for name, each in view_definitions(plan).items()} for plan in (before, after))
    for view in dict.fromkeys([*then, *now]):
        if view not in now:
            yield Effect(f"view {view}", f"is gone; online.{then[view]} is filled only while a release reads it")
        elif view not in then:
            yield Effect(f"view {view}", f"is new, in online.{now[view]}")
        elif then[view] != now[view]:
            yield Effect(
                f"view {view}",
                f"is computed otherwise, in online.{now[view]}; online.{then[view]} is filled while a release reads it",
            )


def _releases(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find out whether `dvc repro` makes another release, and whether it can be compared with the present one."""
    if before.register_.model != after.register_.model:
        yield Effect("releases", f"{after.register_.model} is another model: its first release becomes the champion")
        return
    if before.label != after.label or before.project.problem != after.project.problem:
        yield Effect(
            "releases", "the label is another one, so the gate cannot compare with the present champion's metrics"
        )
    if any(_section(before, name) != _section(after, name) for name in _OF_A_RELEASE):
        yield Effect(
            "decisions", "the present releases go on deciding as before, until one of the changed plan is promoted"
        )


def _section(plan: Plan, name: str) -> Any:
    return getattr(plan, {"validate": "validate_"}.get(name, name))


def _experiment(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find what becomes of the running experiment."""
    then, now = before.serve, after.serve
    if then.experiment != now.experiment:
        yield Effect("experiment", f"{now.experiment} begins; the exposures of {then.experiment} no longer count")
    elif then.salt != now.salt:
        yield Effect("experiment", "a new phase begins, and every entity is assigned anew")
    elif then.arms != now.arms:
        yield Effect("experiment", "a new phase begins: entities move between arms")
    windows = [(plan.label.horizon, plan.label.lead, plan.label.delay) for plan in (before, after)]
    if windows[0] != windows[1]:
        yield Effect("experiment", "outcomes are counted over another window, also those of earlier exposures")
    if then.experiment == now.experiment and _has_other_looks(before, after):
        yield Effect("experiment", "its looks are other ones, also those already taken: their error is no longer kept")


def _has_other_looks(before: Plan, after: Plan) -> bool:
    """Return whether an experiment that was decided by looks would be decided by others."""
    return before.monitor.experiment is not None and _looks(before) != _looks(after)


def _looks(plan: Plan) -> tuple[object, ...]:
    """Return all that the looks depend on; guardrails and secondary metrics do not change them."""
    section = plan.monitor.experiment
    stated = (section.minimum_effect, section.looks, section.power) if section else ()
    return (*stated, plan.monitor.confidence, plan.monitor.decide.better)


def _settings(before: Plan, after: Plan) -> Iterator[Effect]:
    """Find sections that no stage reads."""
    if before.serve != after.serve:
        yield Effect("service", "reads serve when it starts: start it again")
    if before.monitor != after.monitor:
        yield Effect("monitoring", "panthera drift, parity and cohorts read monitor at their next run")
    if before.register_ != after.register_ and before.register_.model == after.register_.model:
        yield Effect("gate", "the next release is judged by other rules; earlier verdicts stay")
