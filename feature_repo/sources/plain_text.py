"""Text files as plain UTF-8: decompressed and decoded completely first, so that damage is found before a row is read."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

import pyarrow as pa

from core.errors import SourceError
from core.files import unfinished
from feature_repo.sources.files import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
#: The first bytes of packed files, and the name of what packed them.
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_UTF_8 = "utf-8"
_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
         codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
#: The first bytes of files that are not text, and what to do about them.
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive, which Excel workbooks are too; unpack it, or set kind: excel",
    b"\xd0\xcf\x11\xe0": "a workbook of an Excel before 2007, or an encrypted one; save it as .xlsx and set kind: excel",
    b"PAR1": "a parquet file; set kind: parquet",
    b"SQLite format 3\0": "an SQLite file; set kind: sqlite, and table",
    b"\xfd7zXZ\0": "packed by xz; unpack it, or pack it by gzip, zstandard or bzip2",
    b"%PDF-": "a PDF document; save its table as csv",
}
#: The bytes of a file from which an encoding is suggested.
_SAMPLE = 1 << 24


def scratch_folder(downloads: Path) -> Path:
    """Return the folder for copies made while reading; they hold all rows of a source, so the caller must remove it."""
    return unfinished(downloads / "reading")


def copy_of(file: Path, scratch: Path, step: str) -> Path:
    """Return the path in `scratch` of the copy of `file` that `step` writes; `shown` maps it back to the name of `file`."""
    copy = scratch / step / file.absolute().relative_to(file.absolute().anchor)
    copy.parent.mkdir(parents=True, exist_ok=True)
    return copy


def plain_text(file: Path, encoding: str, scratch: Path) -> Path:
    """Return `file` if it is plain UTF-8 text; else write a copy in UTF-8 to `scratch`, and return that.

    Raises
    ------
    SourceError
        If it cannot be decompressed completely, is not in `encoding`, or has another known format.

    """
    packed = _packing(file)
    _require_text(file, next(_unpacked(file, packed), b""), packed)
    decoded = codecs.lookup(encoding).name not in _plain_encodings(file, packed)
    if packed is None and not decoded:
        return file
    plain = copy_of(file, scratch, "plain")
    with plain.open("wb") as out:
        chunks = _unpacked(file, packed)
        for chunk in _decoded(file, chunks, encoding) if decoded else chunks:
            out.write(chunk)
    if plain.stat().st_size == 0:
        raise SourceError(
            f"the file {shown(file)} is empty once unpacked; expected a header and rows: write it anew, or correct the "
            "reader's path"
        )
    return plain


def _plain_encodings(file: Path, packed: str | None) -> set[str]:
    """Return the encodings in which `file` needs no copy; a byte order mark needs one, which leaves it out."""
    plain = {_UTF_8, "ascii"}
    if packed is None:
        with file.open("rb") as content:
            if content.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                plain.add("utf-8-sig")
    return plain


def _packing(file: Path) -> str | None:
    with file.open("rb") as content:
        return _packing_of(content.read(4))


def _packing_of(start: bytes) -> str | None:
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)


def _require_text(file: Path, start: bytes, packed: str | None) -> None:
    """Refuse a file that is known to hold no text by how it begins, unpacked."""
    found = next((what for magic, what in _NO_TEXT.items() if start.startswith(magic)), None)
    if found is None and start[8:12] == b"DUCK":
        found = "a DuckDB file; set kind: duckdb, and table"
    if found is None and re.match(rb"\s*<(!doctype\s+html|html)\b", start, re.IGNORECASE):
        found = "a page of HTML, as a server answers that wants a login; fetch the table itself"
    if found is None and packed and _packing_of(start):
        found = "packed twice; unpack it once"
    if found:
        raise SourceError(f"the file {shown(file)} is {found}")


def _unpacked(file: Path, packed: str | None) -> Iterator[bytes]:
    # Arrow checks the sum at the end of a packed file, which DuckDB does not: it would read what comes before the damage.
    try:
        with pa.input_stream(str(file), compression=packed) as content:
            while chunk := content.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise SourceError(f"the {packed} file {shown(file)} is damaged or cut off ({error}); fetch it again") from None


def _decoded(file: Path, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise SourceError(not_of_encoding(file, encoding)) from None


def not_of_encoding(file: Path, encoding: str = "UTF-8") -> str:
    """Compose the message for a file that is not in `encoding`, with an encoding that its bytes fit."""
    with pa.input_stream(str(file), compression=_packing(file)) as content:
        proposed = fitting_encoding(content.read(_SAMPLE))
    expected = "UTF-8" if encoding == "utf-8-sig" else encoding
    return (
        f"the file {shown(file)} is not {expected} text; its bytes fit {proposed}: set encoding: {proposed} in its reader, or "
        "the encoding that it was written in"
    )


def fitting_encoding(sample: bytes) -> str:
    """Return an encoding that `sample` may have: the one of its byte order mark, else UTF-16 or a Western one."""
    stated = next((name for mark, name in _BOMS.items() if sample.startswith(mark)), None)
    if stated:
        return stated
    if 0 in sample[:1000]:
        return "utf-16-le" if 0 in sample[1:1000:2] else "utf-16-be"
    # These are control characters in latin-1, letters and quotation marks in cp1252; of five it knows none.
    if re.search(rb"[\x80-\x9f]", sample) and not re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample):
        return "cp1252"
    return "latin-1"
