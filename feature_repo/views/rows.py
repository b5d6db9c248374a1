"""Compute a feature view: its features for given (entity, as_of) pairs, from the rows that were knowable at `as_of`.

The plan's feature SQL is evaluated only here: for snapshots, for the label and for the parity check. A row counts at `as_of`
if it had happened and was known: event time <= as_of and created time <= as_of. A window with its lag further requires
as_of - lag - window < event time <= as_of - lag.

Two algorithms compute the same facts. For scattered pairs the rows are joined to the grid by their entity
(`feature_repo.views.pair_facts`). For few instants and many entities the rows of each instant are selected by their times
alone (`feature_repo.views.instant_facts`). That reads only the rows inside each window and needs no join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from core.errors import PlanError
from feature_repo.views.derived import derive
from feature_repo.views.facts import facts_of
from feature_repo.views.instant_facts import facts_at_instants
from feature_repo.views.pair_facts import facts_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan.plan import View
    from feature_repo.views.existence import PairsByInstant


def _view_table(connection: duckdb.DuckDBPyConnection, view: View, key: str, facts: pa.Table) -> pa.Table:
    """Return the view's rows for its facts, in their order."""
    rows = derive(connection, view, facts)
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    times = dict.fromkeys(("event_timestamp", "created_timestamp"), columns["as_of"])
    return pa.table({key: columns[key], **times, **{name: columns[name] for name in view.features}})


def compute_view(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> pa.Table:
    """Return the rows of `view` for every pair of `grid`.

    Parameters
    ----------
    connection : from `open_duckdb`.
    view : as the plan declares it.
    key : name of the entity's key column.
    rows : for each source of the view, the name of a relation with its accepted rows: `key`, `event_time`,
        `created_time` and the source's columns.
    grid : name of a relation with the distinct pairs (`key`, `as_of`).

    Returns
    -------
    A table of one row for each pair, sorted by instant and key: `key`, `event_timestamp` (the as_of), `created_timestamp`
    (equal to it: every input of the row was known by then), and each feature in its declared dtype, null where its SQL
    returns null.

    Raises
    ------
    PlanError
        If DuckDB refuses a feature's SQL. The message names the feature.

    """
    try:
        return _view_table(connection, view, key, facts_of_pairs(connection, facts_of(view), key, rows, grid))
    except duckdb.Error as error:
        raise PlanError(failing_feature(connection, view, key, rows, grid) or f"{view.source}: {error}") from None


def compute_snapshots(
    connection: duckdb.DuckDBPyConnection, view: View, rows: Mapping[str, str], pairs: PairsByInstant
) -> Iterator[pa.Table]:
    """Yield the rows of `view` for all `pairs`, as `compute_view` returns them, in tables of one or more instants.

    This is faster than `compute_view` for few instants and many entities. The other parameters and errors are the same. If
    there are no pairs, one empty table is yielded.
    """
    try:
        for facts in facts_at_instants(connection, facts_of(view), rows, pairs):
            yield _view_table(connection, view, pairs.key, facts)
    except duckdb.Error as error:
        connection.register("asked", pairs.table())
        failure = failing_feature(connection, view, pairs.key, rows, "asked")
        raise PlanError(failure or f"{view.source}: {error}") from None


def failing_feature(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> str | None:
    """Return a message with the first feature whose SQL fails on its own and DuckDB's reason; None if no SQL fails alone."""
    computed = facts_of_pairs(connection, {}, key, rows, grid)
    for name, feature in view.features.items():
        alone = view.model_copy(update={"features": {name: feature}})
        try:
            if feature.over == "rows":
                values = facts_of_pairs(connection, facts_of(alone), key, rows, grid)
            else:
                values = derive(connection, alone, computed)
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            source = feature.source or view.source
            return f"the feature {name!r} over {source!r} has an SQL that fails: {feature.sql!r}: {reason}"
        computed = computed.append_column(name, values.column(name))
    return None
