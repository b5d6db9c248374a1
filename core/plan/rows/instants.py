"""Rows whose times are as-of instants: examples and snapshots as of the time of each row, and labels inside the row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from core.plan.times import EACH_ROW
from core.plan.without_time import label_columns, words
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.ingest import Source
    from core.plan.plan import Feature, Plan

Finding = tuple[str, str]


def with_row_label(plan: Plan) -> Plan:
    """Return the plan with a label window of length 0 if the label is in the same row as the example."""
    label, rows = plan.label, plan.training_set.as_of.each_row_of
    if not plan.has_time or rows is None or rows != label.source or "horizon" in label.model_fields_set:
        return plan
    return plan.model_copy(update={"label": label.model_copy(update={"horizon": timedelta()})})


def instant_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each section about as-of instants of rows that lacks something or does not fit."""
    rows, path = plan.training_set.as_of.each_row_of, "training_set.as_of.each_row_of"
    source = plan.ingest.get(rows or "")
    if rows is not None and source is None:
        yield path, f"{rows!r} is not a declared source; {allowed_here(rows, list(plan.ingest))}"
    if source is not None:
        label = plan.ingest.get(plan.label.source)
        if source.event_time is None:
            yield (
                path,
                f"{rows!r} has no event_time, so its rows have no instants; write every, or give it an event_time",
            )
        if label is not None and source.entity != label.entity:
            yield (
                path,
                f"{rows!r} has rows of the entity {source.entity!r}; expected {label.entity!r}, which is predicted",
            )
        if plan.label.column is not None and rows == plan.label.source and not plan.labels_rows:
            yield "label.horizon", "the label stands in a column of the row, so it has no window; take the key out"
    for name, view in plan.build_features.views.items():
        declared = plan.ingest.get(view.source)
        if view.every == EACH_ROW and declared is not None and declared.event_time is None:
            yield (
                f"build_features.views.{name}.every",
                f"{view.source!r} has no event_time, so its rows have no instants",
            )
    if plan.labels_rows:
        yield from _row_label_findings(plan)


def _row_label_findings(plan: Plan) -> Iterator[Finding]:
    label = plan.label
    if label.delay is None:
        yield (
            "label.delay",
            (
                f"the label stands in the rows of {label.source!r}, which are known before it; add the time after which it is "
                "known, or horizon if it is made of later rows"
            ),
        )
    if label.lead is not None:
        yield "label.lead", "the label stands in the row, so there is no window that it begins; take the key out"


def row_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each feature that reads the label of a row before that label is known."""
    if not plan.labels_rows:
        return
    for name, view in plan.build_features.views.items():
        for key, feature in view.features.items():
            rows = plan.ingest[feature.source or view.source]
            columns = label_columns(plan, feature.source or view.source) if feature.over == "rows" else set()
            read = columns.intersection(words(feature.sql))
            if read and not _waits(plan, feature, rows) and f"{name}.{key}" not in plan.training_set.leakage.allow:
                yield (
                    f"build_features.views.{name}.features.{key}.sql",
                    (
                        f"the column {min(read)!r} holds the label, which is not known with its row; take the feature out, or "
                        f"let it look at older rows: lag of label.delay ({plan.label.delay}) or more"
                    ),
                )


def _waits(plan: Plan, feature: Feature, rows: Source) -> bool:
    """Return whether a feature reads only rows whose label is known; its lag tells, if rows are known from their event on."""
    return rows.created_time is None and (feature.lag or timedelta()) >= plan.label.known_after
