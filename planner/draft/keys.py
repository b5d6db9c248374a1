"""The key of a table without times: a unique column, or row numbers in a copy of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.plan.ingest import CsvReader, ParquetReader
from core.suggestions import allowed_here
from feature_repo.files.duck import identifier, literal
from planner.profile.column import Column, column_value
from planner.profile.links import key_score, singular
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from planner.draft.sheet import Sheet
    from planner.profile.profile import Table
    from planner.profile.tables import Loaded

#: The answer that numbers the rows.
_NUMBER = "row_number"


def draft_key(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    target: Column,
    key: str | None,
    folder: Path,
) -> tuple[Table, Column]:
    """Return the table and its key; without a key, write a copy with row numbers and return that.

    Raises
    ------
    PantheraError
        If the named key is not unique.

    """
    able = [name for name in table.keys if name != target.name and _is_likely_key(table, table.column(name))]
    named = key or sheet.answers.get("key")
    if named is None and not able:
        sheet.ask("key", f"Which column of {table.name} tells its rows apart?", _NUMBER, [_NUMBER], "the entity", 80)
        return _numbered(sheet, connection, table, folder)
    if named is None:
        options = [table.column(name).raw for name in able]
        named = (
            able[0]
            if len(able) == 1
            else sheet.ask("key", f"Which column is the key of {table.name}?", able[0], options, "the entity", 60)
        )
    if named == _NUMBER and not any(named in {column.name, column.raw} for column in table.columns):
        return _numbered(sheet, connection, table, folder)
    found = next((column for column in table.columns if named in {column.name, column.raw}), None)
    if found is None:
        known = [column.raw for column in table.columns]
        raise PantheraError(f"{named!r} is no column of {table.name}; {allowed_here(named, known)}")
    _require_key(connection, table, found, target)
    return table, found


def _require_key(connection: duckdb.DuckDBPyConnection, table: Table, key: Column, target: Column) -> None:
    if key.name == target.name:
        raise PantheraError(f"{key.raw!r} is the target, so it cannot be the key; name another column with --key")
    if key.kind not in {"integer", "string"}:
        raise PantheraError(
            f"the key {key.raw!r} is {key.kind}; expected whole numbers or texts: name another column with --key"
        )
    if key.treatment == "remove":
        raise PantheraError(
            f"the key {key.raw!r} is {key.personal}, which no key may be; name another column with --key"
        )
    value = column_value(table.loaded, key)
    ((values, distinct),) = connection.execute(
        f"SELECT count({value}), count(DISTINCT {value}) FROM {table.loaded.relation}"
    ).fetchall()
    if distinct < table.rows:
        missing = f"{table.rows - values:,} rows without one, " if values < table.rows else ""
        raise PantheraError(
            f"the key {key.raw!r} has {missing}{values - distinct:,} rows whose value another row has; expected one row for "
            "each value; name another column with --key, or row_number to number the rows"
        )


def _is_likely_key(table: Table, column: Column) -> bool:
    """Return whether a unique column is a key: by its name, as texts without blanks, or as numbers without gaps."""
    if key_score(table.name, column):
        return True
    if column.kind == "string":
        return not any(" " in text for text, _ in column.top)
    return int(column.largest or 0) - int(column.smallest or 0) == table.rows - 1


def _numbered(sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, folder: Path) -> tuple[Table, Column]:
    """Write a copy of the table with row numbers; return it with that key."""
    loaded = table.loaded
    key = next(name for name in (_NUMBER, f"{_NUMBER}_2", "number_of_row") if name not in loaded.types)
    column = identifier(key)
    connection.execute(f"ALTER TABLE {loaded.relation} ADD COLUMN {column} BIGINT")
    connection.execute(f"UPDATE {loaded.relation} SET {column} = rowid + 1")
    types = {key: "BIGINT", **loaded.types}
    reader = _copied(connection, loaded, list(types), folder)
    own = Column(key, key, "BIGINT", "integer", table.rows, distinct=table.rows, is_exact=True)
    sheet.notes.append(
        f"no column of {table.name} tells its rows apart: {Path(reader.path).name} is a copy with their numbers; number a new "
        "delivery alike"
    )
    columns = (own, *(replace(each, raw=each.name) for each in table.columns))
    copy = replace(loaded, reader=reader, raw={name: name for name in types}, types=types, unread=0)
    return replace(table, loaded=copy, columns=columns, keys=(key,)), own


def _copied(
    connection: duckdb.DuckDBPyConnection, loaded: Loaded, columns: Sequence[str], folder: Path
) -> CsvReader | ParquetReader:
    """Write the columns of a table to a file in `folder`; return its reader."""
    is_text = isinstance(loaded.reader, CsvReader)
    file = folder / f"{loaded.name}_numbered.{'csv' if is_text else 'parquet'}"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = ", ".join(map(identifier, columns))
    form = "FORMAT csv, HEADER true" if is_text else "FORMAT parquet"
    connection.execute(f"COPY (SELECT {chosen} FROM {loaded.relation} ORDER BY rowid) TO {literal(file)} ({form})")
    if isinstance(loaded.reader, CsvReader):
        marks = {"decimal": loaded.reader.decimal, "thousands": loaded.reader.thousands}
        return CsvReader.model_validate({"kind": "csv", "path": str(file), **marks})
    return ParquetReader(kind="parquet", path=str(file))


def entity_name(table: Table, key: Column) -> str:
    """Return the name of the entity that a key identifies, from the names of the key and the table."""
    about = KEY_NAME.sub("", key.name).strip("_")
    if key.name == _NUMBER or not about:
        return singular(table.name) if singular(table.name) != key.name else f"one_{key.name}"[:40]
    return about
