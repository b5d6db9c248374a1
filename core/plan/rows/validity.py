"""Rows that end: the column with the end of a row's validity, which each feature over the rows of its source respects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Feature, Plan, View

Finding = tuple[str, str]


def with_validity(plan: Plan) -> Plan:
    """Return the plan with the column `valid_until` of a source in each feature over its rows."""
    ends = {name: source.valid_until for name, source in plan.ingest.items() if source.valid_until}
    if not ends:
        return plan
    views = {name: _with_ends(view, ends) for name, view in plan.build_features.views.items()}
    return plan.model_copy(update={"build_features": plan.build_features.model_copy(update={"views": views})})


def _with_ends(view: View, ends: dict[str, str]) -> View:
    features = {name: _with_end(view, feature, ends) for name, feature in view.features.items()}
    return view.model_copy(update={"features": features})


def _with_end(view: View, feature: Feature, ends: dict[str, str]) -> Feature:
    end = ends.get(feature.source or view.source)
    if feature.over != "rows" or end is None or feature.valid_until:
        return feature
    return feature.model_copy(update={"valid_until": end})


def validity_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each end of validity that is no timestamp of its source, or belongs to rows without times."""
    for name, source in plan.ingest.items():
        if source.valid_until is not None:
            yield from _ends(plan, f"ingest.{name}.valid_until", name, source.valid_until)
    for name, view in plan.build_features.views.items():
        for key, feature in view.features.items():
            source_name = feature.source or view.source
            stated = plan.ingest[source_name].valid_until if source_name in plan.ingest else None
            if feature.valid_until is not None and feature.valid_until != stated:
                path = f"build_features.views.{name}.features.{key}.valid_until"
                yield from _ends(plan, path, source_name, feature.valid_until)


def _ends(plan: Plan, path: str, name: str, column: str) -> Iterator[Finding]:
    source = plan.ingest.get(name)
    if source is None:
        return
    if source.event_time is None:
        yield path, f"the rows of {name!r} have no event_time, so they hold at any time; take the key out"
    elif column not in source.columns:
        yield path, f"{column!r} is not a declared column; {allowed_here(column, list(source.columns))}"
    elif source.columns[column].dtype != "timestamp" or source.columns[column].pii in {"remove", "hash"}:
        found = source.columns[column].dtype
        yield (
            path,
            f"{column!r} is a {found}; expected a timestamp that is kept: the instant from which a row is no longer valid",
        )
