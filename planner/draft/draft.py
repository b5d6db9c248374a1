"""Draft a plan from data and a line about the task."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError, PlanError
from core.plan.file import parse_plan
from core.terminal import terminal_table
from planner.draft.events import draft_events
from planner.draft.flat import draft_flat
from planner.draft.rows_in_time.plan import draft_rows
from planner.draft.rows_in_time.times import row_times
from planner.draft.sheet import Sheet
from planner.draft.sources import stated_format
from planner.draft.task import ColumnTask, parse_task
from planner.draft.text import plan_text
from planner.profile.measured import read_as
from planner.profile.profile import profile_data
from planner.profile.target import MOST_CLASSES, find_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    from rich.console import RenderableType

    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Draft:
    """A drafted plan.

    Attributes
    ----------
    text : the plan, with comments.
    evidence : the evidence for its keys, as JSON.
    questions : the questions whose default was assumed, those that change most first.
    notes : what was left out of the plan, and why.

    """

    text: str
    evidence: str
    sheet: Sheet

    def to_dict(self) -> dict[str, object]:
        """Return the questions and notes as JSON types."""
        return {
            "format_version": FORMAT_VERSION,
            "questions": [question.to_dict() for question in self.sheet.open_questions],
            "notes": self.sheet.notes,
            "plan": self.sheet.plan,
        }

    def table(self) -> RenderableType:
        """Compose the open questions and the notes for a terminal."""
        from rich.console import Group

        table = terminal_table(
            "answer", "question", "assumed", "changes", title="Open questions: --answers FILE takes them"
        )
        for one in self.sheet.open_questions:
            table.add_row(one.name, one.asks, one.default, one.changes)
        shown: list[RenderableType] = [table] if self.sheet.open_questions else []
        return Group(*shown, *self.sheet.notes)


def draft_plan(
    connection: duckdb.DuckDBPyConnection,
    data: Sequence[str],
    scratch: Path,
    folder: Path,
    *,
    predict: str | None,
    key: str | None,
    time: str | None,
    answers: Mapping[str, str],
) -> Draft:
    """Return the plan for `data`, to be run in `folder`.

    Raises
    ------
    PantheraError
        If no plan can be drafted from the data and the task.

    """
    profile = profile_data(connection, data, scratch)
    if not any(table.rows for table in profile.tables):
        raise PantheraError(f"{', '.join(data)} has no rows; name files with rows")
    line = predict or answers.get("predict")
    if not line:
        raise PantheraError(f"state what to predict: {_candidates(profile)}")
    task, sheet = parse_task(line), Sheet(answers)
    profile = _with_chosen_forms(sheet, connection, profile)
    if isinstance(task, ColumnTask):
        table, column = find_column(profile, task.column)
        _draft_column(sheet, connection, profile, table, column, task, key, time, folder)
    else:
        draft_events(sheet, connection, profile, line, task, key, time, folder)
    return _finished(sheet, profile)


def _draft_column(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    profile: Profile,
    table: Table,
    column: Column,
    task: ColumnTask,
    key: str | None,
    time: str | None,
    folder: Path,
) -> None:
    """Draft a plan that predicts a column of rows: as of their own times, or without times if the rows have none."""
    times = row_times(sheet, connection, table, column, time)
    if times is None or not draft_rows(sheet, connection, profile, table, column, task, times, key, folder):
        draft_flat(sheet, connection, profile, table, column, task, key, folder)
    sheet.notes += _left_out(sheet, profile, table)


def _left_out(sheet: Sheet, profile: Profile, table: Table) -> Iterator[str]:
    """Yield a note for each table besides the one whose rows are predicted."""
    for other in profile.tables:
        links = [one for one in profile.links if {one.table, one.to_table} == {table.name, other.name}]
        how = f"{links[0].column!r} links them: its rows are later, or several" if links else "no column links it"
        if other.name not in sheet.plan["ingest"]:
            yield f"the table {other.name} is left out of a prediction for each row of {table.name}; {how}"


def _with_chosen_forms(sheet: Sheet, connection: duckdb.DuckDBPyConnection, profile: Profile) -> Profile:
    """Return the profile with the times that fit two formats, such as 02/03/2020, read as the answers state.

    Raises
    ------
    PantheraError
        If an answer is none of the formats that fit.

    """

    def chosen(table: Table, column: Column) -> Column:
        if len(column.forms) < 2 or stated_format(column) is None:  # noqa: PLR2004 - two formats
            return column
        asks = f"Which format do the dates of {column.raw!r} have? Several fit all values."
        changes = "every instant that is computed from the column"
        form = sheet.ask(f"format.{column.name}", asks, column.forms[0], column.forms, changes, 80)
        if form not in column.forms:
            raise PantheraError(
                f"format.{column.name} is {form!r}, which does not fit all values of {column.raw!r}; "
                f"expected one of {', '.join(column.forms)}"
            )
        return column if form == column.forms[0] else read_as(connection, table.loaded, column, form)

    tables = tuple(
        replace(table, columns=tuple(chosen(table, column) for column in table.columns)) for table in profile.tables
    )
    return replace(profile, tables=tables)


def _finished(sheet: Sheet, profile: Profile) -> Draft:
    text = plan_text(sheet)
    try:
        parse_plan(text, "the draft")
    except PlanError as error:
        raise PantheraError(f"no valid plan could be drafted; {error}") from None
    return Draft(text, _evidence(sheet, profile), sheet)


def _evidence(sheet: Sheet, profile: Profile) -> str:
    sources = {
        table.name: {
            "reader": table.loaded.reader.model_dump(mode="json", exclude_defaults=True),
            "columns": table.loaded.raw,
            "rows": table.rows,
        }
        for table in profile.tables
    }
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "sources": sources,
        "keys": [asdict(one) for one in sheet.evidence],
        "questions": [one.to_dict() for one in sheet.open_questions],
        "answers": dict(sheet.answers),
        "notes": sheet.notes,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _candidates(profile: Profile) -> str:
    """Compose examples of lines that could state the task."""
    lines = [
        f'--predict "{column.raw}"'
        for table in profile.tables
        for column in reversed(table.columns)
        if column.name not in table.keys
        and 1 < column.distinct <= MOST_CLASSES
        and column.kind not in {"text", "date", "timestamp"}
    ]
    shown = ", ".join(lines[:3]) or '--predict "COLUMN"'
    return f"{shown}, or count(TABLE) = 0 in 30d for each ENTITY"
