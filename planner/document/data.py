"""The chapters of a document about the data of a plan: the problem, the sources, the features and the examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.ingest import QualityRules
from core.plan.times import LONGEST, day_or_time, in_units
from core.plan.training_set import GroupedSplit, TemporalSplit
from planner.document.parts import Chapter, Row, Statement, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from core.plan.ingest import Source
    from core.plan.plan import Feature, Plan, View
    from planner.document.parts import Stated

_MOST_FEATURES = 400
_LONGEST = 1000
_PROBLEMS = {"binary": "a yes-or-no question", "multiclass": "a choice of one class", "regression": "a number"}


def problem(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about what is predicted, and why."""
    section, label = plan.project, plan.label
    parts = [
        Statement(f"Problem: {section.statement}", "stated"),
        Statement(f"The label is {_PROBLEMS[section.problem]}, for each {_unit(plan)}.", "stated"),
        Statement(f"It is {label.expression} over {_label_rows(plan)}.", "stated"),
        Statement(_population(plan), stated.basis("label.population")),
    ]
    for name, text in (("Target outcome", section.target_outcome), ("Scope", section.scope)):
        if text:
            parts.append(Statement(f"{name}: {text}", "stated"))
    return Chapter("Problem", tuple(parts))


def _population(plan: Plan) -> str:
    condition = plan.label.population
    return f"Every {_unit(plan)} is predicted" + ("." if condition == "true" else f" for which {condition}.")


def _unit(plan: Plan) -> str:
    return plan.ingest[plan.label.source].entity


def _label_rows(plan: Plan) -> str:
    label = plan.label
    if not plan.has_time:
        return f"the row in {label.source}, which has no time"
    if plan.labels_rows:
        return f"the row of {label.source} that is the example"
    lead = f", {in_units(label.lead)} after it" if label.lead else ""
    known = f", known {in_units(label.delay)} later" if label.delay else ""
    return f"the rows of {label.source} in the {in_units(label.horizon)} from each instant{lead}{known}"


def data(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about the sources: where they are, how fresh, of what quality, and with what personal data."""
    sources = [Row((name, *_source(source)), "stated") for name, source in plan.ingest.items()]
    rules = [
        Row(
            (name, _cut("; ".join(_rules(found)) or "none"), f"{found.max_rejected:.2%}"),
            stated.basis(f"validate.{name}"),
        )
        for name, found in _all_rules(plan)
    ]
    personal = [
        Row((name, key, _TREATMENTS[column.pii]), "stated")
        for name, source in plan.ingest.items()
        for key, column in source.columns.items()
        if column.pii is not None
    ]
    parts: list[Statement | Table] = [
        Table("Sources", ("source", "reader", "entity", "columns", "event time", "observed until"), tuple(sources)),
        Table("Quality rules", ("source", "rules", "most faulty rows"), tuple(rules)),
    ]
    if personal:
        parts.append(Table("Personal data", ("source", "column", "treatment"), tuple(personal)))
    else:
        parts.append(Statement("No column is declared as personal data.", "assumed"))
    parts.append(Statement("Secrets of readers come from the environment; the plan names their variables.", "assumed"))
    return Chapter("Data requirements", tuple(parts))


_TREATMENTS = {"keep": "kept", "hash": "replaced by a keyed hash", "remove": "removed before anything is stored"}


def _source(source: Source) -> tuple[str, str, str, str, str]:
    reader, time = source.reader, source.event_time
    where = next((str(found) for key in _WHERE if (found := getattr(reader, key, None))), "")
    until = day_or_time(source.observed_until) if time else ""
    columns = f"{len(source.columns):,}"
    return f"{reader.kind} {where}".strip(), source.entity, columns, time.column if time else "none", until


_WHERE = ("path", "url", "table", "query", "requirement")


def _all_rules(plan: Plan) -> Iterator[tuple[str, QualityRules]]:
    for name in plan.ingest:
        yield name, plan.validate_.get(name, QualityRules())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… (the rest is in the plan)"


def _rules(rules: QualityRules) -> Iterator[str]:
    if rules.not_null:
        yield f"present: {', '.join(rules.not_null)}"
    for name, (low, high) in rules.range.items():
        yield f"{name} from {'any' if low is None else low} to {'any' if high is None else high}"
    for name, values in rules.allowed.items():
        yield f"{name} one of {', '.join(values)}"
    for name, pattern in rules.pattern.items():
        yield f"{name} like {pattern}"
    if rules.unique:
        yield f"unique: {', '.join(rules.unique)}"


def features(plan: Plan) -> Chapter:
    """Return the chapter about the feature views and their features."""
    views = plan.build_features.views
    by_view = [Row((name, *_view(plan, view)), "stated") for name, view in views.items()]
    rows = [
        Row(
            (
                f"{name}.{key}",
                feature.meaning or feature.unit,
                feature.dtype,
                feature.sql,
                _window(feature),
            ),
            "stated",
        )
        for name, view in views.items()
        for key, feature in view.features.items()
    ]
    head = ("view", "source", "entity", "every", "fresh for", "features")
    left_out = max(len(rows) - _MOST_FEATURES, 0)
    return Chapter(
        "Feature engineering",
        (
            Table("Views", head, tuple(by_view)),
            Table("Features", ("feature", "meaning", "type", "SQL", "window"), tuple(rows[:_MOST_FEATURES]), left_out),
        ),
    )


def _view(plan: Plan, view: View) -> tuple[str, str, str, str, str]:
    every, ttl = (view.every, _length(view.ttl)) if plan.has_time else ("", "")
    return ", ".join(view.sources), plan.entity_name(view), every, ttl, f"{len(view.features):,}"


def _window(feature: Feature) -> str:
    if feature.over != "rows":
        return ""
    lag = f", {in_units(feature.lag)} ago" if feature.lag else ""
    return f"{in_units(feature.window) if feature.window else 'all rows'}{lag}"


def _length(duration: timedelta) -> str:
    return in_units(duration) if duration < LONGEST else "ever"


def examples(plan: Plan, stated: Stated) -> Chapter:
    """Return the chapter about the training set and its split."""
    section = plan.training_set
    pairs = plan.build_features.service_features(section.service)
    parts = [Statement(f"Models read the {len(pairs):,} features of the service {section.service}.", "stated")]
    if plan.has_time:
        rows, every = section.as_of.each_row_of, section.as_of.every
        each = f"the time of each row of {rows}" if rows else f"instants {every} apart"
        period = f"from {day_or_time(section.as_of.start)} to {day_or_time(section.as_of.end)}"
        parts.append(Statement(f"Examples are as of {each}, {period}.", "stated"))
    parts.append(Statement(_split(plan), "stated"))
    unlabelled = {"refuse": "fails the run", "leave_out": "is left out and counted"}[plan.label.unlabelled]
    parts.append(Statement(f"A row without a label {unlabelled}.", stated.basis("label.unlabelled")))
    if section.weight:
        parts.append(Statement(f"Rows count by the weight {section.weight}.", "stated"))
    leakage = section.leakage
    parts.append(
        Statement(
            f"A feature that alone tells the label better than {leakage.alone:g} is a suspected leak and fails the run.",
            stated.basis("training_set.leakage.alone"),
        )
    )
    return Chapter("Training pipeline", tuple(parts))


def _split(plan: Plan) -> str:
    split = plan.training_set.split
    if isinstance(split, TemporalSplit):
        days = f"validation from {day_or_time(split.validation_from)}, test from {day_or_time(split.test_from)}"
        return f"The split is in time: {days}, {in_units(split.gap)} apart, so that no label window reaches into the next part."
    of = f"rows with the same {split.by} stay" if isinstance(split, GroupedSplit) and split.by else ""
    whole = of or (f"all rows of one {_unit(plan)} stay" if isinstance(split, GroupedSplit) else "")
    together = f"; {whole} in one part" if whole else ""
    return f"The split is {split.kind}, in {split.folds} folds: one tests, one validates, the others train{together}."
