"""Check a plan against its data before the first stage: what would end a stage, and what makes results doubtful."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.errors import SourceError
from core.plan.rows.look_ups import own
from feature_repo.files.duck import identifier
from feature_repo.sources.quality import typed_value
from feature_repo.sources.times import SourceTime
from feature_repo.sources.tokens import meant_value
from models.data.rows import Task
from models.evaluation.leak_scores import suspicion
from planner.check.findings import Checked, Finding, in_order
from planner.profile.associations import associations
from planner.profile.columns import profile_columns
from planner.profile.tables import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from core.plan.ingest import Source
    from core.plan.plan import Plan
    from planner.profile.column import Column
    from planner.profile.tables import Loaded

#: Positive labels in the test part below which an interval is too wide to compare releases.
_FEW_POSITIVES = 50
_WHAT_TO_DO = dict.fromkeys(("date", "timestamp"), "state its format (and the zone of times without one)")


@dataclass(frozen=True)
class Given:
    """A source with its rows as loaded, under the plan's names."""

    name: str
    source: Source
    loaded: Loaded
    columns: tuple[Column, ...]


def check_data(connection: duckdb.DuckDBPyConnection, plan: Plan, scratch: Path) -> Checked:
    """Return all findings about a plan and the rows of its sources."""
    findings: list[Finding] = []
    given: dict[str, Given] = {}
    for name, source in plan.ingest.items():
        try:
            found = _given(connection, name, source, scratch)
        except SourceError as error:
            what = "correct the reader, or put the file there"
            findings.append(Finding("refuse", f"ingest.{name}.reader", str(error), "a table that can be read", what))
            continue
        given[name] = found
        findings += [*_columns(connection, plan, found), *_keys(connection, plan, found), *_personal(found)]
    findings += _orphans(connection, plan, given)
    if plan.label.source in given and not plan.has_time:
        findings += _label(connection, plan, given[plan.label.source])
    return Checked(in_order(findings), len(given), sum(one.loaded.rows for one in given.values()))


def _given(connection: duckdb.DuckDBPyConnection, name: str, source: Source, scratch: Path) -> Given:
    names = {spec.rename_from or column: column for column, spec in own(source).ingested().columns.items()}
    loaded = load(connection, name, source.reader, scratch, names)
    return Given(name, source, loaded, tuple(profile_columns(connection, loaded)))


def _columns(connection: duckdb.DuckDBPyConnection, plan: Plan, given: Given) -> Iterator[Finding]:
    """Find columns that the file lacks, and those with more values of another kind than the rules allow."""
    rules, loaded = plan.validate_.get(given.name), given.loaded
    allowed = rules.max_rejected if rules else 0.0
    for column, spec in own(given.source).ingested().columns.items():
        path = f"ingest.{given.name}.columns.{column}"
        if column not in loaded.types:
            yield Finding(
                "refuse", path, "no such column in the file", repr(spec.rename_from or column), "correct rename_from"
            )
        elif spec.dtype != "string":
            raw, value = _meant(given, column), _value(given, column)
            ((faults,),) = connection.execute(
                f"SELECT count(*) FILTER ({raw} IS NOT NULL AND {value} IS NULL) FROM {loaded.relation}"
            ).fetchall()
            if faults > allowed * loaded.rows:
                what = _WHAT_TO_DO.get(spec.dtype, "list its words for no value in missing, or declare another dtype")
                yield Finding(
                    "refuse",
                    path,
                    f"{faults:,} of {loaded.rows:,} values are no {spec.dtype}",
                    f"at most {allowed:.1%}",
                    what,
                )


def _keys(connection: duckdb.DuckDBPyConnection, plan: Plan, given: Given) -> Iterator[Finding]:
    """Find rows without a key, and of a table without times rows with the same one."""
    key = plan.entities[given.source.entity].key
    if key not in given.loaded.types:
        return
    ((values, distinct),) = connection.execute(
        f"SELECT count({identifier(key)}), count(DISTINCT {identifier(key)}) FROM {given.loaded.relation}"
    ).fetchall()
    path, missing = f"ingest.{given.name}.columns.{key}", given.loaded.rows - values
    if missing:
        yield Finding("warn", path, f"{missing:,} rows without a key", "a key in every row", "they will be rejected")
    if given.source.event_time is None and distinct < values:
        found = f"{values - distinct:,} rows whose key another row has"
        yield Finding("refuse", path, found, "one row for each key", "correct the table, or choose another key")


def _personal(given: Given) -> Iterator[Finding]:
    for column in given.columns:
        spec = given.source.columns[column.name]
        if spec.pii is None and column.personal_share is not None:
            found = f"{column.personal} in {column.personal_share:.0%} of the values looked at"
            path = f"ingest.{given.name}.columns.{column.name}.pii"
            yield Finding("warn", path, found, "personal data are declared", "write pii: remove, hash or keep")


def _orphans(connection: duckdb.DuckDBPyConnection, plan: Plan, given: dict[str, Given]) -> Iterator[Finding]:
    """Find rows about entities that the entity's own source does not have."""
    for name, entity in plan.entities.items():
        home = given.get(entity.source or "")
        if home is None or entity.key not in home.loaded.types:
            continue
        others = [one for one in given.values() if one.source.entity == name and one is not home]
        for other in others:
            if entity.key not in other.loaded.types:
                continue
            key = identifier(entity.key)
            ((rows,),) = connection.execute(
                f"SELECT count(*) FROM {other.loaded.relation} WHERE {key} IS NOT NULL AND CAST({key} AS VARCHAR) NOT IN "
                f"(SELECT CAST({key} AS VARCHAR) FROM {home.loaded.relation} WHERE {key} IS NOT NULL)"
            ).fetchall()
            if rows:
                found = f"{rows:,} of {other.loaded.rows:,} rows are about a {name} that {home.name} does not have"
                yield Finding(
                    "warn", f"ingest.{other.name}", found, "none", "check the keys of both; such rows are never used"
                )


def _label(connection: duckdb.DuckDBPyConnection, plan: Plan, given: Given) -> Iterator[Finding]:
    """Find labels that are too few, and features that tell the label alone."""
    typed = _typed(connection, given)
    label = f"CAST({plan.label.expression} AS {_LABELS[plan.project.problem]})"
    if plan.project.problem == "binary":
        yield from _balance(connection, plan, label, typed)
    yield from _leaks(connection, plan, typed, label)


#: DuckDB's type of a label.
_LABELS = {"binary": "INTEGER", "regression": "DOUBLE", "multiclass": "VARCHAR"}


def _typed(connection: duckdb.DuckDBPyConnection, given: Given) -> Loaded:
    """Return a copy of a source's rows with its columns in their dtypes."""
    loaded = replace(given.loaded, name="typed rows")
    values = ", ".join(f"{_value(given, column)} AS {identifier(column)}" for column in loaded.types)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {loaded.relation} AS SELECT {values} FROM {given.loaded.relation}"
    )
    described = connection.execute(f"DESCRIBE {loaded.relation}").fetchall()
    return replace(loaded, types={str(row[0]): str(row[1]) for row in described})


def _meant(given: Given, column: str) -> str:
    """Compose the SQL of a value with the words of its column and its reader replaced."""
    return meant_value(
        identifier(column), given.loaded.types[column], given.source.columns[column], given.source.reader
    )


def _value(given: Given, column: str) -> str:
    """Compose the SQL of a value in its dtype; null if it does not fit."""
    spec, found = given.source.columns[column], given.loaded.types[column]
    time = next((time for time in given.source.times if time.column == column), None)
    if time is not None:
        return SourceTime(time, _meant(given, column), found, spec.dtype).value
    return typed_value(_meant(given, column), spec, found)


def _balance(connection: duckdb.DuckDBPyConnection, plan: Plan, label: str, typed: Loaded) -> Iterator[Finding]:
    ((rows, mean),) = connection.execute(f"SELECT count({label}), avg({label}) FROM {typed.relation}").fetchall()
    rarer = min(mean or 0.0, 1 - (mean or 0.0)) * rows / getattr(plan.training_set.split, "folds", 5)
    found = f"about {rarer:.0f} labels of the rarer class in the test part"
    if rarer < 1:
        yield Finding("refuse", plan.label.path, found, "both classes in every part", "correct label.positive")
    elif rarer < _FEW_POSITIVES:
        yield Finding(
            "warn", plan.label.path, found, f"at least {_FEW_POSITIVES}", "collect more rows, or expect wide intervals"
        )


def _leaks(connection: duckdb.DuckDBPyConnection, plan: Plan, typed: Loaded, label: str) -> Iterator[Finding]:
    """Find the columns that the stage `leakage` would suspect, by its own scores over a sample of all rows."""
    section, views = plan.training_set.leakage, plan.build_features.views
    pairs = plan.build_features.service_features(plan.training_set.service)
    by_column = {name: f"{view}.{name}" for view, name in pairs if views[view].features[name].sql == identifier(name)}
    columns = [column for column in profile_columns(connection, typed) if column.name in by_column]
    scores = associations(connection, typed, columns, label, plan.project.problem)
    for name, score in scores.items():
        reason = suspicion(score, section, Task(plan.project.problem))
        if reason and by_column[name] not in section.allow:
            path = f"build_features.services.{plan.training_set.service}: {by_column[name]}"
            what = "take it out, or write in training_set.leakage.allow why it does not leak"
            yield Finding("refuse", path, reason, f"at most {section.alone:g} alone", what)
