"""Checks of the label, the split and the instants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.cross_checks.declared import undeclared, unreached
from core.plan.times import day_or_time, in_units
from core.plan.training_set import TemporalSplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from core.plan.cross_checks.declared import Finding
    from core.plan.plan import Plan
    from core.plan.training_set import AsOf


def label_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of the label and the split: what is not declared, and label windows that overlap or are still open."""
    if plan.label.source:
        yield from undeclared("label.source", "source", plan.label.source, plan.ingest)
    yield from undeclared(
        "training_set.service", "feature service", plan.training_set.service, plan.build_features.services
    )
    period = plan.training_set.as_of
    # A column that holds a label is refused elsewhere if it is not that of the rows that are trained on.
    has_window = plan.has_time and (plan.label.column is None or plan.labels_rows)
    if isinstance(plan.training_set.split, TemporalSplit) and has_window:
        yield from _temporal(plan.training_set.split, period, plan.label.known_after)
    source = plan.ingest.get(plan.label.source)
    known = period.end + plan.label.known_after
    if source is not None and has_window and known > source.observed_until:
        yield (
            "training_set.as_of.end",
            (
                f"the label window of {day_or_time(period.end)} closes on {day_or_time(known)}{_with_delay(plan)}, after "
                f"ingest.{plan.label.source}.observed_until ({day_or_time(source.observed_until)}): "
                "its labels are not known yet"
            ),
        )


def _with_delay(plan: Plan) -> str:
    return " with its delay" if plan.label.delay else ""


def _temporal(split: TemporalSplit, period: AsOf, known_after: timedelta) -> Iterator[Finding]:
    if split.gap < known_after:
        yield (
            "training_set.split.gap",
            (
                f"{in_units(split.gap)} is shorter than the {in_units(known_after)} after which a label is known (lead + "
                "horizon + delay): training labels would look into the next period"
            ),
        )
    if not period.start < split.validation_from < split.test_from <= period.end:
        yield (
            "training_set.split",
            (
                "expected as_of.start < validation_from < test_from <= as_of.end, found "
                + ", ".join(map(day_or_time, (period.start, split.validation_from, split.test_from, period.end)))
            ),
        )


def unreached_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each view of a feature service about an entity that no link reaches."""
    entity = plan.ingest[plan.label.source].entity
    for name in plan.build_features.services:
        for view in dict.fromkeys(view for view, _ in plan.build_features.service_features(name)):
            about = plan.entity_name(plan.build_features.views[view])
            if about != entity and plan.entities[about].of is None:
                yield f"build_features.services.{name}", unreached(view, about, entity)


def time_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of instants for which there are no snapshots."""
    snapshots, as_of = plan.build_features.snapshots, plan.materialize.as_of
    if not snapshots.start <= as_of <= snapshots.end:
        yield (
            "materialize.as_of",
            (
                f"{day_or_time(as_of)} is outside build_features.snapshots, {day_or_time(snapshots.start)} to "
                f"{day_or_time(snapshots.end)}"
            ),
        )
    if plan.training_set.as_of.start < snapshots.start:
        yield (
            "training_set.as_of.start",
            (
                f"{day_or_time(plan.training_set.as_of.start)} is before the first snapshot, "
                f"{day_or_time(snapshots.start)}"
            ),
        )
