"""Find columns that seem to leak the target: they predict it alone, or their names tell that they are known only later."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.plan.leakage import Leakage
from planner.profile.associations import SURELY, associations
from planner.profile.patterns import AFTER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from core.plan.plan import Problem
    from models.evaluation.leak_scores import LeakScore
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: A column that reaches so much alone is left out; R2 of a regression is judged by `_CERTAIN_R2`.
_CERTAIN = 0.99
#: A column above it stays, allowed with a reason; it is below the bound of the stage `leakage` by the noise of a sample.
_SUSPECT = Leakage().alone - 0.03
_SUSPECT_SURE = SURELY - 0.08


@dataclass(frozen=True)
class Suspect:
    """A column that may leak the target: whether it is left out, and why."""

    column: str
    why: str
    is_left_out: bool
    reached: float | None


def find_leaks(
    connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[Column], target: str, problem: Problem
) -> list[Suspect]:
    """Return the suspects among the columns, by the values of all rows with a label, or of a sample of them."""
    scores = associations(connection, table.loaded, columns, target, problem)
    return [found for column in columns for found in _suspects(column, scores.get(column.name), problem)]


def _suspects(column: Column, score: LeakScore | None, problem: Problem) -> Iterator[Suspect]:
    measure = "R2" if problem == "regression" else "area under the ROC curve"
    if AFTER_NAME.search(column.name):
        yield Suspect(column.name, "its name says that it is known only afterwards", is_left_out=True, reached=None)
        return
    if score is None:
        return
    if score.reached > _CERTAIN and problem != "multiclass":
        why = f"alone it reaches {score.reached:.3f} ({measure})"
        yield Suspect(column.name, why, is_left_out=True, reached=score.reached)
    elif score.reached > _SUSPECT:
        why = f"alone it reaches {score.reached:.3f} ({measure})"
        yield Suspect(column.name, why, is_left_out=False, reached=score.reached)
    elif not math.isnan(score.surest) and score.surest >= _SUSPECT_SURE:
        why = f"for {score.surest_rows:,} rows it tells a rare label with {score.surest:.1%} precision"
        yield Suspect(column.name, why, is_left_out=False, reached=score.reached)
