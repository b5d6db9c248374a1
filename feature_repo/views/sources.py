"""The input rows of a view: the accepted rows of its sources; for a linked entity, those that belong to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from feature_repo.files.datasets import accepted_glob, open_rows, renamed
from feature_repo.files.duck import identifier
from feature_repo.views.existence import open_existence, open_grid
from feature_repo.views.linked_rows import first_known_rows, rows_with_link_key
from feature_repo.views.sql_names import named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from core.plan.plan import Entity, View
    from feature_repo.views.linked_rows import Linked


def open_sources(connection: duckdb.DuckDBPyConnection, files: Mapping[str, str | Path]) -> dict[str, str]:
    """Register the accepted rows of each source from its `files`; return the names of the relations."""
    return {source: open_rows(connection, f"rows_of_{source}", path) for source, path in files.items()}


def open_view(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    entity: Entity,
    linked: Linked | None,
    accepted: Path,
    times: str,
    grid: str = "grid",
) -> dict[str, str]:
    """Open the relations that `compute_view` reads: the rows of the view, and `grid`.

    Parameters
    ----------
    view, entity : the view, and the entity that it describes, as the plan declares them.
    linked : how the entity is reached; None if it is the predicted one.
    accepted : folder of the accepted rows.
    times : a relation with the column `as_of`.
    grid : name of the relation to create, with the pairs (key, as_of) of the entities that exist at each of `times`.

    Returns
    -------
    For each source, the name of a relation with its rows. For a linked entity it reads the table
    `linked_rows_table(source)`.

    """
    files = partial(accepted_glob, accepted)
    if linked is None:
        open_existence(connection, grid, entity, files, times)
        return open_sources(connection, {source: files(source) for source in view.sources})
    rows = {source: open_linked_rows(connection, source, view, linked, [files]) for source in view.sources}
    if entity.source:
        open_existence(connection, grid, entity, files, times)
    else:
        open_grid(connection, grid, entity.key, first_known_rows(linked.link, linked_rows_table(view.source)), times)
    return rows


def open_linked_rows(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    view: View,
    linked: Linked,
    parts: Sequence[Callable[[str], str | Path]],
    within: str = "true",
) -> str:
    """Create `rows_of_<source>`: the rows of a source that belong to a linked entity, with the columns that `view` needs.

    They are stored in a temporary table: a view over files would look up the linked entity again for each span.

    Parameters
    ----------
    parts : functions that return the files of a source. All rows about one entity lie in one part.
    within : SQL condition on the rows.

    Returns
    -------
    The name of the relation.

    """
    link = linked.link
    for number, files in enumerate(parts):
        rows = f"(FROM {renamed(files(source))} WHERE {within})"
        needed = needed_columns(connection, rows, source, view, {link.from_key, link.key, "source_row"})
        chosen = f"(SELECT {', '.join(map(identifier, needed))} FROM {rows})"
        link_rows = {name: open_rows(connection, f"link_rows_of_{name}", files(name)) for name in linked.view.sources}
        relation = rows_with_link_key(connection, linked, chosen, needed, link_rows)
        destination = (
            f"INSERT INTO {linked_rows_table(source)}"
            if number
            else f"CREATE TEMP TABLE {linked_rows_table(source)} AS"
        )
        connection.execute(f"{destination} FROM {relation}")
    connection.execute(f"CREATE TEMP VIEW rows_of_{source} AS FROM {linked_rows_table(source)}")
    return f"rows_of_{source}"


def linked_rows_table(source: str) -> str:
    """Return the name of the temporary table with a source's rows that belong to linked entities."""
    return f"kept_{source}"


def needed_columns(
    connection: duckdb.DuckDBPyConnection, rows: str, source: str, view: View, always: Collection[str]
) -> list[str]:
    """Return the columns of a source's `rows` that `view` needs: the columns in its SQL, the times, and `always`."""
    present = [row[0] for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()]
    read = " ".join(feature.reads for feature in view.features.values() if (feature.source or view.source) == source)
    needed = {*always, "event_time", "created_time", *named(present, read)}
    return [column for column in present if column in needed]
