"""The rows that tell of a linked entity: those about what belongs to it, each with the key of where it belongs.

A row says itself where it belongs if its source has a column of the linked entity's key. Else it belongs to what the link
named when the row became known: the feature that holds the link, computed for the row's own entity as of then. So the rows of
somebody who moved stay where they were. A row whose key is null belongs nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier
from feature_repo.views.definitions import needed_for
from feature_repo.views.rows import compute_view

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import duckdb

    from core.contracts import Link
    from core.plan.plan import Plan, View


@dataclass(frozen=True)
class Linked:
    """How a view's entity is reached: the link, and of the view that holds it what the link is computed from."""

    link: Link
    view: View


def linked_by(plan: Plan, view: View) -> Linked | None:
    """Say how the entity that `view` is about is reached; None if it is the one that is predicted for."""
    link = plan.link_of(view)
    if link is None:
        return None
    return Linked(link, needed_for(plan.build_features.views[link.view], link.feature))


def placed(
    connection: duckdb.DuckDBPyConnection,
    linked: Linked,
    rows: str,
    columns: Collection[str],
    link_rows: Mapping[str, str],
) -> str:
    """Write the relation of the rows that belong somewhere, with the linked entity's key.

    Parameters
    ----------
    connection : on which it is to be read, before this is called again.
    rows : a relation with the names that feature SQL uses; its columns are `columns`.
    link_rows : relations with the rows of the sources from which the link is computed.

    Raises
    ------
    PlanError
        If the SQL of the link is refused by DuckDB.

    """
    link = linked.link
    key, member = identifier(link.key), identifier(link.from_key)
    if link.key in columns:
        return f"(FROM {rows} WHERE {key} IS NOT NULL)"
    known = "greatest(placed.event_time, placed.created_time)"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE to_place AS SELECT DISTINCT {member}, {known} AS as_of FROM {rows} AS placed"
    )
    connection.register("places", compute_view(connection, linked.view, link.from_key, link_rows, "to_place"))
    return f"""(SELECT placed.*, places.{identifier(link.feature)} AS {key}
        FROM {rows} AS placed JOIN places ON placed.{member} = places.{member} AND {known} = places.event_timestamp
        WHERE places.{identifier(link.feature)} IS NOT NULL)"""


def lives_of(link: Link, rows: str) -> str:
    """Write the relation of when the first of `rows` became known of each linked entity, as a source has rows."""
    key = identifier(link.key)
    first = f"SELECT {key}, min(greatest(event_time, created_time)) AS _known FROM {rows} GROUP BY 1"
    return f"(SELECT {key}, _known AS event_time, _known AS created_time FROM ({first}))"
