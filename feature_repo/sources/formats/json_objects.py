"""Files of JSON objects, one per line or all in one array, as rows of text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb

from core.errors import SourceError
from feature_repo.files.duck import literal
from feature_repo.sources.faults import without_rows
from feature_repo.sources.files import listed_files, shown
from feature_repo.sources.parts import Part
from feature_repo.sources.plain_text import not_of_encoding, plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.plan.ingest import JsonLinesReader

_ARRAY, _LINES = "array", "newline_delimited"


def json_part(
    files: Sequence[Path], reader: JsonLinesReader, connection: duckdb.DuckDBPyConnection, scratch: Path
) -> Part:
    """Return files of JSON objects as one part; its columns are the keys of all objects.

    Raises
    ------
    SourceError
        If a file is damaged, in another encoding, has no object, or has an object with a duplicate key.

    """
    encoding = "utf-8-sig" if reader.encoding.lower() in {"utf-8", "utf8"} else reader.encoding
    plain = [plain_text(file, encoding, scratch) for file in files]
    part = objects_part(plain, shown(files[0]), connection)
    if not part.columns:
        raise SourceError(
            f"the file {shown(files[0])} holds no JSON object; expected one a line, or an array of them: write it anew, or "
            "correct the reader's path"
        )
    return part


def objects_part(files: Sequence[Path], what: str, connection: duckdb.DuckDBPyConnection) -> Part:
    """Open plain files of JSON objects, which `what` names; the columns are the keys of all objects.

    Raises
    ------
    SourceError
        If a file is damaged, of another encoding than UTF-8, or has an object with a key twice.

    """
    objects = _relation(files)
    try:
        rows = connection.execute(f"SELECT DISTINCT json_keys(json) FROM {objects}").fetchall()
    except duckdb.InvalidInputException as error:
        raise SourceError(next(filter(None, map(_fault, files)), None) or _reason(files, error)) from None
    found = [keys or [] for (keys,) in rows]
    doubled = sorted({key for keys in found if len(set(keys)) < len(keys) for key in keys if keys.count(key) > 1})
    if doubled:
        raise SourceError(f"an object of {what} has the key {doubled[0]!r} twice; keep one")
    names = sorted({key for keys in found for key in keys})
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    return Part(objects, {name: f"json ->> {literal(at)}" for name, at in zip(names, pointers, strict=True)}, what)


def _relation(files: Sequence[Path]) -> str:
    """Compose the relation of all objects, one per row, in the column `json`."""
    by_form: dict[str, list[Path]] = {}
    for file in files:
        by_form.setdefault(_form(file), []).append(file)
    selected = (
        f"SELECT json FROM read_json_objects({listed_files(alike)}, format = '{form}', compression = 'none')"
        for form, alike in by_form.items()
    )
    return f"({' UNION ALL '.join(selected)})"


def _form(file: Path) -> str:
    """Return DuckDB's name for the layout of a file: objects in an array, or one object per line."""
    with file.open("rb") as content:
        start = content.read(1 << 10).lstrip()
    return _ARRAY if start.startswith(b"[") else _LINES


def _fault(file: Path) -> str | None:
    """Return the message about the first line that is not UTF-8 or not JSON; None if there is none."""
    form = _form(file)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError:
                return not_of_encoding(file)
            if form == _LINES and (fault := _fault_of_line(text)):
                return (
                    f"line {number} of {shown(file)} is no JSON ({fault}); expected one object a line: correct it, or fetch "
                    "the file again"
                )
    return None


def _fault_of_line(text: str) -> str | None:
    try:
        json.loads(text.strip() or "null")
    except json.JSONDecodeError as error:
        return f"{error.msg}, at character {error.colno}"
    return None


def _reason(files: Sequence[Path], error: duckdb.Error) -> str:
    what = shown(files[0]) if len(files) == 1 else f"one of {len(files)} files from {shown(files[0])} on"
    return f"{what} is no JSON: {without_rows(error)}"
