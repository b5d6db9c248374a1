"""Compute a feature view: its facts for given (entity, as of) pairs, from the rows that were knowable then.

This is the one place that gives the plan's feature SQL a meaning. The build of snapshots, the label, and the parity check
all come through here. A row counts at `as_of` when it had happened and was known: event time <= as_of and created time
<= as_of; a window (with its lag) further keeps as_of - lag - window < event time <= as_of - lag.

There are two ways to the same facts. For scattered pairs the rows are joined to the grid by their entity
(`feature_repo.facts`). For a grid of few instants and many entities the rows of one instant after another are chosen by their
times alone, which touches only the rows inside each window and needs no join (`feature_repo.instant_facts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from core.errors import PlanError
from feature_repo.duck import fetch, identifier
from feature_repo.facts import cast, facts_of, pair_facts
from feature_repo.instant_facts import facts_at_instants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan import Feature, View
    from feature_repo.existence import Asked


def _derived(view: View) -> str:
    """List what of the view is computed from its facts, in SQL."""
    derived = {name: cast(feature) for name, feature in view.features.items() if feature.over == "features"}
    return ", ".join(f"{sql} AS {identifier(name)}" for name, sql in derived.items())


def _view_query(view: View, key: str, facts: str) -> str:
    """Write the query of the view's rows over its facts, in their order."""
    columns = ", ".join(map(identifier, view.features))
    return f"""
        SELECT {identifier(key)}, as_of AS event_timestamp, as_of AS created_timestamp, {columns}
        FROM (SELECT {", ".join(filter(None, ("*", _derived(view))))} FROM ({facts}))"""


def _view_table(connection: duckdb.DuckDBPyConnection, view: View, key: str, facts: pa.Table) -> pa.Table:
    """Make the view's rows of its facts, in their order."""
    columns = dict(zip(facts.column_names, facts.columns, strict=True))
    if derived := _derived(view):
        connection.register("facts", facts)
        found = fetch(connection, f"SELECT {derived} FROM facts")
        columns.update(zip(found.column_names, found.columns, strict=True))
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
        facts = pair_facts(connection, facts_of(view), key, rows, grid)
        ordered = f"FROM ({_view_query(view, key, facts)}) ORDER BY event_timestamp, {identifier(key)}"
        return connection.sql(ordered).to_arrow_table()
    except duckdb.Error as error:
        raise PlanError(blame(connection, view, key, rows, grid) or f"{view.source}: {error}") from None


def compute_snapshots(
    connection: duckdb.DuckDBPyConnection, view: View, rows: Mapping[str, str], asked: Asked
) -> Iterator[pa.Table]:
    """Compute `view` for all pairs that are `asked` for, a table for each instant: together the rows of `compute_view`.

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
    sound: dict[str, Feature] = {}
    for name, feature in view.features.items():
        needed = {**sound, name: feature} if feature.over == "features" else {name: feature}
        alone = view.model_copy(update={"features": needed})
        try:
            facts = pair_facts(connection, facts_of(alone), key, rows, grid)
            connection.execute(_view_query(alone, key, facts)).fetchall()
        except duckdb.Error as error:
            reason = str(error).strip().splitlines()[0]
            source = feature.source or view.source
            return f"the feature {name!r} over {source!r} has an SQL that fails: {feature.sql!r}: {reason}"
        sound[name] = feature
    return None
