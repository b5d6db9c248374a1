"""Tables without times: the defaults that they imply in a plan, and the keys that have no meaning for them.

A source without `event_time` has one row for each key, whose values hold at any time. If the label is in such a source, the
plan has no as-of instants: the platform computes everything as of one fixed instant, which it never shows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.plan.ingest import QualityRules
from core.plan.plan import Feature
from core.plan.rows.look_ups import JoinedColumn
from core.plan.training_set import TemporalSplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan.ingest import Column, Source
    from core.plan.plan import FeatureDType, Plan, View

Finding = tuple[str, str]

_MISSING = "this key is missing; add it"
_TEXT = re.compile(r"'(?:[^']|'')*'")
#: Features of the dtypes that only columns have.
_DTYPES: Mapping[str, FeatureDType] = {"date": "timestamp"}


def with_meanings(plan: Plan) -> Plan:
    """Return the plan with the keys filled in that tables without times imply."""
    flat = {name for name, source in plan.ingest.items() if source.event_time is None}
    if not flat:
        return plan
    label = plan.label.model_copy(update={"source": plan.label.source or _only(flat)})
    plan = plan.model_copy(update={"label": label})
    views = {name: _with_features(plan, view, flat) for name, view in plan.build_features.views.items()}
    rules = {**plan.validate_, **{name: _unique_by_key(plan, name) for name in sorted(flat)}}
    section = plan.build_features.model_copy(update={"views": views})
    return plan.model_copy(update={"build_features": section, "validate_": rules})


def _only(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else ""


def _unique_by_key(plan: Plan, name: str) -> QualityRules:
    """Return the rules of a source without times, with its key as the unique column."""
    rules, entity = plan.validate_.get(name, QualityRules()), plan.entities.get(plan.ingest[name].entity)
    return rules if rules.unique or entity is None else rules.model_copy(update={"unique": (entity.key,)})


def _with_features(plan: Plan, view: View, flat: set[str]) -> View:
    """Return a view with a feature for each of its `columns`; over a source without times a feature is `over: row`."""
    features = {**_column_features(plan, view, flat), **view.features}
    over_row = {
        name: feature.model_copy(update={"over": "row"})
        for name, feature in features.items()
        if feature.over == "rows" and (feature.source or view.source) in flat
    }
    return view.model_copy(update={"features": {**features, **over_row}})


def _column_features(plan: Plan, view: View, flat: set[str]) -> dict[str, Feature]:
    if view.columns is None or view.source not in flat:
        return {}
    columns = plan.ingest[view.source].ingested().columns
    left_out = {*(entity.key for entity in plan.entities.values()), *label_columns(plan, view.source)}
    names = [name for name in columns if name not in left_out] if view.columns == "all" else view.columns
    return {name: _column_feature(name, columns[name]) for name in names if name in columns}


def _column_feature(name: str, column: Column) -> Feature:
    stated = {"unit": column.unit, "meaning": column.meaning or ("" if column.unit else f"column {name}")}
    dtype = _DTYPES.get(column.dtype, column.dtype)
    return Feature.model_validate({"sql": f'"{name}"', "dtype": dtype, "over": "row", **stated})


def label_columns(plan: Plan, source: str) -> set[str]:
    """Return the columns of `source` that contain the label, if the label is in the entity's row or in the example's."""
    label = plan.label
    labelled = plan.ingest.get(label.source)
    if labelled is None or not (plan.labels_rows or labelled.event_time is None):
        return set()
    held = {label.column} if label.column else words(label.value).intersection(labelled.columns)
    joined = {
        name
        for name, column in plan.ingest[source].columns.items()
        if isinstance(column, JoinedColumn) and column.source == label.source and column.origin in held
    }
    return joined | (held if source == label.source else set())


def words(sql: str) -> set[str]:
    """Return the words of an SQL expression outside of its string literals, in lower case."""
    return set(re.findall(r"\w+", _TEXT.sub("''", sql).lower()))


def missing_keys(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each key that is missing, though sources with times, or a label with a time, require it."""
    if not plan.label.source:
        yield "label.source", _MISSING
    if plan.has_time:
        given = {
            "label.horizon": "horizon" in plan.label.model_fields_set or plan.label.column is not None,
            "build_features.snapshots": "snapshots" in plan.build_features.model_fields_set,
            "training_set.as_of": "as_of" in plan.training_set.model_fields_set,
            "materialize.as_of": "as_of" in plan.materialize.model_fields_set,
        }
        for name, view in plan.build_features.views.items():
            given |= {f"build_features.views.{name}.{key}": key in view.model_fields_set for key in ("ttl", "every")}
        yield from ((path, _MISSING) for path, is_given in given.items() if not is_given)


def flat_findings(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each key that has no meaning for a table without times."""
    for name, source in plan.ingest.items():
        if source.event_time is None:
            yield from _not_by_key(plan, name, source)
    for name, view in plan.build_features.views.items():
        yield from _view_findings(plan, f"build_features.views.{name}", view)
    yield from _timed_label(plan) if plan.has_time else _label_of_row(plan)


def _not_by_key(plan: Plan, name: str, source: Source) -> Iterator[Finding]:
    key = plan.entities[source.entity].key
    if plan.validate_[name].unique != (key,):
        yield (
            f"validate.{name}.unique",
            f"the source has no event_time, so it has one row for each {key}: write [{key}]",
        )


def _view_findings(plan: Plan, path: str, view: View) -> Iterator[Finding]:
    source = plan.ingest[view.source]
    if view.columns is not None and source.event_time is not None:
        yield (
            f"{path}.columns",
            f"the source {view.source!r} has event_time, so an entity has many rows; write features, each an SQL aggregate",
        )
    named = () if view.columns in {None, "all"} else view.columns or ()
    ingested = source.ingested().columns
    labels = {rows: label_columns(plan, rows) for rows in view.sources}
    for column in named:
        if column not in ingested:
            yield f"{path}.columns", f"{column!r} is not a declared column of {view.source!r}"
    for name, feature in view.features.items():
        rows = feature.source or view.source
        flat = plan.ingest[rows].event_time is None
        if feature.over == "row" and not flat:
            yield (
                f"{path}.features.{name}.over",
                f"the source {rows!r} has event_time, so an entity has many rows; write rows",
            )
        if feature.over == "row":
            yield from _row_feature(plan, f"{path}.features.{name}", feature, rows, labels[rows])
    if any(plan.ingest[rows].event_time is None for rows in view.sources) and plan.entity_of(view).of is not None:
        yield (
            f"{path}.entity",
            "a view about a linked entity adds up rows of many entities, which needs sources with event_time",
        )


def _row_feature(plan: Plan, path: str, feature: Feature, rows: str, labels: set[str]) -> Iterator[Finding]:
    for key in ("window", "lag"):
        if getattr(feature, key) is not None:
            yield (
                f"{path}.{key}",
                f"the source {rows!r} has no event_time, so there is no time to look back over; take it out",
            )
    reference = path.removeprefix("build_features.views.").replace(".features.", ".")
    if plan.label.column is None and reference in plan.training_set.leakage.allow:
        return
    for column in sorted(labels.intersection(words(feature.sql))):
        yield f"{path}.sql", f"the column {column!r} holds the label, so no feature may read it; take the feature out"


def _timed_label(plan: Plan) -> Iterator[Finding]:
    if plan.labels_rows:
        yield from _label_column(plan)
    elif plan.label.column is not None:
        yield (
            "label.column",
            (
                f"the source {plan.label.source!r} has event_time, so an entity has many rows; write value, an SQL aggregate "
                f"over those after the as-of instant, or train on each row: training_set.as_of.each_row_of: {plan.label.source}"
            ),
        )


def _label_of_row(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each key that needs as-of instants, although the label has no time."""
    why = f"the label's source {plan.label.source!r} has no event_time"
    for name, source in plan.ingest.items():
        if source.event_time is not None:
            yield (
                f"ingest.{name}.event_time",
                f"{why}, so nothing says which rows were known before the label; take the source out, or give both a time",
            )
    if isinstance(plan.training_set.split, TemporalSplit):
        yield "training_set.split", f"{why}, so rows cannot be split by time; choose random, stratified or grouped"
    sections = {
        "label.horizon": plan.label,
        "label.lead": plan.label,
        "label.delay": plan.label,
        "build_features.snapshots": plan.build_features,
        "training_set.as_of": plan.training_set,
        "materialize.as_of": plan.materialize,
    }
    for path, section in sections.items():
        if path.rpartition(".")[2] in section.model_fields_set:
            yield path, f"{why}, so there are no instants; take the key out"
    for name, view in plan.build_features.views.items():
        for key in sorted({"ttl", "every"} & view.model_fields_set):
            yield f"build_features.views.{name}.{key}", f"{why}, so values do not age; take the key out"
    yield from _label_column(plan)


def _label_column(plan: Plan) -> Iterator[Finding]:
    label, columns = plan.label, plan.ingest[plan.label.source].columns
    if label.column is None:
        return
    if label.column not in columns:
        yield "label.column", f"{label.column!r} is not a declared column of {label.source!r}; add it to its columns"
        return
    dtype = columns[label.column].dtype
    if plan.project.problem != "binary":
        if label.positive is not None:
            yield "label.positive", f"a {plan.project.problem} problem has no positive class; take the key out"
        return
    if label.positive is None and dtype == "string":
        yield "label.positive", f"{label.column!r} is a string; say which value is class 1"
    kind: type = {"string": str, "bool": bool}.get(dtype, int)
    if label.positive is not None and type(label.positive) is not kind:
        yield "label.positive", f"found {label.positive!r}; {label.column!r} is a {dtype}, write a value of it"
