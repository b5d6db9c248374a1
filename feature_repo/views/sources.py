"""What a view is computed from: the accepted rows of its sources, and, if its entity is linked, those that belong to it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from feature_repo.files.datasets import accepted_glob, open_rows, renamed
from feature_repo.files.duck import identifier
from feature_repo.views.existence import open_existence, open_grid
from feature_repo.views.linked_rows import lives_of, placed
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
    """Open all that `compute_view` needs of a view: its rows, and as `grid` who exists at `times`.

    Parameters
    ----------
    view, entity, linked : as the plan declares them: the entity that the view is about, and how it is reached.

    Returns
    -------
    The name of a view with the rows of each source; if the entity is linked, they lie in the table `kept(source)`.

    """
    files = partial(accepted_glob, accepted)
    if linked is None:
        open_existence(connection, grid, entity, files, times)
        return open_sources(connection, {source: files(source) for source in view.sources})
    rows = {source: place_rows(connection, source, view, linked, [files]) for source in view.sources}
    if entity.source:
        open_existence(connection, grid, entity, files, times)
    else:
        open_grid(connection, grid, entity.key, lives_of(linked.link, kept(view.source)), times)
    return rows


def place_rows(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    view: View,
    linked: Linked,
    parts: Sequence[Callable[[str], str | Path]],
    within: str = "true",
) -> str:
    """Make `rows_of_` a source of those of its rows that belong to a linked entity, with the columns that `view` needs.

    They are kept as a table, since a view over files would place them anew for each span that looks at them.

    Parameters
    ----------
    parts : each names the files of a source; all that is about one entity lies in one part.
    within : a condition that rows must fulfil.

    """
    link = linked.link
    for number, files in enumerate(parts):
        rows = f"(FROM {renamed(files(source))} WHERE {within})"
        needed = needed_columns(connection, rows, source, view, {link.from_key, link.key, "source_row"})
        chosen = f"(SELECT {', '.join(map(identifier, needed))} FROM {rows})"
        link_rows = {name: open_rows(connection, f"link_rows_of_{name}", files(name)) for name in linked.view.sources}
        relation = placed(connection, linked, chosen, needed, link_rows)
        make = f"INSERT INTO {kept(source)}" if number else f"CREATE TEMP TABLE {kept(source)} AS"
        connection.execute(f"{make} FROM {relation}")
    connection.execute(f"CREATE TEMP VIEW rows_of_{source} AS FROM {kept(source)}")
    return f"rows_of_{source}"


def kept(source: str) -> str:
    """Name the table of a source's rows that belong to linked entities."""
    return f"kept_{source}"


def needed_columns(
    connection: duckdb.DuckDBPyConnection, rows: str, source: str, view: View, always: Collection[str]
) -> list[str]:
    """List the columns of a source's `rows` that `view` needs: those that its SQL names, the times, and those in `always`."""
    present = [row[0] for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()]
    sql = " ".join(feature.sql for feature in view.features.values() if (feature.source or view.source) == source)
    needed = {*always, "event_time", "created_time", *named(present, sql)}
    return [column for column in present if column in needed]
