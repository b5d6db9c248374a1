"""The associations of a target column with the other columns of its table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.suggestions import allowed_here
from planner.profile.associations import associations
from planner.profile.column import column_value

if TYPE_CHECKING:
    import duckdb

    from core.plan.plan import Problem
    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

#: Classes up to which a column of whole numbers is a class, and not a number.
MOST_CLASSES = 10
#: Classes up to which a column of texts can be predicted.
MOST_NAMED_CLASSES = 100


def find_column(profile: Profile, name: str) -> tuple[Table, Column]:
    """Return a table and its column by the column's name in the file or in the plan, with or without the name of the table.

    Raises
    ------
    PantheraError
        If no table has the column, or several do.

    """
    found = [
        (table, column)
        for table in profile.tables
        for column in table.columns
        if name in {column.name, column.raw, f"{table.name}.{column.name}", f"{table.name}.{column.raw}"}
    ]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"{table.name}.{column.name}" for table, column in found)
        raise PantheraError(f"{name!r} is a column of several tables; name one: {places}")
    known = [column.raw for table in profile.tables for column in table.columns]
    raise PantheraError(f"{name!r} is no column of the data; {allowed_here(name, known)}")


def problem_of(column: Column) -> Problem:
    """Return the problem of predicting a column: binary, multiclass or regression."""
    if column.distinct == 2:  # noqa: PLR2004 - two classes
        return "binary"
    if column.kind == "number" or (column.kind == "integer" and column.distinct > MOST_CLASSES):
        return "regression"
    return "multiclass"


def with_target(connection: duckdb.DuckDBPyConnection, profile: Profile, name: str) -> Profile:
    """Return the profile with the associations of a target."""
    table, column = find_column(profile, name)
    problem = problem_of(column)
    value = column_value(table.loaded, column)
    label = f"CAST({value} = ({_first(column)}) AS INTEGER)" if problem == "binary" else value
    others = [other for other in table.columns if other.name != column.name and not other.is_constant]
    scores = associations(connection, table.loaded, others, label, problem)
    strengths = {name: score.reached for name, score in scores.items()}
    return replace(profile, target=f"{table.name}.{column.name}", associations=strengths)


def _first(column: Column) -> str:
    from feature_repo.files.duck import literal

    text = column.top[0][0]
    return literal(text) if column.kind in {"string", "text"} else text
