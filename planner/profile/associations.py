"""How well each column alone predicts a target: the scores by which the stage `leakage` finds leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from core.contracts import ContractFeature
from feature_repo.files.duck import identifier
from models.data.rows import Rows, Task
from models.evaluation.leak_scores import leak_scores
from models.scoring.encoding import Inputs
from planner.profile.column import column_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from models.evaluation.leak_scores import LeakScore
    from planner.profile.column import Column
    from planner.profile.tables import Loaded

#: Limit of rows times columns to score; above it, rows at equal distances are scored.
_MOST_CELLS = 4_000_000
_MOST_ROWS = 20_000
#: Columns that are scored; the others are left out.
MOST_COLUMNS = 500
#: Predicted probability of a rare label from which on rows count as sure, as in the plan's default.
SURELY = 0.98


def associations(
    connection: duckdb.DuckDBPyConnection,
    table: Loaded,
    columns: Sequence[Column],
    target: str,
    problem: Problem,
) -> dict[str, LeakScore]:
    """Return the score of each column by its name; `target` is the SQL of the label."""
    columns = [column for column in columns if column.kind not in {"text", "empty"}][:MOST_COLUMNS]
    if not columns or not table.rows:
        return {}
    matrix, label = _arrays(connection, table, columns, target)
    rows, task = _labelled(matrix, label, problem)
    features = tuple(ContractFeature("row", column.name, "float64") for column in columns)
    found = leak_scores(features, rows, np.arange(len(rows.label)), task, SURELY)
    return {score.feature.partition(".")[2]: score for score in found}


def _arrays(
    connection: duckdb.DuckDBPyConnection, table: Loaded, columns: Sequence[Column], target: str
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    most = min(_MOST_ROWS, _MOST_CELLS // len(columns))
    step = max(1, -(-table.rows // most))
    chosen = ", ".join(f"{_number(table, column)} AS {identifier(column.name)}" for column in columns)
    query = f'SELECT {chosen}, {target} AS "the target" FROM {table.relation} WHERE rowid % {step} = 0'
    found = connection.execute(query).fetchnumpy()
    *values, label = found.values()
    matrix = np.column_stack([np.ma.filled(np.ma.asarray(each, dtype=np.float64), np.nan) for each in values])
    masked: Any = np.ma.asarray(label, dtype=object)
    labels: NDArray[np.object_] = np.array(masked.data, dtype=object)
    labels[np.ma.getmaskarray(masked)] = None
    return matrix, labels


def _number(table: Loaded, column: Column) -> str:
    """Compose the SQL of a value as a number: of a time the seconds, of a text its rank among the texts."""
    value = column_value(table, column)
    if column.is_numeric or column.kind == "bool":
        return f"CAST({value} AS DOUBLE)"
    if column.is_time:
        return f"CAST(epoch({value}) AS DOUBLE)"
    return f"CASE WHEN {value} IS NOT NULL THEN CAST(dense_rank() OVER (ORDER BY {value}) AS DOUBLE) END"


def _labelled(matrix: NDArray[np.float64], label: NDArray[np.object_], problem: Problem) -> tuple[Rows, Task]:
    """Return the rows with a label; classes are numbered in ascending order."""
    known = np.array([value is not None and value == value for value in label])  # noqa: PLR0124 - NaN differs from itself
    matrix, label = matrix[known], label[known]
    if problem == "regression":
        return Rows(Inputs(matrix), label.astype(np.float64)), Task("regression")
    classes = tuple(sorted({str(value) for value in label}))
    codes = {name: code for code, name in enumerate(classes)}
    if problem == "binary":
        return Rows(Inputs(matrix), label.astype(np.int32)), Task("binary")
    return Rows(Inputs(matrix), np.array([codes[str(value)] for value in label], dtype=np.int32)), Task(
        "multiclass", classes
    )
