"""Draft the sections `ingest` and `validate` of a source: its reader, its columns and the rules that its rows satisfy."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.plan.ingest import FilesReader
from feature_repo.files.duck import identifier, literal
from feature_repo.sources.addresses import is_address
from planner.profile.column import column_value
from planner.profile.patterns import TIME_FORMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from core.plan.ingest import Reader
    from planner.draft.sheet import Sheet
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: Words that the platform reads as true and false, in any case.
_KNOWN_TRUTH = {"true", "yes", "on", "t", "y", "false", "no", "off", "f", "n"}
#: Values of a column that a rule lists.
_MOST_ALLOWED = 12
#: Parts of the rows, in their order: a rule is made of all but the last, and must hold there.
_SLICES = 5
_MAX_REJECTED = 0.01


def draft_source(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    columns: Sequence[Column],
    folder: Path,
) -> None:
    """Put the reader, the columns and the rules of a source into the sheet; `columns` are those that the plan reads."""
    path = f"ingest.{table.name}"
    sheet.put(f"{path}.reader", reader_section(table.loaded.reader, folder))
    sheet.put(f"{path}.entity", "")
    sheet.put(f"{path}.columns", {})
    for column in columns:
        why, query = _reason(table, column)
        sheet.put(
            f"{path}.columns.{column.name}",
            column_section(column),
            why,
            source=table.name,
            query=query,
            rows=table.rows,
            figure=column.nulls,
        )
    _rules(sheet, connection, table, columns)


def reader_section(reader: Reader, folder: Path) -> dict[str, Any]:
    """Return the section of a reader; its path is relative to the folder of the plan."""
    stated = reader.model_dump(mode="json", exclude_defaults=True)
    if isinstance(reader, FilesReader) and not is_address(reader.path):
        stated["path"] = _path_from(folder, Path(reader.path))
    return {"kind": reader.kind, **stated}


def _path_from(folder: Path, path: Path) -> str:
    """Return a path relative to the plan's `folder`; an absolute path outside of it stays absolute."""
    is_elsewhere = path.is_absolute() and not path.resolve().is_relative_to(folder.resolve())
    return str(path) if is_elsewhere else os.path.relpath(path, folder)


def column_section(column: Column) -> dict[str, Any]:
    """Return the section of a column."""
    section: dict[str, Any] = {"dtype": column.dtype}
    if column.raw != column.name:
        section["rename_from"] = column.raw
    if column.treatment:
        section["pii"] = column.treatment
    if column.missing:
        section["missing"] = list(column.missing)
    if column.truth and not {word.lower() for word in column.truth} <= _KNOWN_TRUTH:
        section |= {"true_values": [column.truth[0]], "false_values": [column.truth[1]]}
    if form := stated_format(column):
        section["format"] = form
    return section


def stated_format(column: Column) -> str | None:
    """Return the format of a column of times that are not in ISO 8601; None for other columns."""
    if column.is_unix:
        return column.forms[0]
    form = next((one for one in TIME_FORMS if column.forms and one.format == column.forms[0]), None)
    return form.format if column.is_time and form is not None and not form.is_iso else None


def _reason(table: Table, column: Column) -> tuple[str, str]:
    """Return the reason for the declaration of a column, and the query that counts its missing values."""
    parts = [f"{column.kind}, {'' if column.is_exact else 'about '}{column.distinct:,} distinct"]
    if column.nulls:
        words = f" ({', '.join(map(repr, column.missing))} among them)" if column.missing else ""
        parts.append(f"{column.nulls:,} of {column.rows:,} missing{words}")
    if column.leading_zeros and column.kind == "string":
        parts.append(f"{column.leading_zeros:,} with leading zeros, so no number")
    if column.faults:
        parts.append(f"{column.faults:,} values are no {column.kind}")
    if column.personal:
        share = (
            f", {column.personal_share:.0%} of the values looked at"
            if column.personal_share is not None
            else " by name"
        )
        parts.append(f"{column.personal}{share}")
    name = identifier(column.name)
    words = f" OR trim({name}) IN ({', '.join(map(literal, column.missing))})" if column.missing else ""
    return "; ".join(parts), f"SELECT count(*) FILTER ({name} IS NULL{words}) FROM {table.loaded.relation}"


def _rules(sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[Column]) -> None:
    """Put the rules that hold in every part of the rows, including the last one, into the sheet."""
    kept = [column for column in columns if column.treatment != "remove" and column.kind != "empty"]
    path = f"validate.{table.name}"
    complete = [column.name for column in kept if not column.nulls and not column.faults]
    if complete:
        sheet.put(f"{path}.not_null", complete, f"no value is missing in {table.rows:,} rows", rows=table.rows)
    faulty = [column.name for column in kept if column.faults]
    if faulty:
        sheet.put(f"{path}.as_missing", faulty, "a few values are of another kind; they become missing")
    positive = [column for column in kept if column.is_numeric and _is_never_negative(column)]
    if positive:
        sheet.put(f"{path}.range", {column.name: [0, None] for column in positive}, "never negative")
    allowed = {column.name: values for column in kept if (values := _allowed(connection, table, column))}
    if allowed:
        sheet.put(
            f"{path}.allowed", allowed, "all values of the first four fifths of the rows; the last fifth has no other"
        )
    faults = sum(column.faults for column in kept) + table.loaded.unread
    share = faults / max(1, table.rows + table.loaded.unread)
    rejected = max(_MAX_REJECTED, math.ceil(share * 150) / 100)
    sheet.put(f"{path}.max_rejected", min(rejected, 1.0))


def _is_never_negative(column: Column) -> bool:
    return bool(column.quantiles) and column.quantiles[0] >= 0 and float(column.smallest or -1) >= 0


def _allowed(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> list[str]:
    """Return the values of a column with few texts, if the last part of the rows has no further value."""
    if (
        column.kind != "string"
        or not 1 < column.distinct <= _MOST_ALLOWED
        or column.personal
        or table.rows < _SLICES * 20
    ):
        return []
    value = column_value(table.loaded, column)
    rows = connection.execute(
        f"SELECT CAST({value} AS VARCHAR), bool_or(rowid < {table.rows * (_SLICES - 1) // _SLICES}) "
        f"FROM {table.loaded.relation} WHERE {value} IS NOT NULL GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return [str(text) for text, _ in rows] if all(early for _, early in rows) else []
