"""Compute a feature view: its facts for given (entity, as of) pairs, from the rows that were knowable then.

This is the one place that gives the plan's feature SQL a meaning. The build of snapshots, the label, and the parity check
all come through here. A row counts at `as_of` when it had happened and was known: event time <= as_of and created time
<= as_of; a window (with its lag) further keeps as_of - lag - window < event time <= as_of - lag.

There are two ways to the same facts. For scattered pairs the rows are joined to the grid by their entity
(`feature_repo.views.pair_facts`). For a grid of few instants and many entities the rows of each instant are chosen by their
times alone, which touches only the rows inside each window and needs no join (`feature_repo.views.instant_facts`).
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
    from feature_repo.views.existence import Asked


def _view_table(connection: duckdb.DuckDBPyConnection, view: View, key: str, facts: pa.Table) -> pa.Table:
    """Compose the view's rows from its facts, in their order."""
    rows = derive(connection, view, facts)
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    times = dict.fromkeys(("event_timestamp", "created_timestamp"), columns["as_of"])
    return pa.table({key: columns[key], **times, **{name: columns[name] for name in view.features}})


def compute_view(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> pa.Table:
    """Compute `view` for every pair of `grid`.

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
    A table of one row for each pair, sorted by instant and key: `key`, event_timestamp (the as-of), created_timestamp (the
    same: all that went into the row was known by then), and each feature in its declared dtype; null where its SQL gives
    null.

    Raises
    ------
    PlanError
        If a feature's SQL is refused by DuckDB, with the feature's name.

    """
    try:
        return _view_table(connection, view, key, facts_of_pairs(connection, facts_of(view), key, rows, grid))
    except duckdb.Error as error:
        raise PlanError(blame(connection, view, key, rows, grid) or f"{view.source}: {error}") from None


def compute_snapshots(
    connection: duckdb.DuckDBPyConnection, view: View, rows: Mapping[str, str], asked: Asked
) -> Iterator[pa.Table]:
    """Compute `view` for all pairs that are `asked` for, in tables of one or more instants: the rows of `compute_view`.

    This is the way for few instants at which many entities are asked for; the other parameters and errors are the same.
    Where nobody is asked for it gives one empty table.
    """
    try:
        for facts in facts_at_instants(connection, facts_of(view), rows, asked):
            yield _view_table(connection, view, asked.key, facts)
    except duckdb.Error as error:
        connection.register("asked", asked.pairs())
        raise PlanError(blame(connection, view, asked.key, rows, "asked") or f"{view.source}: {error}") from None


def blame(
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> str | None:
    """Find the first feature whose SQL fails on its own, with DuckDB's reason; None if each works alone."""
    sound = facts_of_pairs(connection, {}, key, rows, grid)
    for name, feature in view.features.items():
        alone = view.model_copy(update={"features": {name: feature}})
        try:
            if feature.over == "rows":
                found = facts_of_pairs(connection, facts_of(alone), key, rows, grid)
            else:
                found = derive(connection, alone, sound)
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            source = feature.source or view.source
            return f"the feature {name!r} over {source!r} has an SQL that fails: {feature.sql!r}: {reason}"
        sound = sound.append_column(name, found.column(name))
    return None
