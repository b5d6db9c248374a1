"""Checks between the sections of a plan: every name that is used is declared, and the times are consistent.

A check yields findings (path of the key, fault); `core.plan.text` raises them as one `PlanError`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.clock import future_fault, is_ahead
from core.dtypes import NUMERIC
from core.plan.candidate_checks import candidate_findings
from core.plan.evaluate import INTERVAL_METRICS, METRICS, ORDINAL_METRICS
from core.plan.limits import limit_findings
from core.plan.rows.instants import instant_findings, row_findings
from core.plan.rows.look_ups import look_up_findings, timed_look_up_findings
from core.plan.rows.validity import validity_findings
from core.plan.times import day_or_time, in_units
from core.plan.training_set import TemporalSplit
from core.plan.without_time import flat_findings, missing_keys
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from core.plan.evaluate import Metric
    from core.plan.ingest import Column, QualityRules, Source
    from core.plan.plan import Plan, View
    from core.plan.training_set import AsOf

Finding = tuple[str, str]

#: Column names that the platform adds to rows, and which a plan therefore may not use.
RESERVED = frozenset(
    {"event_timestamp", "created_timestamp", "event_time", "created_time", "as_of", "source_row", "label"}
)
#: Names that an entity key may not have: it shares tables with these columns (`split` in the training set).
KEYS_TAKEN = RESERVED | {"split"}


def _undeclared(path: str, kind: str, name: str, declared: Iterable[str]) -> Iterator[Finding]:
    names = list(declared)
    if name not in names:
        yield path, f"{name!r} is not a declared {kind}; {allowed_here(name, names)}"


def _entities(plan: Plan) -> Iterator[Finding]:
    for name, entity in plan.entities.items():
        if entity.key in KEYS_TAKEN or "__" in entity.key:
            yield f"entities.{name}.key", f"{entity.key!r} is a name of the platform's own; declare another"
        for key, named in (("source", entity.source), ("until", entity.until)):
            if named is None:
                continue
            path = f"entities.{name}.{key}"
            yield from _undeclared(path, "source", named, plan.ingest)
            source = plan.ingest.get(named)
            if source is not None and source.entity != name and source.entity in plan.entities:
                yield path, f"{named!r} has rows of the entity {source.entity!r}, not of {name!r}"


def _sources(plan: Plan) -> Iterator[Finding]:
    for name, source in plan.ingest.items():
        path = f"ingest.{name}"
        yield from _undeclared(f"{path}.entity", "entity", source.entity, plan.entities)
        for reserved in RESERVED.intersection(source.columns):
            yield f"{path}.columns.{reserved}", "this name is the platform's own; declare another with rename_from"
        for key, time in zip(("event_time", "created_time"), source.times, strict=False):
            if time.column:  # a time through another source has its own findings
                yield from _undeclared(f"{path}.{key}.column", "column", time.column, source.columns)
        entity = plan.entities.get(source.entity)
        if entity is not None and entity.key not in source.columns:
            yield f"{path}.columns", f"the key {entity.key!r} of the entity {source.entity!r} is not among the columns"
        elif entity is not None and source.columns[entity.key].dtype != entity.dtype:
            found = source.columns[entity.key].dtype
            yield f"{path}.columns.{entity.key}.dtype", f"{found} is not the dtype of the entity's key, {entity.dtype}"


def _personal(plan: Plan) -> Iterator[Finding]:
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


def _quality(plan: Plan) -> Iterator[Finding]:
    for name, rules in plan.validate_.items():
        yield from _undeclared(f"validate.{name}", "source", name, plan.ingest)
        if name not in plan.ingest:
            continue
        source = plan.ingest[name]
        columns = source.columns
        keys = {entity.key for entity in plan.entities.values()}
        yield from _needed_values(f"validate.{name}.as_missing", source, rules, keys)
        for rule, column in rules.columns():
            yield from _undeclared(f"validate.{name}.{rule}", "column", column, columns)
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


def _views(plan: Plan) -> Iterator[Finding]:
    section = plan.build_features
    for name, view in section.views.items():
        yield from _undeclared(f"build_features.views.{name}.source", "source", view.source, plan.ingest)
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
            yield from _undeclared(path, "view", view_name, section.views)
            if view_name in section.views and feature != "*":
                yield from _undeclared(path, f"feature of {view_name}", feature, section.views[view_name].features)


def _view_sources(plan: Plan, name: str, view: View) -> Iterator[Finding]:
    """Yield a finding for each source of a view that is not declared, or is not about the view's or the predicted entity."""
    path = f"build_features.views.{name}"
    if view.entity is not None:
        yield from _undeclared(f"{path}.entity", "entity", view.entity, plan.entities)
    if view.source not in plan.ingest:
        return
    about = plan.entity_name(view)
    named = {f"{path}.source": view.source}
    named |= {f"{path}.features.{key}.source": each.source for key, each in view.features.items() if each.source}
    for key, source in named.items():
        yield from _undeclared(key, "source", source, plan.ingest)
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


def _links(plan: Plan) -> Iterator[Finding]:
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
        yield from _undeclared(path, "view", view, views)
        if view not in views:
            continue
        yield from _undeclared(path, f"feature of {view}", feature, views[view].features)
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


def _label(plan: Plan) -> Iterator[Finding]:
    if plan.label.source:
        yield from _undeclared("label.source", "source", plan.label.source, plan.ingest)
    yield from _undeclared(
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


def _one_entity(plan: Plan) -> Iterator[Finding]:
    entity = plan.ingest[plan.label.source].entity
    for name in plan.build_features.services:
        for view in dict.fromkeys(view for view, _ in plan.build_features.service_features(name)):
            about = plan.entity_name(plan.build_features.views[view])
            if about != entity and plan.entities[about].of is None:
                yield f"build_features.services.{name}", _unreached(view, about, entity)


def _unreached(view: str, about: str, unit: str) -> str:
    return (
        f"the view {view!r} is about {about!r}, but what is predicted is {unit!r}: say which feature of {unit!r} holds its key "
        f"(entities.{about}.of: view.feature), or take the view out"
    )


def _candidates(plan: Plan) -> Iterator[Finding]:
    yield from candidate_findings(plan)


def _evaluation(plan: Plan) -> Iterator[Finding]:
    section = plan.evaluate
    problem: str = plan.project.problem
    yield from _undeclared("evaluate.baseline", "candidate", section.baseline, plan.train.candidates)
    for metric in section.metrics:
        yield from _undeclared("evaluate.metrics", f"metric of a {problem} problem", metric, METRICS[problem])
    if problem == "binary" and section.threshold is None:
        yield "evaluate.threshold", "this key is missing; a binary problem decides by a threshold, say {maximise: f1}"
    for key in ("threshold", "money"):
        if problem != "binary" and getattr(section, key) is not None:
            yield f"evaluate.{key}", f"a {problem} problem has no decision at a threshold; take the key out"
    if problem != "binary" and section.fairness is not None:
        yield "evaluate.fairness", f"a {problem} problem has no decisions to compare; take the key out"
    if (problem == "binary") != bool(plan.serve.decisions.above):
        needs = (
            "needs the names of its two decisions" if problem == "binary" else "decides by no threshold: take it out"
        )
        yield "serve.decisions", f"a {problem} problem {needs}"
    yield from _measured(plan)
    if problem == "regression" and section.calibration != "none":
        yield "evaluate.calibration", "the scores of a regression are no probabilities; take the key out"


def _measured(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for an interval, names or an order of classes that the problem does not have, and for their metrics."""
    section, label, problem = plan.evaluate, plan.label, plan.project.problem
    if section.interval is not None and problem != "regression":
        yield "evaluate.interval", f"a {problem} problem predicts probabilities, not a number; take the key out"
    if label.order is not None and problem != "multiclass":
        yield "label.order", f"a {problem} problem has no classes to order; take the key out"
    if label.names is not None and problem != "binary":
        yield "label.names", f"a {problem} problem has no class 0 and class 1; take the key out"
    chosen = {"evaluate.metrics": section.metrics, **_promoted(plan)}
    for path, metrics in chosen.items():
        if problem == "regression" and section.interval is None and INTERVAL_METRICS.intersection(metrics):
            yield path, "a metric of intervals needs the key evaluate.interval; add {coverage: 0.9}"
        if problem == "multiclass" and label.order is None and ORDINAL_METRICS.intersection(metrics):
            yield path, "a metric of ordered classes needs the key label.order; list the classes from lowest to highest"
    for path, metric in (("evaluate.primary", section.primary), ("register.win", plan.register_.win)):
        if metric == "coverage":
            yield path, "coverage is higher the wider the intervals; write interval_score, which counts their width"


def _promoted(plan: Plan) -> dict[str, tuple[Metric, ...]]:
    """Return the metrics of the gate, by the path of their key."""
    section = plan.register_
    named = {"not_lose": tuple(section.not_lose), "no_part_loses": tuple(section.no_part_loses)}
    named["win"] = (section.win,) if section.win else ()
    return {f"register.{key}": metrics for key, metrics in named.items()}


def _register(plan: Plan) -> Iterator[Finding]:
    section, problem = plan.register_, plan.project.problem
    chosen = {f"not_lose.{metric}": metric for metric in section.not_lose}
    chosen |= {f"no_part_loses.{metric}": metric for metric in section.no_part_loses}
    if section.no_part_loses and not plan.evaluate.groups:
        yield "register.no_part_loses", "there are no parts; name groups in evaluate.groups"
    if section.max_ece is not None and problem == "regression":
        yield "register.max_ece", "the scores of a regression are no probabilities; take the key out"
    if section.win is not None:
        chosen["win"] = section.win
    for key, metric in chosen.items():
        yield from _undeclared(f"register.{key}", f"metric of a {problem} problem", metric, METRICS[problem])
        if metric == "profit" and plan.evaluate.money is None:
            yield f"register.{key}", "profit needs the key evaluate.money, which says what a decision earns"


def _attributes(plan: Plan) -> Iterator[Finding]:
    views, unit = plan.build_features.views, plan.ingest[plan.label.source].entity
    section = plan.training_set
    named = [("training_set.attributes", reference) for reference in section.attributes]
    single = (("training_set.split.by", section.split_by), ("training_set.weight", section.weight))
    for path, reference in (*named, *((path, reference) for path, reference in single if reference)):
        name, _, feature = reference.partition(".")
        yield from _undeclared(path, "view", name, views)
        if name not in views:
            continue
        yield from _undeclared(path, f"feature of {name}", feature, views[name].features)
        if path == "training_set.weight" and feature in views[name].features:
            yield from _number(path, reference, views[name].features[feature].dtype)
        about = plan.entity_name(views[name])
        if about != unit and plan.entities[about].of is None:
            yield path, _unreached(name, about, unit)


def _number(path: str, reference: str, dtype: str) -> Iterator[Finding]:
    if dtype not in NUMERIC - {"bool"}:
        yield path, f"{reference} is a {dtype}; expected a number"


def _money(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each amount by row that is no number of the training set."""
    money, dtypes = plan.evaluate.money, _known_dtypes(plan)
    for key, reference in (money.references if money else {}).items():
        path = f"evaluate.money.{key}"
        known = f"feature of {plan.training_set.service}, or attribute of training_set"
        yield from _undeclared(path, known, reference, dtypes)
        if reference in dtypes:
            yield from _number(path, reference, dtypes[reference])


def _allowed_to_know(plan: Plan) -> Iterator[Finding]:
    pairs = plan.build_features.service_features(plan.training_set.service)
    known, service = [f"{view}.{name}" for view, name in pairs], plan.training_set.service
    for reference in plan.training_set.leakage.allow:
        yield from _undeclared("training_set.leakage.allow", f"feature of {service}", reference, known)


def _expected_drift(plan: Plan) -> Iterator[Finding]:
    service = plan.training_set.service
    pairs = plan.build_features.service_features(service)
    known = ["score", *{f"{view}.*": None for view, _ in pairs}, *(f"{view}.{name}" for view, name in pairs)]
    for reference in plan.monitor.expected_drift:
        yield from _undeclared("monitor.expected_drift", f"column of {service}", reference, known)


def _known_dtypes(plan: Plan) -> dict[str, str]:
    """Return the dtypes of the features of the service and of the attributes, by `view.feature`."""
    views = plan.build_features.views
    pairs = plan.build_features.service_features(plan.training_set.service)
    dtypes: dict[str, str] = {f"{view}.{name}": views[view].features[name].dtype for view, name in pairs}
    for reference in plan.training_set.attributes:
        name, _, feature = reference.partition(".")
        if name in views and feature in views[name].features:
            dtypes[reference] = views[name].features[feature].dtype
    return dtypes


def _groups(plan: Plan) -> Iterator[Finding]:
    section, dtypes = plan.evaluate, _known_dtypes(plan)
    for name, group in section.groups.items():
        path, dtype = f"evaluate.groups.{name}", dtypes.get(group.feature)
        known = f"feature of {plan.training_set.service}, or attribute of training_set"
        yield from _undeclared(f"{path}.feature", known, group.feature, dtypes)
        if dtype in {"text", "timestamp"}:
            yield f"{path}.feature", f"{group.feature} is a {dtype}; a group needs a string, a bool or a number"
        elif dtype is not None and bool(group.edges) != (dtype in NUMERIC - {"bool"}):
            yield f"{path}.edges", f"{group.feature} is a {dtype}; edges belong to numbers, and those need them"
    for name in section.fairness.groups if section.fairness else ():
        yield from _undeclared("evaluate.fairness.groups", "group", name, section.groups)


def _times(plan: Plan) -> Iterator[Finding]:
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


def future_findings(plan: Plan, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each instant of `plan` in the future of `now`: its data cannot have been observed."""
    named = {f"ingest.{name}.observed_until": source.observed_until for name, source in plan.ingest.items()}
    named |= {
        "build_features.snapshots.end": plan.build_features.snapshots.end,
        "training_set.as_of.end": plan.training_set.as_of.end,
        "materialize.as_of": plan.materialize.as_of,
    }
    yield from ((path, future_fault(instant, now)) for path, instant in named.items() if is_ahead(instant, now))


def findings(plan: Plan) -> list[Finding]:
    """Return all findings between the sections of `plan`; the later checks run only if all names are declared."""
    found = [
        finding
        for check in (
            missing_keys,
            look_up_findings,
            instant_findings,
            validity_findings,
            _entities,
            _sources,
            _personal,
            _quality,
            _views,
            _links,
            _label,
        )
        for finding in check(plan)
    ]
    if found:
        return found
    later = (
        flat_findings,
        row_findings,
        timed_look_up_findings,
        limit_findings,
        _one_entity,
        _candidates,
        _evaluation,
        _attributes,
        _money,
        _allowed_to_know,
        _groups,
        _expected_drift,
        _register,
        _times,
    )
    return [finding for check in later for finding in check(plan)]
