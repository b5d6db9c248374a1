"""Draft a plan for rows with times: the label is in a window after each instant, for each entity."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import duckdb

from core.errors import PantheraError
from core.plan.times import parse_duration, written
from feature_repo.files.duck import identifier
from planner.draft.calendar import Span, make_calendar
from planner.draft.entity_rows import (
    Events,
    Facts,
    entity_of,
    in_plan_names,
    label_rows,
    named_table,
    rows_about,
)
from planner.draft.model import Shape, draft_model
from planner.draft.no_features import no_feature
from planner.draft.sources import draft_source, stated_format
from planner.draft.windows import calendar_features, draft_view, label_features, view_name
from planner.profile.column import column_value
from planner.profile.patterns import AFTER_NAME
from planner.profile.times import time_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from core.plan.plan import Problem
    from planner.draft.calendar import Calendar
    from planner.draft.sheet import Sheet
    from planner.draft.task import WindowTask
    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

#: Labels of all instants, and the share of either class at the last one, below which nothing can be learned.
_LEAST_LABELS, _LEAST_SHARE = 200, 0.003


def draft_events(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    profile: Profile,
    line: str,
    task: WindowTask,
    key: str | None,
    time: str | None,
    folder: Path,
) -> None:
    """Put all sections of a plan with a label in a time window into the sheet.

    Raises
    ------
    PantheraError
        If there is no such table, entity or time, or the history is too short for the horizon.

    """
    table = named_table(profile, task.table)
    task = in_plan_names(task, table)
    events = label_rows(sheet, profile, table, task, key, time)
    horizon, lead = parse_duration(task.horizon), task.lead_time
    tables = [other for other in profile.tables if other is not table]
    others = [found for other in tables for found in rows_about(sheet, other, events, profile)]
    parent = _parent(connection, events, [one for one in others if isinstance(one, Events)])
    lasts = [one.last for one in others if isinstance(one, Events) and not one.is_one_row]
    last = max([events.last, *(one for one in lasts if one <= events.last + horizon)])
    span = Span(table.name, events.first, last, parent.key.distinct)
    calendar = make_calendar(span, horizon, lead)
    entity = entity_of(events.key, task.entity)
    sheet.put(f"entities.{entity}", {"key": events.key.name, "dtype": events.key.dtype, "source": parent.table.name})
    rows, balance = _labels(connection, events, parent, task, calendar, horizon)
    share = f"about {balance:.1%} of {rows:,} labels are true" if task.is_condition else f"about {rows:,} labels"
    problem: Problem = "binary" if task.is_condition else "regression"
    _require_labels(problem, rows, balance)
    _project(sheet, table, problem, line)
    for each in (events, *others):
        draft_timed_source(sheet, connection, each, entity, calendar.cut, folder)
    sheet.put("label", _label(table, task), share, rows=rows)
    views = _views(sheet, events, others, calendar, task)
    period = {"start": written(calendar.start), "end": written(calendar.end)}
    sheet.put("build_features.snapshots", period)
    sheet.put("build_features.services", {"everything": [f"{view}.*" for view in views]})
    _training_set(sheet, calendar, task, horizon + lead)
    sheet.put("materialize.as_of", written(calendar.end))
    feature = f"{views[0]}.days_since_last"
    has_recency = "days_since_last" in sheet.plan["build_features"]["views"][views[0]].get("features", {})
    baseline = {"estimator": "single_feature", "feature": feature} if problem == "binary" and has_recency else None
    draft_model(
        sheet,
        sheet.plan["project"]["name"],
        Shape(problem, rows, balance, is_forecast=problem == "regression"),
        baseline=baseline,
    )


def _parent(connection: duckdb.DuckDBPyConnection, events: Events, others: Sequence[Events]) -> Events:
    """Return the rows that say which entities there are: one for each in a table that has all of them, or the label's."""
    holder = events.through.rows if events.through else events
    able = [one for one in others if one.is_one_row and one.key.kind == holder.key.kind]
    found = [one for one in able if _has_all(connection, one, holder)]
    return max(found, key=lambda one: one.key.distinct) if found else holder


def _has_all(connection: duckdb.DuckDBPyConnection, parent: Events, rows: Events) -> bool:
    ((missing,),) = connection.execute(
        f'SELECT count(*) FROM ({_typed(rows)}) WHERE "the key" NOT IN (SELECT "the key" FROM ({_typed(parent)}))'
    ).fetchall()
    return not missing


def _views(
    sheet: Sheet, events: Events, others: Sequence[Events | Facts], calendar: Calendar, task: WindowTask
) -> list[str]:
    """Put the views of all tables into the sheet; return their names, the label's table first."""
    horizon = parse_duration(task.horizon)
    closes = horizon + task.lead_time
    label = label_features(task, horizon, closes, calendar.end - events.first)
    views: list[str] = []
    for each in (events, *others):
        if isinstance(each, Facts):
            views += _facts_view(sheet, each, calendar)
        elif each is not events:
            draft_view(sheet, each, calendar, closes, {})
            views.append(view_name(each))
        elif not (events.is_one_row and others):  # a row of the label is what is predicted
            draft_view(sheet, each, calendar, closes, {**label, **calendar_features(calendar)})
            views.append(view_name(each))
    return views


def _facts_view(sheet: Sheet, facts: Facts, calendar: Calendar) -> Iterator[str]:
    """Put the view of a table without times into the sheet; yield its name if it has a feature."""
    able = [one for one in facts.table.columns if one.name != facts.key.name and no_feature(one, facts.table) is None]
    columns = [one.name for one in able if one.kind != "text" and not AFTER_NAME.search(one.name)]
    if columns:
        name = f"{facts.table.name[:32]}_facts"
        section = {"source": facts.table.name, "ttl": calendar.ttl, "every": calendar.cadence, "columns": columns}
        why = (
            "this table has no time: its values count as known at every instant; remove those that are known only later"
        )
        sheet.put(f"build_features.views.{name}", section, why)
        yield name


def draft_timed_source(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, rows: Events | Facts, entity: str, cut: datetime, folder: Path
) -> None:
    """Put a source about an entity into the sheet, with its times and until when its rows are complete."""
    columns = [column for column in rows.table.columns if column.kind != "empty"]
    draft_source(sheet, connection, rows.table, columns, folder)
    section = sheet.plan["ingest"][rows.table.name]
    section["entity"] = entity
    if isinstance(rows, Events) and rows.through:
        by = {rows.through.column.name: rows.through.to_column.name}
        where = rows.through.rows.table.name
        section["join"] = {where: {"key": by}}
        time: dict[str, Any] = {"through": f"{where}.{rows.time.name}", "key": by}
        _put_times(sheet, rows, time, f"{where} has the time and the key, by {rows.through.column.raw!r}", cut)
        return
    stated = section["columns"].pop(rows.key.name)
    key = sheet.plan["entities"][entity]["key"]
    if key != rows.key.name:
        stated = {**stated, "rename_from": rows.key.raw}
        _rename(sheet, rows, key)
    section["columns"] = {key: stated, **section["columns"]}
    if isinstance(rows, Events):
        if rows.is_one_row and not rows.key.is_unique:
            share = 1 - rows.key.distinct / rows.table.rows
            sheet.put(f"validate.{rows.table.name}.unique", [key], "a few keys were delivered twice")
            rules = sheet.plan["validate"][rows.table.name]
            rules["max_rejected"] = max(rules["max_rejected"], math.ceil(share * 150) / 100)
        section["columns"][rows.time.name].pop("format", None)  # event_time has it
        why = f"its name, and no missing value in {rows.table.rows:,} rows"
        _put_times(sheet, rows, _time_section(sheet, rows.time), why, cut)


def _put_times(sheet: Sheet, events: Events, time: dict[str, Any], why: str, cut: datetime) -> None:
    path, table = f"ingest.{events.table.name}", events.table
    others = [one.name for one in time_columns(table.columns)[1:2]]
    sheet.put(f"{path}.event_time", time, why, rows=table.rows, runner_up=", ".join(others))
    if events.known is not None:
        sheet.plan["ingest"][table.name]["columns"][events.known.name].pop("format", None)
        why = f"when a row became known: {table.delay.median_days:.1f} days later in the middle" if table.delay else ""
        sheet.put(f"{path}.created_time", _time_section(sheet, events.known), why, rows=table.rows)
    why = "the end of the last day with a row; correct it if the extract was cut later"
    sheet.put(f"{path}.observed_until", written(cut), why)
    sheet.put(f"{path}.later_rows", "leave_out")


def _rename(sheet: Sheet, events: Events | Facts, key: str) -> None:
    rules = sheet.plan["validate"][events.table.name]
    for rule, columns in rules.items():
        if isinstance(columns, list):
            rules[rule] = [key if name == events.key.name else name for name in columns]
        elif isinstance(columns, dict) and events.key.name in columns:
            columns[key] = columns.pop(events.key.name)


def _time_section(sheet: Sheet, column: Column) -> dict[str, Any]:
    section: dict[str, Any] = {"column": column.name}
    if form := stated_format(column):
        section["format"] = form
    if column.kind == "date":
        section["at"] = "end_of_day"
    elif not column.has_zone and column.found != "TIMESTAMP WITH TIME ZONE":
        section["zone"] = sheet.answers.get("zone", "UTC")
        if section["zone"] != "UTC":
            section["ambiguous"] = "earlier"
    return section


def _typed(events: Events) -> str:
    """Compose the SQL of the rows with their columns by kind, the key as `the key` and the time as `the time`."""
    table = events.table
    columns = [f"{column_value(table.loaded, one)} AS {identifier(one.name)}" for one in table.columns]
    if events.through is None:
        own = f'{identifier(events.key.name)} AS "the key", {identifier(events.time.name)} AS "the time"'
        return f"SELECT *, {own} FROM (SELECT {', '.join(columns)} FROM {table.loaded.relation})"
    by = events.through
    on = f"rows.{identifier(by.column.name)} = holder.{identifier(by.to_column.name)}"
    return (
        f'SELECT rows.*, holder."the key", holder."the time" FROM (SELECT {", ".join(columns)} FROM '
        f"{table.loaded.relation}) AS rows JOIN ({_typed(by.rows)}) AS holder ON {on}"
    )


def _labels(
    connection: duckdb.DuckDBPyConnection,
    events: Events,
    parent: Events,
    task: WindowTask,
    calendar: Calendar,
    horizon: timedelta,
) -> tuple[int, float]:
    """Return an estimate of the number of labels at all instants, and the mean label at the last instant.

    Raises
    ------
    PantheraError
        If the SQL of the task fails.

    """
    opens = calendar.end + task.lead_time
    until, begins, closes = (
        f"TIMESTAMP '{instant:%Y-%m-%d %H:%M:%S}'" for instant in (calendar.end, opens, opens + horizon)
    )
    same = 'typed."the key" = members."the key"'
    label = f'(SELECT {task.value} FROM typed WHERE {same} AND "the time" > {begins} AND "the time" <= {closes})'
    population = f'(SELECT {task.population or "count(*) >= 1"} FROM typed WHERE {same} AND "the time" <= {until})'
    try:
        ((members, mean),) = connection.execute(
            f"""WITH typed AS ({_typed(events)}),
            members AS (SELECT DISTINCT "the key" FROM ({_typed(parent)}) WHERE "the time" <= {until})
            SELECT count(*) FILTER (is_in), avg(CAST(label AS DOUBLE)) FILTER (is_in)
            FROM (SELECT {population} AS is_in, {label} AS label FROM members)"""
        ).fetchall()
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\n\nLINE")[0].split())
        raise PantheraError(f"the line about what to predict fails on {events.table.name}: {reason}") from None
    instants = (calendar.end - calendar.start) // calendar.every + 1
    return int(members) * instants, float(mean or 0.0)


def _require_labels(problem: Problem, rows: int, balance: float) -> None:
    if rows < _LEAST_LABELS:
        raise PantheraError(
            f"found about {rows:,} labels at all instants; expected at least {_LEAST_LABELS}: choose a shorter horizon, or "
            "bring a longer history"
        )
    if problem == "binary" and not _LEAST_SHARE < balance < 1 - _LEAST_SHARE:
        raise PantheraError(
            f"{balance:.1%} of the labels at the last instant are true, so nothing can be told apart; choose another horizon"
        )


def _project(sheet: Sheet, table: Table, problem: Problem, line: str) -> None:
    name = sheet.answers.get("project") or table.name.replace("_", "-")[:60].strip("-")
    sheet.put("project", {"name": name, "problem": problem, "statement": f"Predict {line.strip()}."})


def _label(table: Table, task: WindowTask) -> dict[str, str]:
    lead = {"lead": task.lead} if task.lead else {}
    population = {"population": task.population} if task.population else {}
    can_be_null = re.match(r"(avg|min|max)\(", task.value) is not None and not task.is_condition
    unlabelled = {"unlabelled": "leave_out"} if can_be_null else {}
    can_be_unknown = task.is_condition and not task.value.startswith("count(")
    value = f"coalesce({task.value}, false)" if can_be_unknown else task.value
    return {"source": table.name, **lead, "horizon": task.horizon, **population, "value": value, **unlabelled}


def _training_set(sheet: Sheet, calendar: Calendar, task: WindowTask, closes: timedelta) -> None:
    start, end, validation, test = map(written, (calendar.start, calendar.end, calendar.validation, calendar.test))
    sheet.put("training_set.service", "everything")
    why = (
        f"every {calendar.cadence.removeprefix('1 ')}; the last window closes with the data, on {calendar.cut:%Y-%m-%d}"
    )
    sheet.put("training_set.as_of", {"start": start, "end": end, "every": calendar.cadence}, why)
    gap = f"{int(closes.total_seconds()) // 3600}h" if task.lead else task.horizon
    split = {"kind": "temporal", "validation_from": validation, "test_from": test, "gap": gap}
    sheet.put("training_set.split", split, "in time, a horizon apart, so that no label looks into the next part")
