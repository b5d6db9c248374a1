"""The format of a text table, detected from the file: its encoding, delimiter, quotation mark, header and numbers."""

from __future__ import annotations

import codecs
import csv
import re
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from core.errors import SourceError
from core.plan.ingest import CsvReader
from feature_repo.files.duck import files_literal
from feature_repo.sources.files import local_files, shown
from feature_repo.sources.plain_text import fitting_encoding, plain_text
from planner.profile.patterns import MISSING_MARKS, TIME_FORMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_CHUNK = 1 << 20
#: Lines from which the dialect is detected.
_LINES = 200
#: Share of the lines that must have as many columns as the first.
_ALIKE = 0.9
_DELIMITERS = (",", ";", "\t", "|")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COMMA_DECIMAL = re.compile(r"[+-]?(\d{1,3}([. ']\d{3})+|\d+),\d+")
_BOTH_MARKS = re.compile(r"[+-]?\d{1,3}([,.' ])\d{3}(\1\d{3})*([.,]\d+)?")


def csv_reader(path: str, scratch: Path) -> CsvReader:
    """Return the plan's reader for the text tables at `path`, detected from the first file.

    Raises
    ------
    SourceError
        If there is no file, or it has no rows.

    """
    file = local_files(CsvReader(kind="csv", path=path))[0]
    if file.stat().st_size == 0:
        raise SourceError(
            f"the file {shown(file)} is empty; expected a header and rows: write it again, or name another file"
        )
    encoding = _encoding(file)
    plain = plain_text(file, encoding, scratch)
    lines = _lines(plain)
    stated = {"kind": "csv", "path": path, "encoding": encoding, **_dialect(plain, lines)}
    rows = list(_split(lines, stated))
    if rows and not _is_header(rows):
        stated["names"] = [f"column_{number}" for number in range(1, len(rows[0]) + 1)]
    values = (value for row in rows[1:] for value in row)
    return CsvReader.model_validate({**stated, **number_marks(values)})


def _encoding(file: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    packed = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}.get(file.suffix.lower())
    try:
        with pa.input_stream(str(file), compression=packed) as content:
            start = content.read(_CHUNK)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in start[:1000]:
                return fitting_encoding(start)
            chunk = start
            while chunk:
                decoder.decode(chunk)
                chunk = content.read(_CHUNK)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return fitting_encoding(start + chunk)
    except OSError as error:
        raise SourceError(f"the file {shown(file)} is damaged or cut off ({error}); fetch it again") from None
    return "utf-8"


def _lines(plain: Path) -> list[str]:
    with plain.open(encoding="utf-8-sig", newline="") as text:
        return [line for line, _ in zip(text, range(_LINES), strict=False)]


def _dialect(plain: Path, lines: Sequence[str]) -> dict[str, Any]:
    """Return the delimiter, the quotation mark and the number of lines before the header, by DuckDB's sniffer."""
    found = _sniffed(plain)
    skipped = found.get("skip_lines", 0)
    if skipped and not _is_preamble(lines, skipped, found.get("delimiter", ",")):
        del found["skip_lines"]
        skipped = 0
    return {**found, "delimiter": _likely(lines[skipped:]) or found.get("delimiter", ",")}


def _width(lines: Sequence[str], line: int, delimiter: str) -> int:
    return len(next(csv.reader(lines[line : line + 1], delimiter=delimiter), []))


def _is_preamble(lines: Sequence[str], skipped: int, delimiter: str) -> bool:
    """Return whether the first lines are text before a table, because each has fewer columns than the header."""
    widths = [_width(lines, line, delimiter) for line in range(min(skipped + 1, len(lines)))]
    return 2 * skipped < len(lines) and all(width < widths[-1] for width in widths[:-1])


def _sniffed(plain: Path) -> dict[str, Any]:
    with duckdb.connect() as connection:
        try:
            row = connection.execute(
                f"SELECT Delimiter, Quote, SkipRows, Comment FROM sniff_csv({files_literal(plain)}, sample_size = 20480)"
            ).fetchone()
        except duckdb.Error:
            return {}
    delimiter, quote, skipped, comment = row or (",", '"', 0, "")
    found: dict[str, Any] = {"delimiter": str(delimiter)} if delimiter in _DELIMITERS else {}
    if quote == "'":
        found["quote"] = str(quote)
    if skipped:
        found["skip_lines"] = int(skipped)
    return {**found, "comment": str(comment)} if comment == "#" else found


def _likely(lines: Sequence[str]) -> str | None:
    """Return the delimiter that splits most lines into equally many columns; None if there is none."""
    widths = {mark: [len(row) for row in csv.reader(lines, delimiter=mark)] for mark in _DELIMITERS}
    alike = {
        mark: counts[0] for mark, counts in widths.items() if counts and counts[0] > 1 and _share(counts) >= _ALIKE
    }
    if alike:
        return max(alike, key=lambda mark: (alike[mark], mark != ","))  # a comma may be a decimal mark
    blanks = [len(line.split()) for line in lines if line.strip()]
    return "whitespace" if blanks and blanks[0] > 1 and _share(blanks) >= _ALIKE else None


def _share(counts: Sequence[int]) -> float:
    return counts.count(counts[0]) / len(counts)


def _split(lines: Sequence[str], stated: dict[str, Any]) -> Iterator[list[str]]:
    comment = stated.get("comment")
    kept = [line for line in lines[stated.get("skip_lines", 0) :] if not (comment and line.startswith(comment))]
    if stated["delimiter"] == "whitespace":
        yield from (line.split() for line in kept if line.strip())
        return
    rows = csv.reader(kept, delimiter=stated["delimiter"], quotechar=stated.get("quote", '"'))
    yield from (row for row in rows if row)


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row is a header: no cell of it is a value of the kind of the cells below it."""
    first, below = rows[0], rows[1:_LINES]
    for place, cell in enumerate(first):
        column = [row[place].strip() for row in below if place < len(row) and row[place].strip()]
        if _is_value(cell.strip()) and column and all(map(_is_value, column)):
            return False
    return True


def _is_value(cell: str) -> bool:
    return (
        cell in MISSING_MARKS
        or _NUMBER.fullmatch(cell) is not None
        or any(form.pattern.fullmatch(cell) for form in TIME_FORMS)
    )


def number_marks(values: Iterable[str]) -> dict[str, str]:
    """Return the decimal and the thousands mark, as far as the values show that they differ from the plan's defaults.

    >>> number_marks(["1.234,5", "12,75"]), number_marks(["1,234.50"]), number_marks(["1.5", "a,b"])
    ({'decimal': ',', 'thousands': '.'}, {'thousands': ','}, {})
    """
    texts = [text.strip() for text in values]
    points = sum("." in text and _NUMBER.fullmatch(text) is not None and not _grouped(text, ".") for text in texts)
    commas = [text for text in texts if _COMMA_DECIMAL.fullmatch(text) and not _grouped(text, ",")]
    if commas and not points:
        mark = next((text[found.start()] for text in texts if (found := _mark_before_comma(text))), None)
        return {"decimal": ",", **({"thousands": mark} if mark else {})}
    groups = [found[1] for text in texts if (found := _BOTH_MARKS.fullmatch(text)) and found[1] != "."]
    return {"thousands": max(set(groups), key=groups.count)} if groups else {}


def _grouped(text: str, mark: str) -> bool:
    return re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}({re.escape(mark)}\d{{3}})+", text) is not None


def _mark_before_comma(text: str) -> re.Match[str] | None:
    return re.search(r"[. '](?=\d{3}([. ']\d{3})*,)", text) if _COMMA_DECIMAL.fullmatch(text) else None
