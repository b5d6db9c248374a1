"""Sheets of Excel workbooks, as rows of text."""

from __future__ import annotations

import zipfile
import zlib
from contextlib import closing
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from core.errors import SourceError
from feature_repo.sources.files import shown, source_files
from feature_repo.sources.object_rows import object_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.plan.ingest import ExcelReader
    from feature_repo.sources.parts import Part

#: How a workbook of an older Excel, or one with a password, begins.
_OLE = b"\xd0\xcf\x11\xe0"
#: What reading a damaged workbook raises; an error of its XML is a SyntaxError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, SyntaxError, EOFError, OSError, LookupError, TypeError, ValueError)


def workbook_parts(reader: ExcelReader, scratch: Path) -> list[Part]:
    """Return the sheet of each workbook that a reader names, as parts.

    Raises
    ------
    SourceError
        If the extra is not installed, a file is not a workbook, is encrypted, or lacks the sheet.

    """
    return [_part(file, reader, scratch) for file in source_files(reader, scratch)]


def _part(file: Path, reader: ExcelReader, scratch: Path) -> Part:
    with file.open("rb") as content, closing(_workbook(file, content)) as workbook:
        if reader.sheet is not None and reader.sheet not in workbook.sheetnames:
            raise SourceError(
                f"{shown(file)} has no sheet {reader.sheet!r}; it has {', '.join(workbook.sheetnames)}: set sheet"
            )
        sheet = workbook[reader.sheet or workbook.sheetnames[0]]
        if not hasattr(sheet, "iter_rows"):
            raise SourceError(f"the sheet {sheet.title!r} of {shown(file)} is a chart; name another with sheet")
        rows = _filled(sheet, reader.skip_lines, file)
        header = list(reader.names) or [_name(value) for value in _without_end(next(rows, []))]
        if not header:
            raise SourceError(
                f"the sheet {sheet.title!r} of {shown(file)} is empty; expected a header and rows: name another sheet"
            )
        return object_part(header, _fitted(rows, header, file), f"{shown(file)}, sheet {sheet.title!r}", scratch)


def _workbook(file: Path, content: IO[bytes]) -> Any:
    try:
        import openpyxl
    except ImportError:
        raise SourceError("a reader of Excel needs the extra: pip install 'pantherapredict[excel]'") from None
    if content.read(len(_OLE)) == _OLE:
        raise SourceError(
            f"{shown(file)} is encrypted, or of an Excel before 2007; save it as .xlsx without a password"
        )
    try:
        return openpyxl.load_workbook(content, read_only=True, data_only=True)
    except (*_DAMAGE, openpyxl.utils.exceptions.InvalidFileException):
        raise _damaged(file) from None


def _damaged(file: Path) -> SourceError:
    return SourceError(
        f"{shown(file)} is no Excel workbook, or cut off or damaged; save it as .xlsx again, or fetch it again"
    )


def _filled(sheet: Any, skipped: int, file: Path) -> Iterator[list[object]]:
    """Yield the rows of a sheet that have a value; a time is a date if its cell shows no time of day."""
    # What a program wrote as the size of the sheet may be wrong.
    sheet.reset_dimensions()
    rows = sheet.iter_rows(min_row=skipped + 1)
    while (values := _next_values(rows, file)) is not None:
        if any(value is not None for value in values):
            yield values


def _next_values(rows: Iterator[Any], file: Path) -> list[object] | None:
    """Return the values of the next row of a sheet; None after the last row."""
    try:
        row = next(rows, None)
        return None if row is None else [_value(cell) for cell in row]
    except _DAMAGE:
        raise _damaged(file) from None


def _value(cell: Any) -> object:
    from openpyxl.styles.numbers import is_datetime

    value = cell.value
    if isinstance(value, datetime) and is_datetime(cell.number_format) == "date":
        return value.date()
    return value


def _without_end(values: list[object]) -> list[object]:
    """Return values without the missing ones at the end."""
    last = max((number for number, value in enumerate(values, 1) if value is not None), default=0)
    return values[:last]


def _name(value: object) -> str:
    return "" if value is None else str(value)


def _fitted(rows: Iterator[list[object]], header: list[str], file: Path) -> Iterator[list[object]]:
    """Yield rows as long as the header; raise SourceError for a value beyond it."""
    for number, row in enumerate(rows, 1):
        if any(value is not None for value in row[len(header) :]):
            raise SourceError(
                f"row {number} below the header of {shown(file)} has a value right of the last column {header[-1]!r}; "
                "name that column, or empty the cell"
            )
        yield [*row[: len(header)], *[None] * (len(header) - len(row))]
