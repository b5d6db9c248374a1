"""The rows that belong to a linked entity, each with the key of that entity.

If a source has a column with the linked entity's key, the row states its linked entity itself. Otherwise the key is the value
of the link feature for the row's own entity, as of when the row became known. So old rows keep their key when a link changes.
Rows without a key are left out.
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
    """How a view's entity is reached: the link, and the view that computes the link feature."""

    link: Link
    view: View


def linked_by(plan: Plan, view: View) -> Linked | None:
    """Return how the entity of `view` is reached; None if it is the predicted one."""
    link = plan.link_of(view)
    if link is None:
        return None
    return Linked(link, needed_for(plan.build_features.views[link.view], link.feature))


def rows_with_link_key(
    connection: duckdb.DuckDBPyConnection,
    linked: Linked,
    rows: str,
    columns: Collection[str],
    link_rows: Mapping[str, str],
) -> str:
    """Compose the relation of the rows that belong to a linked entity, with its key.

    Parameters
    ----------
    connection : where the link is computed. The relation must be read on it before the next call.
    rows : a relation with the names that feature SQL uses; its columns are `columns`.
    link_rows : relations with the rows of the sources from which the link is computed.

    Raises
    ------
    PlanError
        If DuckDB refuses the SQL of the link.

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


def first_known_rows(link: Link, rows: str) -> str:
    """Compose a relation like a source, with one row for each linked entity: when the first of its `rows` became known."""
    key = identifier(link.key)
    first = f"SELECT {key}, min(greatest(event_time, created_time)) AS _known FROM {rows} GROUP BY 1"
    return f"(SELECT {key}, _known AS event_time, _known AS created_time FROM ({first}))"
