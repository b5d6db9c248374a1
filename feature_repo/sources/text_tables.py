"""Text tables: files of rows whose columns are separated by a delimiter, read by DuckDB.

Some files are rewritten first, because DuckDB cannot read them, or only with relaxed rules for quotes: compressed files, other
encodings, comment lines, lines before the header, different line ends in one file, and ragged lines that reject a row.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import SourceError
from feature_repo.files.duck import literal
from feature_repo.sources.files import listed_files, shown
from feature_repo.sources.parts import Part, by_position, position
from feature_repo.sources.plain_text import copy_of, not_of_encoding, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import IO, Any

    from core.plan.ingest import TextTable

_CHUNK = 1 << 22
#: The usual delimiters.
_USUAL = (",", ";", "\t", "|")
_UTF_8 = "utf-8-sig"


@dataclass(frozen=True)
class _Form:
    """The form in which DuckDB reads a file: its columns, delimiter and quote, and whether the first line is a header."""

    header: tuple[str, ...]
    has_header: bool
    delimiter: str
    quote: str
    is_rewritten: bool = False

    def relation(self, files: Sequence[Path]) -> str:
        """Compose the relation of the files; in SQL a column is named by its position."""
        width = len(self.header) + self.is_rewritten
        typed = ", ".join(f"{position(number)}: 'VARCHAR'" for number in range(width))
        return (
            f"read_csv({listed_files(files)}, header = {str(self.has_header).lower()}, delim = {literal(self.delimiter)}, "
            f"quote = {literal(self.quote)}, escape = {literal(self.quote)}, strict_mode = true, auto_detect = false, "
            f"null_padding = false, compression = 'none', columns = {{{typed}}})"
        )


def text_parts(files: Sequence[Path], table: TextTable, scratch: Path) -> list[Part]:
    """Return text tables as parts; files with the same header are one part.

    Raises
    ------
    SourceError
        If a file is damaged, in another encoding, or has a line that is not a row of the table.

    """
    by_form: dict[_Form, list[Path]] = {}
    for file in files:
        plain = plain_text(file, table.encoding, scratch)
        try:
            form, readable = _opened(plain, table, scratch)
        except UnicodeDecodeError:
            raise SourceError(not_of_encoding(plain)) from None
        by_form.setdefault(form, []).append(readable)
    return [_part(form, alike) for form, alike in by_form.items()]


def _part(form: _Form, files: Sequence[Path]) -> Part:
    names = by_position(form.header)
    unread = position(len(form.header)) if form.is_rewritten else None
    return Part(form.relation(files), names.columns, shown(files[0]), doubled=names.doubled, unread=unread)


def _opened(plain: Path, table: TextTable, scratch: Path) -> tuple[_Form, Path]:
    """Return the form of a plain text file, and the file to read: itself, or a rewritten copy."""
    delimiter = "\t" if table.delimiter == r"\t" else table.delimiter
    if delimiter == "whitespace":
        plain, delimiter = _squeezed(plain, scratch), " "
    if table.chooses_lines or _has_several_line_ends(plain):
        copy = copy_of(plain, scratch, "rewritten")
        return _rewritten(plain, table, delimiter, copy), copy
    header = table.names or tuple(_header(plain, delimiter, table.quote))
    if not header:
        raise SourceError(_no_header(plain))
    return _Form(header, not table.names, delimiter, table.quote), plain


def _no_header(file: Path) -> str:
    return f"the file {shown(file)} has no header line; expected one: write it, or set names to its columns"


def _has_several_line_ends(file: Path) -> bool:
    """Return whether a file has different line ends, as files that were concatenated do."""
    feeds = returns = both = 0
    last = b""
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            if b"\r" in chunk or last == b"\r":
                feeds, returns = feeds + chunk.count(b"\n"), returns + chunk.count(b"\r")
                both += chunk.count(b"\r\n") + (last == b"\r" and chunk.startswith(b"\n"))
            else:  # as in most files; a search is faster than a count
                feeds += b"\n" in chunk
            last = chunk[-1:]
    return sum((feeds > both, returns > both, both > 0)) > 1


def _header(file: Path, delimiter: str, quote: str) -> list[str]:
    """Return the names in the header, parsed as rows are: a quoted name may contain delimiters, quotes and line breaks."""
    with file.open(encoding=_UTF_8, newline="") as lines:
        if len(delimiter) > 1:  # which the csv module does not take
            return lines.readline().rstrip("\r\n").split(delimiter)
        try:
            return next(_rows(lines, delimiter, quote), [])
        except csv.Error as error:
            raise SourceError(f"the header of {shown(file)} cannot be read: {error}") from None


def _rows(lines: Any, delimiter: str, quote: str) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    if not quote:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)


class _Lines:
    """The lines of a file from its header on, without comment lines; a line inside a quoted value is no comment."""

    def __init__(self, lines: IO[str], skipped: int, comment: str | None) -> None:
        self._lines, self._comment, self._number = enumerate(lines, 1), comment, 0
        self.at_start, self.first = True, 0
        for _ in range(skipped):
            next(self._lines, None)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        for number, line in self._lines:
            if not self.at_start:
                return line
            if not (self._comment and line.startswith(self._comment)):
                self.at_start, self.first = False, number
                return line
        raise StopIteration


def _rewritten(file: Path, table: TextTable, delimiter: str, copy: Path) -> _Form:
    """Write the rows of a file to `copy`, with the reason why a line could not be read as last column; return the form."""
    with file.open(encoding=_UTF_8, newline="") as text, copy.open("w", encoding="utf-8", newline="") as out:
        lines, written = _Lines(text, table.skip_lines, table.comment), csv.writer(out, lineterminator="\n")
        rows = _numbered(_rows(lines, delimiter, table.quote), lines, file)
        header = table.names or tuple(next(rows, (0, []))[1])
        if not header:
            raise SourceError(_no_header(file))
        for number, row in rows:
            if len(row) == len(header):
                written.writerow([*row, ""])
            elif table.ragged == "reject_row":
                # Its values may be in wrong columns, and personal ones in columns that are kept, so no value is written.
                fault = f"line {number} of {shown(file)} has {_columns(len(row))}, expected {len(header)}"
                written.writerow([*("" for _ in header), fault])
            else:
                raise SourceError(ragged_line(number, shown(file), len(row), len(header)))
    return _Form(header, has_header=False, delimiter=",", quote='"', is_rewritten=True)


def _numbered(rows: Iterator[list[str]], lines: _Lines, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line; blank lines are skipped."""
    while True:
        lines.at_start = True
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            raise SourceError(unclosed_quote(f"line {lines.first} of {shown(file)}")) from None
        if row:
            yield lines.first, row


def ragged_line(number: int | str, file: str, found: int, expected: int) -> str:
    """Compose the message for a line with another number of columns than the header."""
    return (
        f"line {number} of {file} has {_columns(found)}, expected {expected} as in the header; correct the line, or set "
        "ragged: reject_row in the reader, which rejects such lines as rows"
    )


def _columns(number: int) -> str:
    return f"{number} column" if number == 1 else f"{number} columns"


def unclosed_quote(where: str) -> str:
    """Compose the message for a quotation mark that is not closed."""
    return f"{where} has a quotation mark that is not closed; close it, or double it within a quoted value"


def likely_delimiter(columns: Sequence[str], table: TextTable) -> str | None:
    """Return the delimiter that a header seems to have, if it was read as a single column; else None."""
    if len(columns) != 1:
        return None
    counts = {mark: columns[0].count(mark) for mark in _USUAL if mark != table.delimiter}
    mark = max(counts, key=counts.__getitem__)
    return mark if counts[mark] else None


def _squeezed(file: Path, scratch: Path) -> Path:
    """Write a copy of a table that is aligned with blanks, with a single blank between columns; return the copy."""
    copy = copy_of(file, scratch, "squeezed")
    with file.open(encoding=_UTF_8) as lines, copy.open("w", encoding="utf-8") as out:
        for line in lines:
            squeezed = re.sub(r"\s+", " ", line.strip())
            if squeezed:
                out.write(squeezed + "\n")
    return copy
