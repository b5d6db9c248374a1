"""The point-in-time join: for each (entity, as of), the row of a view that was knowable then, and no later one.

A row counts when its event time <= as of and its created time <= as of. Among those the one with the latest event time wins,
and among equal event times the one created last. A winner whose event time is before as of - ttl is expired: nothing is
joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.duck import identifier, literal

if TYPE_CHECKING:
    from datetime import timedelta

    import duckdb
    import pyarrow as pa


@dataclass(frozen=True)
class ViewJoin:
    """One view to be joined.

    Attributes
    ----------
    rows : a relation (SQL) with the key columns, `event_time`, `created_time` (None: the event time) and the features.
    keys : pairs (column in the entity rows, column in `rows`).
    columns : pairs (feature in `rows`, name in the result).

    """

    rows: str
    keys: tuple[tuple[str, str], ...]
    event_time: str
    created_time: str | None
    ttl: timedelta | None
    columns: tuple[tuple[str, str], ...]


def _best_known(view: ViewJoin) -> str:
    """Write, for every instant at which something became known of an entity, which row is the best one from then on.

    Rows may become known out of the order of their events, so each carries the best of all rows known up to it: a running
    maximum of (event time, created time). A join as of the time of knowledge then needs no second condition.
    """
    created = f"greatest({view.created_time}, {view.event_time})" if view.created_time else view.event_time
    keys = ", ".join(identifier(key) for _, key in view.keys)
    best = f"max(struct_pack(event := {view.event_time}, created := {view.created_time or view.event_time}, place := place))"
    return f"""
        SELECT DISTINCT {keys}, {created} AS known_at,
            {best} OVER (PARTITION BY {keys} ORDER BY {created} RANGE UNBOUNDED PRECEDING) AS best
        FROM numbered"""


def _join_query(asked: str, as_of: str, view: ViewJoin) -> str:
    """Write the join of `view` to the table `asked`, all of whose columns and rows the result keeps, one to one."""
    on = " AND ".join(f"asked.{identifier(ours)} = known.{identifier(theirs)}" for ours, theirs in view.keys)
    time = f"asked.{identifier(as_of)}"
    fresh = (
        "true"
        if view.ttl is None
        else f"known.best.event >= {time} - INTERVAL {int(view.ttl.total_seconds() * 1e6)} MICROSECOND"
    )
    chosen = "".join(
        f", CASE WHEN {fresh} THEN numbered.{identifier(feature)} END AS {identifier(name)}"
        for feature, name in view.columns
    )
    return f"""
        WITH numbered AS MATERIALIZED (SELECT *, row_number() OVER () AS place FROM {view.rows}),
            known AS ({_best_known(view)})
        SELECT asked.*{chosen}
        FROM {asked} AS asked
        ASOF LEFT JOIN known ON {on} AND {time} >= known.known_at
        LEFT JOIN numbered ON numbered.place = known.best.place"""


def point_in_time_join(
    connection: duckdb.DuckDBPyConnection, entity_rows: pa.Table, as_of: str, views: list[ViewJoin]
) -> pa.Table:
    """Join the views, one after another, to `entity_rows`; the order and number of its rows are kept.

    Parameters
    ----------
    connection : from `open_duckdb`.
    entity_rows : table with the key columns and the timestamp column `as_of`, which has a time zone.
    as_of : its name.
    views : what to join, in the order of the result's columns.

    Returns
    -------
    The columns of `entity_rows`, then those of each view; null where nothing was knowable or all was expired.

    """
    connection.register("entity_frame", entity_rows)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE joined0 AS SELECT row_number() OVER () AS asked_row, * FROM entity_frame"
    )
    for number, view in enumerate(views):
        query = _join_query(f"joined{number}", as_of, view)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE joined{number + 1} AS {query}")
        connection.execute(f"DROP TABLE joined{number}")
    ordered = f"SELECT * EXCLUDE (asked_row) FROM joined{len(views)} ORDER BY asked_row"
    result = connection.sql(ordered).to_arrow_table()
    connection.execute(f"DROP TABLE joined{len(views)}")
    connection.unregister("entity_frame")
    return result


def parquet(files: str) -> str:
    """Write the relation of the parquet files that the glob `files` names."""
    return f"read_parquet({literal(files)})"
