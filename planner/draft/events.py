"""Draft a plan for rows with times: the label is in a window after each instant, for each entity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from core.errors import PantheraError
from core.plan.times import parse_duration
from feature_repo.files.duck import identifier
from planner.draft.calendar import make_calendar
from planner.draft.entity_rows import entity_key, entity_of, in_plan_names, named_table, rows_about, rows_of
from planner.draft.model import Shape, draft_model
from planner.draft.sources import draft_source, stated_format
from planner.draft.windows import draft_view
from planner.profile.column import column_value
from planner.profile.times import time_columns

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from core.plan.plan import Problem
    from planner.draft.calendar import Calendar
    from planner.draft.entity_rows import Events
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
    events = rows_of(sheet, table, entity_key(sheet, profile, table, task, key), time)
    horizon = parse_duration(task.horizon)
    calendar = make_calendar(events, horizon)
    others = [
        found for other in profile.tables if other is not table for found in rows_about(sheet, other, events, profile)
    ]
    entity = entity_of(events.key, task.entity)
    sheet.put(f"entities.{entity}", {"key": events.key.name, "dtype": events.key.dtype, "source": table.name})
    rows, balance = _labels(connection, events, task, calendar, horizon)
    share = f"about {balance:.1%} of {rows:,} labels are true" if task.is_condition else f"about {rows:,} labels"
    problem: Problem = "binary" if task.is_condition else "regression"
    _require_labels(problem, rows, balance)
    _project(sheet, table, problem, line)
    for each in (events, *others):
        _source(sheet, connection, each, entity, calendar.cut, folder)
    sheet.put("label", _label(table, task), share, rows=rows)
    views = [draft_view(sheet, each, calendar) for each in (events, *others)]
    sheet.put("build_features.snapshots", {"start": f"{calendar.start:%Y-%m-%d}", "end": f"{calendar.end:%Y-%m-%d}"})
    sheet.put("build_features.services", {"everything": [f"{view}.*" for view in views]})
    _training_set(sheet, calendar, task)
    sheet.put("materialize.as_of", f"{calendar.end:%Y-%m-%d}")
    baseline = {"estimator": "single_feature", "feature": f"{views[0]}.days_since_last"}
    draft_model(sheet, sheet.plan["project"]["name"], Shape(problem, rows, balance), baseline=baseline)


def _source(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, events: Events, entity: str, cut: datetime, folder: Path
) -> None:
    columns = [column for column in events.table.columns if column.kind != "empty"]
    draft_source(sheet, connection, events.table, columns, folder)
    section = sheet.plan["ingest"][events.table.name]
    section["columns"][events.time.name].pop("format", None)  # event_time has it
    stated = section["columns"].pop(events.key.name)
    key = sheet.plan["entities"][entity]["key"]
    if key != events.key.name:
        stated = {**stated, "rename_from": events.key.raw}
        _rename(sheet, events, key)
    section["columns"] = {key: stated, **section["columns"]}
    section["entity"] = entity
    sheet.put(
        f"ingest.{events.table.name}.event_time",
        _time_section(events.time),
        f"its name, and no missing value in {events.table.rows:,} rows",
        rows=events.table.rows,
        runner_up=", ".join(one.name for one in time_columns(events.table.columns)[1:2]),
    )
    sheet.put(
        f"ingest.{events.table.name}.observed_until",
        f"{cut:%Y-%m-%d}",
        "the end of the last day with a row; correct it if the extract was cut later",
    )
    sheet.put(f"ingest.{events.table.name}.later_rows", "leave_out")


def _rename(sheet: Sheet, events: Events, key: str) -> None:
    rules = sheet.plan["validate"][events.table.name]
    for rule, columns in rules.items():
        if isinstance(columns, list):
            rules[rule] = [key if name == events.key.name else name for name in columns]
        elif isinstance(columns, dict) and events.key.name in columns:
            columns[key] = columns.pop(events.key.name)


def _time_section(column: Column) -> dict[str, Any]:
    section: dict[str, Any] = {"column": column.name}
    if form := stated_format(column):
        section["format"] = form
    if column.kind == "date":
        section["at"] = "end_of_day"
    elif not column.has_zone and column.found != "TIMESTAMP WITH TIME ZONE":
        section["zone"] = "UTC"
    return section


def _labels(
    connection: duckdb.DuckDBPyConnection, events: Events, task: WindowTask, calendar: Calendar, horizon: timedelta
) -> tuple[int, float]:
    """Return an estimate of the number of labels at all instants, and the mean label at the last instant.

    Raises
    ------
    PantheraError
        If the SQL of the task fails.

    """
    table, key, time = events.table, identifier(events.key.name), identifier(events.time.name)
    typed = ", ".join(f"{column_value(table.loaded, one)} AS {identifier(one.name)}" for one in table.columns)
    until, closes = (f"TIMESTAMP '{instant:%Y-%m-%d %H:%M:%S}'" for instant in (calendar.end, calendar.end + horizon))
    window = f"{time} > {until} AND {time} <= {closes}"
    label = f"(SELECT {task.value} FROM typed WHERE typed.{key} = members.{key} AND {window})"
    population = f"HAVING {task.population}" if task.population else ""
    try:
        ((members, mean),) = connection.execute(
            f"""WITH typed AS (SELECT {typed} FROM {table.loaded.relation}),
            members AS (SELECT {key} FROM typed WHERE {time} <= {until} GROUP BY {key} {population})
            SELECT count(*), avg(CAST({label} AS DOUBLE)) FROM members"""
        ).fetchall()
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\n\nLINE")[0].split())
        raise PantheraError(f"the line about what to predict fails on {table.name}: {reason}") from None
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
    population = {"population": task.population} if task.population else {}
    return {"source": table.name, "horizon": task.horizon, **population, "value": task.value}


def _training_set(sheet: Sheet, calendar: Calendar, task: WindowTask) -> None:
    start, end, validation, test = (
        f"{each:%Y-%m-%d}" for each in (calendar.start, calendar.end, calendar.validation, calendar.test)
    )
    sheet.put("training_set.service", "everything")
    why = f"every {calendar.every.days} days; the last window closes with the data, on {calendar.cut:%Y-%m-%d}"
    sheet.put("training_set.as_of", {"start": start, "end": end, "every": calendar.cadence}, why)
    split = {"kind": "temporal", "validation_from": validation, "test_from": test, "gap": task.horizon}
    sheet.put("training_set.split", split, "in time, a horizon apart, so that no label looks into the next part")
