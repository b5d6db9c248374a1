"""Messages for DuckDB's errors about a source: one line with the place and the next step, without any row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.sources.files import shown
from feature_repo.sources.plain_text import not_of_encoding
from feature_repo.sources.text_tables import ragged_line, unclosed_quote

if TYPE_CHECKING:
    import duckdb


def without_rows(error: duckdb.Error) -> str:
    """Compose one line from an error of DuckDB, with the next step and without the quoted row (it may be personal data)."""
    text = str(error)
    if line := re.search(r"CSV Error on Line: (\d+)", text):
        return _csv_fault(text, line[1])
    text = re.sub(r"^Original Line:.*?(\n\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    statement = r"\nLINE \d+: .*"
    reason = " ".join(re.sub(rf'\bInput: ".*|{statement}', "", text, flags=re.DOTALL).split()).rstrip(".")
    return f"{reason}; fetch or write the source again, or correct its reader"


def _csv_fault(text: str, line: str) -> str:
    """Compose the message for DuckDB's error about one line of a text table."""
    files = re.findall(r"^  file = (.*)$", text, re.MULTILINE)
    file = shown(files[-1]) if files else "the file"
    where = f"line {line} of {file}"
    counts = re.findall(r"^Expected Number of Columns: (\d+) Found: (\d+)", text, re.MULTILINE)
    if counts:
        expected, found = map(int, counts[-1])
        return ragged_line(line, file, found, expected)
    if "Invalid unicode" in text:
        return f"line {line}: {not_of_encoding(Path(files[-1]))}" if files else f"{where} is not UTF-8 text"
    if "unterminated quote" in text:
        return unclosed_quote(where)
    return f"{where} is not a row of a text table; correct it, or fetch the file again"
