"""Columns of other tables that rows are linked to, such as those of the store of an order, joined by look-ups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from feature_repo.files.duck import identifier
from planner.draft.entity_rows import entity_of
from planner.draft.no_features import no_feature
from planner.draft.sources import draft_source
from planner.profile.patterns import AFTER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

    from planner.draft.sheet import Sheet
    from planner.profile.column import Column
    from planner.profile.links import Link
    from planner.profile.profile import Profile, Table

#: Columns that are joined from one table, and the length of a name.
_MOST_COLUMNS, _LONGEST_NAME = 20, 40
#: Look-ups by columns of look-ups, as the region of the store of an order.
_DEEPEST = 2


def draft_look_ups(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, profile: Profile, table: Table, folder: Path
) -> list[Column]:
    """Put the look-ups of a table into the sheet; return the columns that they add, by their names in the table.

    The values of the other tables count as known at every time; columns of times, and those known later by name, are left out.
    """
    found: list[Column] = []
    ends = [(table, "", link) for link in profile.links if link.table == table.name]
    for _ in range(_DEEPEST):
        further = []
        for holder, prefix, link in ends:
            other = profile.table_named(link.to_table)
            if other.name == table.name or other.name in sheet.plan["ingest"]:
                continue
            columns = list(_columns(other, link, holder, prefix))
            if columns:
                _put(sheet, connection, table, other, link, prefix, folder)
                found += columns
                further += [(other, f"{other.name}_", one) for one in profile.links if one.table == other.name]
        ends = further
    return found


def key_features(sheet: Sheet, features: Sequence[Column]) -> tuple[list[Column], dict[str, str]]:
    """Return the features whose columns are no keys of entities, and of the others the SQL of their texts by a name."""
    keys = {one["key"] for one in sheet.plan["entities"].values()}
    texts = {
        f"of_{one.name}"[:_LONGEST_NAME]: f"CAST({identifier(one.name)} AS VARCHAR)"
        for one in features
        if one.name in keys
    }
    return [one for one in features if one.name not in keys], texts


def _columns(other: Table, link: Link, holder: Table, prefix: str) -> Iterator[Column]:
    """Yield the columns of a look-up that are features, with the names that they get."""
    if len(f"{prefix}{link.column}") > _LONGEST_NAME:
        return
    able = [one for one in other.columns if one.name != link.to_column and not one.is_time and one.kind != "text"]
    able = [one for one in able if no_feature(one, other) is None and not AFTER_NAME.search(one.name)]
    names = {one.name for one in holder.columns}
    for one in able[:_MOST_COLUMNS]:
        name = f"{other.name}_{one.name}"
        if len(name) <= _LONGEST_NAME and name not in names:
            yield replace(one, name=name, raw=name)


def _put(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    other: Table,
    link: Link,
    prefix: str,
    folder: Path,
) -> None:
    key = other.column(link.to_column)
    entities = sheet.plan["entities"]
    entity = next((name for name, one in entities.items() if one["key"] == key.name and "of" not in one), None)
    if entity is None:
        entity = (
            entity_of(key, None) if entity_of(key, None) not in entities else f"one_of_{other.name}"[:_LONGEST_NAME]
        )
        sheet.put(f"entities.{entity}", {"key": key.name, "dtype": key.dtype, "source": other.name})
    draft_source(sheet, connection, other, [one for one in other.columns if one.kind != "empty"], folder)
    sheet.plan["ingest"][other.name]["entity"] = entity
    by = {"key": {f"{prefix}{link.column}": link.to_column}}
    why = f"{link.included:.0%} of {link.column!r} are keys of {other.name}, whose values count as known at any time"
    sheet.put(f"ingest.{table.name}.join.{other.name}", by, why, rows=table.rows)
