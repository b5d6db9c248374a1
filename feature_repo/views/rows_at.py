"""The rows of a view as of one instant, computed from the accepted rows, in the form of online tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from feature_repo.files.duck import instant, open_duckdb
from feature_repo.views.existence import asked_in
from feature_repo.views.linked_rows import Linked
from feature_repo.views.rows import compute_snapshots
from feature_repo.views.sources import open_view

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from feature_repo.views.definitions import ViewDefinition


def rows_at(definition: ViewDefinition, accepted: Path, as_of: datetime) -> pa.Table:
    """Return the rows of a view as of one instant, for every entity that exists then.

    Parameters
    ----------
    accepted : folder of the accepted rows.

    """
    view, entity = definition.view, definition.entity
    linked = Linked(definition.link, definition.holder) if definition.link and definition.holder else None
    with open_duckdb() as connection:
        times = f"(SELECT {instant(as_of)} AS as_of)"
        rows = open_view(connection, view, entity, linked, accepted, times)
        return pa.concat_tables(compute_snapshots(connection, view, rows, asked_in(connection, entity.key, "grid")))
