"""Compute a feature view: its facts for given (entity, as of) pairs, from the rows that were knowable then.

This is the one place that gives the plan's feature SQL a meaning. The build of snapshots, the label, and the parity check
all come through here. A row counts at `as_of` when it had happened and was known: event time <= as_of and created time
<= as_of; a window (with its lag) further keeps as_of - lag - window < event time <= as_of - lag.

There are two ways to the same facts. For scattered pairs the rows are joined to the grid by their entity. For a grid of few
instants and many entities the rows of one instant after another are chosen by their times alone, which touches only the
rows inside each window and needs no join.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import duckdb

from core.errors import PlanError
from feature_repo.duck import SQL_TYPES, identifier, instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from core.plan import Feature, View


@dataclass(frozen=True)
class Span:
    """Which rows a fact looks at: those of `source` with as_of - lag - window < event time <= as_of - lag.

    Without a window they reach back without end. Unless `knowable` is false, only rows known by as_of count.
    """

    source: str
    window: timedelta | None = None
    lag: timedelta = timedelta()
    knowable: bool = True

    @property
    def moves(self) -> tuple[timedelta, timedelta, timedelta]:
        """How far from as of lie the last event time, the last created time and the bound before the first event time."""
        return -self.lag, timedelta(), -self.lag - (self.window or timedelta())

    @property
    def reach(self) -> timedelta | None:
        """How long before as of a row may have happened; None if without end."""
        return None if self.window is None else self.lag + self.window


#: For each span, by name, aggregates over the columns of its rows and `as_of`.
Facts = dict[Span, dict[str, str]]


def facts_of(view: View) -> Facts:
    """Sort the features of `view` that are aggregates by their spans."""
    facts: Facts = {}
    for name, feature in view.features.items():
        if feature.over == "rows":
            span = Span(feature.source or view.source, feature.window, feature.lag or timedelta())
            facts.setdefault(span, {})[name] = _cast(feature)
    return facts


def _cast(feature: Feature) -> str:
    return f"CAST(({feature.sql}) AS {SQL_TYPES[feature.dtype]})"


def _in_span(span: Span, as_of: Callable[[timedelta], str]) -> str:
    """Write which rows are in `span`; `as_of` writes the as-of instant, moved by a length of time."""
    last, known, before = span.moves
    bounds = [f"source.event_time <= {as_of(last)}"]
    if span.knowable:
        bounds.append(f"source.created_time <= {as_of(known)}")
    if span.window is not None:
        bounds.append(f"source.event_time > {as_of(before)}")
    return " AND ".join(bounds)


def _moved_as_of(move: timedelta) -> str:
    seconds = int(move.total_seconds())
    return f"(grid.as_of + INTERVAL ({seconds}) SECOND)" if seconds else "grid.as_of"


def _parameter(move: timedelta) -> str:
    """Name the parameter of `at_instant` that holds the as-of instant moved by a length of time."""
    seconds = int(move.total_seconds())
    return f"__as_of_{'minus' if seconds < 0 else 'plus'}_{abs(seconds)}"


def _part_of_pairs(rows: Mapping[str, str], key: str, grid: str, span: Span, aggregates: str) -> str:
    on = f"source.{key} = grid.{key} AND {_in_span(span, _moved_as_of)}"
    pairs = f"SELECT source.*, grid.as_of FROM {grid} AS grid JOIN {rows[span.source]} AS source ON {on}"
    return f"SELECT {key}, as_of, {aggregates} FROM ({pairs}) GROUP BY {key}, as_of"


def _part_at(rows: Mapping[str, str], key: str, grid: str, span: Span, aggregates: str) -> str:
    within = _in_span(span, _parameter)
    if span.window is None:
        # Entities that have ended would be grouped for ever; a window leaves their rows behind by itself.
        within += f" AND {key} IN (SELECT {key} FROM {grid})"
    return f"""SELECT {_parameter(timedelta())} AS as_of, {key}, {aggregates}
        FROM (SELECT source.* FROM {rows[span.source]} AS source WHERE {within}) GROUP BY {key}"""


def _open_empty(connection: duckdb.DuckDBPyConnection, facts: Facts, rows: Mapping[str, str], grid: str) -> None:
    """Make the table `empty` of what the facts are over no row at each instant of `grid`, as SQL has it: a count is 0."""
    chosen = "".join(
        f", (SELECT {sql} FROM {rows[span.source]} AS source WHERE false HAVING count(*) = 0) AS {identifier(name)}"
        for span, members in facts.items()
        for name, sql in members.items()
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE empty AS
            SELECT instants.as_of{chosen} FROM (SELECT DISTINCT as_of FROM {grid}) AS instants"""
    )


def _facts_query(facts: Facts, key: str, grid: str, on: str, part_of: Callable[[Span, str], str]) -> str:
    """Write the query of the facts of every pair in `grid`.

    `part_of` writes the query of a span's aggregates, whose rows belong to the pair that is equal in the columns `on`.
    """
    chosen, joins = "", ""
    for number, (span, members) in enumerate(facts.items()):
        part = f"part{number}"
        aggregates = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in members.items())
        joins += f"""
        LEFT JOIN ({part_of(span, aggregates)}) AS {part} USING ({on})"""
        for name in map(identifier, members):
            chosen += f", CASE WHEN {part}.{key} IS NULL THEN empty.{name} ELSE {part}.{name} END AS {name}"
    return f"""
        SELECT grid.{key}, grid.as_of{chosen}
        FROM {grid} AS grid JOIN empty USING (as_of){joins}"""


def pair_facts(
    connection: duckdb.DuckDBPyConnection, facts: Facts, key: str, rows: Mapping[str, str], grid: str
) -> str:
    """Write the query of the facts of every pair in `grid`, for scattered pairs.

    Parameters
    ----------
    connection : on which the query is to be run; it gets the table `empty`.
    facts, key, rows, grid : as for `compute_view`.

    """
    _open_empty(connection, facts, rows, grid)
    key = identifier(key)
    return _facts_query(facts, key, grid, f"{key}, as_of", partial(_part_of_pairs, rows, key, grid))


def at_instants(
    connection: duckdb.DuckDBPyConnection,
    facts: Facts,
    key: str,
    rows: Mapping[str, str],
    grid: str,
    over: Callable[[str], str],
) -> Iterator[pa.Table]:
    """Run, for each instant of `grid` in order, a query over the facts of its pairs: for few instants and many entities.

    Parameters
    ----------
    connection, facts, key, rows, grid : as for `pair_facts`.
    over : writes the query over the query of the facts, whose columns are the key, `as_of` and each fact.

    Returns
    -------
    What the query gives, a table for each instant; of an empty grid it is one table.

    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE asked AS FROM {grid}")
    _open_empty(connection, facts, rows, "asked")
    times = connection.execute("SELECT as_of FROM empty ORDER BY as_of").fetchall()
    if not times:
        yield connection.execute(over(pair_facts(connection, facts, key, rows, "asked"))).to_arrow_table()
        return
    key = identifier(key)
    here = f"(SELECT * FROM asked WHERE as_of = {_parameter(timedelta())})"
    query = over(_facts_query(facts, key, here, key, partial(_part_at, rows, key, here)))
    moves = sorted({move for span in facts for move in span.moves})
    # The query is long: to read it once, not for each instant, takes a quarter off what an instant costs by itself.
    connection.execute(f"CREATE OR REPLACE TEMP MACRO at_instant({', '.join(map(_parameter, moves))}) AS TABLE {query}")
    for (time,) in times:
        moved = ", ".join(instant(time + move) for move in moves)
        # A relation would bind the query twice, which costs more than the copy that a result makes.
        yield connection.execute(f"FROM at_instant({moved})").to_arrow_table()


def _view_query(view: View, key: str, facts: str) -> str:
    """Write the query of the view's rows over its facts, in their order."""
    derived = "".join(
        f", {_cast(feature)} AS {identifier(name)}"
        for name, feature in view.features.items()
        if feature.over == "features"
    )
    columns = ", ".join(map(identifier, view.features))
    return f"""
        SELECT {identifier(key)}, as_of AS event_timestamp, as_of AS created_timestamp, {columns}
        FROM (SELECT *{derived} FROM ({facts}))"""


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
    connection: duckdb.DuckDBPyConnection, view: View, key: str, rows: Mapping[str, str], grid: str
) -> Iterator[pa.Table]:
    """Compute `view` for every pair of `grid`, a table for each instant: together the rows that `compute_view` gives.

    This is the way for few instants at which many entities are asked for; parameters and errors are the same. An empty
    grid gives one empty table.
    """
    # The joins are written in a good order: else their wide side, which grows with every span, would be hashed again and
    # again. The others cost more time than they save on a query that is planned for every instant.
    connection.execute("SET disabled_optimizers = 'build_side_probe_side,join_order,compressed_materialization'")
    try:
        yield from at_instants(connection, facts_of(view), key, rows, grid, partial(_view_query, view, key))
    except duckdb.Error as error:
        raise PlanError(blame(connection, view, key, rows, grid) or f"{view.source}: {error}") from None


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
