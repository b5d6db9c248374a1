"""The label of a table without times: the classes or numbers of the target, and the reasons why it cannot be learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError
from core.plan.training_set import sql_constant
from feature_repo.files.duck import identifier, literal
from planner.profile.column import column_value
from planner.profile.target import MOST_NAMED_CLASSES, problem_of

if TYPE_CHECKING:
    import duckdb

    from core.plan.plan import Problem
    from planner.draft.sheet import Sheet
    from planner.draft.task import ColumnTask
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: Rows with a label that a draft needs: five folds, and a few of each class in each.
_LEAST_ROWS, _LEAST_OF_CLASS = 50, 10
_AFFIRMATIVE = ("1", "1.0", "true", "yes", "y", "ja", "churned", "positive", "bad", "fraud", "malignant")


@dataclass(frozen=True)
class Target:
    """The label of a table without times.

    Attributes
    ----------
    column : the column that holds it.
    section : the section `label`.
    sql : SQL of the label over the loaded table.
    problem, rows, balance : the kind of problem, the number of rows with a label, and the share of the positive class.

    """

    column: Column
    section: dict[str, Any]
    sql: str
    problem: Problem
    rows: int
    balance: float


def draft_target(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, column: Column, task: ColumnTask
) -> Target:
    """Return the label; ask for the positive class if the task names none.

    Raises
    ------
    PantheraError
        If the target is constant, does not have the value that the task names, or has too few rows with a label.

    """
    if column.kind == "empty" or column.is_constant:
        found = (
            "no value"
            if column.kind == "empty"
            else f"the one value {column.top[0][0] if column.top else column.smallest!r}"
        )
        raise PantheraError(
            f"the target {column.raw!r} has {found} in {table.rows:,} rows; expected values that differ: name another target"
        )
    value = column_value(table.loaded, column)
    unlabelled = {"unlabelled": "leave_out"} if column.nulls or column.faults else {}
    if task.operator is not None:
        section, sql, problem = _compared(column, task, value)
    else:
        problem = problem_of(column)
        section, sql = _whole(sheet, column, problem, value)
    if problem == "multiclass":
        section, sql, unlabelled = _without_rare(connection, table, column, section, value, unlabelled)
    rows, balance = _counted(connection, table, sql, problem)
    if rows < _LEAST_ROWS:
        raise PantheraError(
            f"{rows:,} rows of {table.name} have a label; expected at least {_LEAST_ROWS}: bring more rows"
        )
    if problem == "binary" and not _LEAST_OF_CLASS <= balance * rows <= rows - _LEAST_OF_CLASS:
        raise PantheraError(
            f"{round(balance * rows):,} of {rows:,} labels are positive; expected at least {_LEAST_OF_CLASS} of each class; "
            f"the values of {column.raw!r} are {', '.join(repr(text) for text, _ in column.top) or 'many'}"
        )
    return Target(column, {"source": table.name, **section, **unlabelled}, sql, problem, rows, balance)


def _compared(column: Column, task: ColumnTask, value: str) -> tuple[dict[str, Any], str, Problem]:
    """Return the label of a comparison: with a class by the key `positive`, with a bound by an SQL expression."""
    stated = _constant(column, task.value or "")
    constant = sql_constant(stated) if not isinstance(stated, float) else repr(stated)
    label = f"CAST({value} {task.operator} {constant} AS INTEGER)"
    if task.operator != "=" or isinstance(stated, float):
        return {"value": f"{identifier(column.name)} {task.operator} {constant}"}, label, "binary"
    known = {text for text, _ in column.top}
    if column.distinct <= len(known) and str(stated).lower() not in {text.lower() for text in known}:
        raise PantheraError(
            f"no value of {column.raw!r} is {task.value!r}; write one of its values: {', '.join(map(repr, sorted(known)))}"
        )
    return {"column": column.name, "positive": stated}, label, "binary"


def _constant(column: Column, text: str) -> bool | int | float | str:
    """Return a text as a value of the column's kind.

    Raises
    ------
    PantheraError
        If the text is not such a value.

    """
    if column.kind == "bool":
        truth = column.truth or ("true", "false")
        if text.lower() in {truth[0].lower(), "true", "1"}:
            return True
        if text.lower() in {truth[1].lower(), "false", "0"}:
            return False
    elif not column.is_numeric:
        return text
    else:
        try:
            number = float(text)
        except ValueError:
            number = None
        if number is not None:
            return int(number) if number.is_integer() else number
    raise PantheraError(f"{column.raw!r} is {column.kind}, so it has no value {text!r}; write one of its values")


def _whole(sheet: Sheet, column: Column, problem: Problem, value: str) -> tuple[dict[str, Any], str]:
    """Return the label that is the column itself; of two values, the answer to a question is the positive class."""
    if problem != "binary":
        if problem == "multiclass" and column.distinct > MOST_NAMED_CLASSES:
            raise PantheraError(
                f"the target {column.raw!r} has {column.distinct:,} classes; expected at most {MOST_NAMED_CLASSES}: name "
                "another target, or merge classes"
            )
        return {"column": column.name}, value
    texts = [text for text, _ in column.top]
    affirmative = [text for text in texts if text.lower() in _AFFIRMATIVE]
    default = affirmative[0] if len(affirmative) == 1 else texts[-1]
    answer = sheet.ask(
        "positive", f"Which value of {column.raw!r} is the one to predict?", default, texts, "what is predicted", 90
    )
    stated = _constant(column, answer)
    constant = repr(stated) if isinstance(stated, float) else sql_constant(stated)
    sql = f"CAST({value} = {constant} AS INTEGER)"
    if isinstance(stated, float):
        return {"value": f"{identifier(column.name)} = {constant}"}, sql
    return {"column": column.name, "positive": stated}, sql


def _without_rare(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    column: Column,
    section: dict[str, Any],
    value: str,
    unlabelled: dict[str, str],
) -> tuple[dict[str, Any], str, dict[str, str]]:
    """Return the label without the classes that have fewer rows than the folds need."""
    rows = connection.execute(
        f"SELECT CAST({value} AS VARCHAR), count(*) FROM {table.loaded.relation} WHERE {value} IS NOT NULL "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    kept = [str(text) for text, count in rows if count >= _LEAST_OF_CLASS]
    if len(kept) < 2:  # noqa: PLR2004 - two classes
        raise PantheraError(
            f"only {len(kept)} classes of {column.raw!r} have {_LEAST_OF_CLASS} rows; expected at least two: bring more rows"
        )
    if len(kept) == len(rows):
        return section, value, unlabelled
    chosen = ", ".join(map(literal, kept))
    name = identifier(column.name)
    sql = f"CASE WHEN CAST({value} AS VARCHAR) IN ({chosen}) THEN CAST({value} AS VARCHAR) END"
    stated = f"CASE WHEN CAST({name} AS VARCHAR) IN ({chosen}) THEN CAST({name} AS VARCHAR) END"
    return {"value": stated}, sql, {"unlabelled": "leave_out"}


def _counted(connection: duckdb.DuckDBPyConnection, table: Table, sql: str, problem: Problem) -> tuple[int, float]:
    balance = f"avg({sql})" if problem == "binary" else "0.5"
    ((rows, share),) = connection.execute(f"SELECT count({sql}), {balance} FROM {table.loaded.relation}").fetchall()
    return int(rows), float(share or 0.0)
