"""The label window of a unit in SQL: which of its outcomes counts, and whether none can come any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from core.experiment.owners import outcome_of

if TYPE_CHECKING:
    from psycopg.sql import Composable, Composed

_FIRST_OUTCOME = sql.SQL("""
LEFT JOIN LATERAL (
    SELECT value, observed_at FROM panthera.outcome
    WHERE outcome.entity = {unit}.entity AND outcome.name = '' AND {of_model}
        AND outcome.observed_at > {since} + {lead}::interval
        AND outcome.observed_at <= coalesce({since} + {horizon}::interval, {as_of})
    ORDER BY outcome.observed_at, outcome.outcome_id COLLATE "C"
    LIMIT 1
) AS outcome ON coalesce({since} + {horizon}::interval <= {as_of}, true)
""")


def first_outcome(
    unit: str, since: str, model: Composable, lead: Composable, horizon: Composable, as_of: Composable
) -> Composed:
    """Compose the join of each row of `unit` with `outcome`, its first one with since + lead < observed_at <= since + horizon.

    A window that is open as of `as_of` has no outcome yet. Without a horizon (NULL) an outcome counts whenever it is observed.

    Parameters
    ----------
    unit, since : the alias of the rows, and their column with the begin of the window.
    model : the model whose outcomes count, see `core.experiment.owners`.

    """
    begin = sql.Identifier(unit, since)
    return _FIRST_OUTCOME.format(
        unit=sql.Identifier(unit), since=begin, of_model=outcome_of(model), lead=lead, horizon=horizon, as_of=as_of
    )
