"""Checks of entities, sources, quality rules, views and links."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.dtypes import NUMERIC
from core.plan.cross_checks.declared import KEYS_TAKEN, RESERVED, undeclared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.cross_checks.declared import Finding
    from core.plan.ingest import Column, QualityRules, Source
    from core.plan.plan import Plan, View


def entity_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of entities: their keys and their sources."""
    for name, entity in plan.entities.items():
        if entity.key in KEYS_TAKEN or "__" in entity.key:
            yield f"entities.{name}.key", f"{entity.key!r} is a name of the platform's own; declare another"
        for key, named in (("source", entity.source), ("until", entity.until)):
            if named is None:
                continue
            path = f"entities.{name}.{key}"
            yield from undeclared(path, "source", named, plan.ingest)
            source = plan.ingest.get(named)
            if source is not None and source.entity != name and source.entity in plan.entities:
                yield path, f"{named!r} has rows of the entity {source.entity!r}, not of {name!r}"


def source_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of sources: their entities and columns."""
    for name, source in plan.ingest.items():
        path = f"ingest.{name}"
        yield from undeclared(f"{path}.entity", "entity", source.entity, plan.entities)
        for reserved in RESERVED.intersection(source.columns):
            yield f"{path}.columns.{reserved}", "this name is the platform's own; declare another with rename_from"
        for key, time in zip(("event_time", "created_time"), source.times, strict=False):
            if time.column:  # a time through another source has its own findings
                yield from undeclared(f"{path}.{key}.column", "column", time.column, source.columns)
        entity = plan.entities.get(source.entity)
        if entity is not None and entity.key not in source.columns:
            yield f"{path}.columns", f"the key {entity.key!r} of the entity {source.entity!r} is not among the columns"
        elif entity is not None and source.columns[entity.key].dtype != entity.dtype:
            found = source.columns[entity.key].dtype
            yield f"{path}.columns.{entity.key}.dtype", f"{found} is not the dtype of the entity's key, {entity.dtype}"


def personal_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of columns that hold personal data."""
    for name, source in plan.ingest.items():
        entity = plan.entities.get(source.entity)
        needed: dict[str | None, str] = {
            entity.key if entity else None: "the key of the entity; use a key that identifies no person",
            **{time.column: f"the {what} time" for what, time in zip(("event", "created"), source.times, strict=False)},
        }
        for column, declared in source.columns.items():
            path = f"ingest.{name}.columns.{column}.pii"
            if declared.pii in {"remove", "hash"} and column in needed:
                yield path, f"{declared.pii} would take away {needed[column]}"
            elif declared.pii == "hash" and declared.dtype != "string":
                yield path, f"a hash is a text, the column is declared as {declared.dtype}; declare it as string"


def quality_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of quality rules."""
    for name, rules in plan.validate_.items():
        yield from undeclared(f"validate.{name}", "source", name, plan.ingest)
        if name not in plan.ingest:
            continue
        source = plan.ingest[name]
        columns = source.columns
        keys = {entity.key for entity in plan.entities.values()}
        yield from _needed_values(f"validate.{name}.as_missing", source, rules, keys)
        for rule, column in rules.columns():
            yield from undeclared(f"validate.{name}.{rule}", "column", column, columns)
            yield from _of_person(f"validate.{name}.{rule}", rule, column, columns.get(column))
        for column, (low, high) in rules.range.items():
            path = f"validate.{name}.range.{column}"
            yield from _empty_range(path, low, high)
            if column in columns and columns[column].dtype not in NUMERIC:
                yield path, f"a range needs a number; the column is {columns[column].dtype}"
        for column in rules.pattern:
            path = f"validate.{name}.pattern.{column}"
            if column in columns and columns[column].dtype != "string":
                yield path, f"a pattern needs a string; the column is {columns[column].dtype}"


def _of_person(path: str, rule: str, column: str, declared: Column | None) -> Iterator[Finding]:
    pii = declared.pii if declared else None
    if pii == "remove":
        yield path, f"{column!r} is removed when it is ingested, so no rule can see it"
    if pii == "hash" and rule in {"allowed", "pattern"}:
        yield path, f"{column!r} is hashed when it is ingested, so no rule can see what it says"


def _needed_values(path: str, source: Source, rules: QualityRules, keys: set[str]) -> Iterator[Finding]:
    """Yield a finding for each column in `as_missing` that must have a value in every row."""
    times = (time.column for time in source.times)
    for column in sorted({*keys, *times, *rules.not_null, *rules.unique}.intersection(rules.as_missing)):
        yield path, f"{column!r} must have a value in every row; take it out here, or out of not_null or unique"


def _empty_range(path: str, low: float | None, high: float | None) -> Iterator[Finding]:
    """Yield a finding if the range contains no value; a bound that is null is open."""
    below, above = -math.inf if low is None else low, math.inf if high is None else high
    if math.isnan(below) or math.isnan(above):
        yield path, f"[{low}, {high}] has an end that is not a number; leave an end open with null"
    elif below == math.inf or above == -math.inf or below > above:
        yield path, f"[{low}, {high}] is empty; write the lower bound first"


def view_findings(plan: Plan) -> Iterator[Finding]:
    """Yield findings of views and feature services."""
    section = plan.build_features
    for name, view in section.views.items():
        yield from undeclared(f"build_features.views.{name}.source", "source", view.source, plan.ingest)
        yield from _view_sources(plan, name, view)
        keys = {entity.key for entity in plan.entities.values()}
        for feature in sorted((RESERVED | keys).intersection(view.features)):
            yield f"build_features.views.{name}.features.{feature}", "this name is the platform's own; choose another"
        # The column name `view__feature` must have one reading.
        for part in filter(lambda part: "__" in part, (name, *view.features)):
            yield f"build_features.views.{name}", f"{part!r} has two underscores in a row; views and features have none"
    for name, references in section.services.items():
        for reference in references:
            path = f"build_features.services.{name}"
            view_name, _, feature = reference.partition(".")
            yield from undeclared(path, "view", view_name, section.views)
            if view_name in section.views and feature != "*":
                yield from undeclared(path, f"feature of {view_name}", feature, section.views[view_name].features)


def _view_sources(plan: Plan, name: str, view: View) -> Iterator[Finding]:
    """Yield a finding for each source of a view that is not declared, or is not about the view's or the predicted entity."""
    path = f"build_features.views.{name}"
    if view.entity is not None:
        yield from undeclared(f"{path}.entity", "entity", view.entity, plan.entities)
    if view.source not in plan.ingest:
        return
    about = plan.entity_name(view)
    named = {f"{path}.source": view.source}
    named |= {f"{path}.features.{key}.source": each.source for key, each in view.features.items() if each.source}
    for key, source in named.items():
        yield from undeclared(key, "source", source, plan.ingest)
        if source in plan.ingest and about in plan.entities:
            yield from _of_entity(plan, key, source, about)


def _of_entity(plan: Plan, path: str, source: str, about: str) -> Iterator[Finding]:
    """Yield a finding if the rows of `source` are not about the entity `about`, or the predicted one if `about` is linked."""
    entity, declared, label = plan.entities[about], plan.ingest[source], plan.ingest.get(plan.label.source)
    if declared.entity == about:
        return
    if entity.of is None:
        yield (
            path,
            (
                f"{source!r} has rows of the entity {declared.entity!r}, the view is about {about!r}; a view takes rows of its "
                "own entity, and of what belongs to it if entities says so with `of`"
            ),
        )
    elif label is not None and declared.entity != label.entity:
        yield path, f"{source!r} has rows of the entity {declared.entity!r}; expected {about!r} or {label.entity!r}"
    elif entity.key in declared.ingested().columns and declared.columns[entity.key].dtype != entity.dtype:
        dtype = declared.columns[entity.key].dtype
        yield path, f"its column {entity.key!r} is {dtype}, the key of the entity {about!r} is {entity.dtype}"


def link_findings(plan: Plan) -> Iterator[Finding]:
    """Yield the faults of linked entities: each must be reached from the predicted entity by one feature of its views."""
    views, label = plan.build_features.views, plan.ingest.get(plan.label.source)
    for name, entity in plan.entities.items():
        if entity.of is None:
            continue
        path, (view, _, feature) = f"entities.{name}.of", entity.of.partition(".")
        shared = [each for each, declared in plan.entities.items() if declared.key == entity.key and each != name]
        if shared:
            yield (
                f"entities.{name}.key",
                f"{entity.key!r} is the key of {shared[0]!r} too; a linked entity needs its own",
            )
        if label is not None and label.entity == name:
            yield path, f"{name!r} is what is predicted, so nothing links to it; take the key out"
            continue
        yield from undeclared(path, "view", view, views)
        if view not in views:
            continue
        yield from undeclared(path, f"feature of {view}", feature, views[view].features)
        source = plan.ingest.get(views[view].source)
        about = views[view].entity or (source.entity if source else None)
        if label is not None and about is not None and about != label.entity:
            yield (
                path,
                (
                    f"the view {view!r} is about {about!r}; a link starts at what is predicted, {label.entity!r}, and "
                    "links are not followed one after another"
                ),
            )
        found = views[view].features.get(feature)
        if found is not None and found.dtype != entity.dtype:
            yield path, f"{entity.of} is {found.dtype}, the key of the entity is {entity.dtype}; declare them alike"
