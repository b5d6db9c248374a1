"""The stage `ingest`: what the plan declares as an identifier is not there any more after it, and rows have their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import SourceError
from core.plan.ingest import Source
from core.pseudonyms import pseudonym
from feature_repo.files.datasets import raw_file, raw_rows
from feature_repo.files.duck import open_duckdb
from feature_repo.ingest import ingest

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"a key of the tests"
TABLE = "id,since,name,email,born\n1,2024-01-01,Ada Byron,ada@mail.example,1815\n2,2024-01-02,Bob Hope,,1903\n"
COLUMNS: dict[str, Any] = {
    "id": {"dtype": "int64"},
    "since": {"dtype": "date"},
    "name": {"dtype": "string", "pii": "remove"},
    "email": {"dtype": "string", "pii": "hash"},
    "born": {"dtype": "int32", "pii": "keep"},
}


def people(folder: Path, text: str = TABLE, **reader: Any) -> Source:
    (folder / "people.csv").write_text(text)
    return Source.model_validate(
        {
            "reader": {"kind": "csv", "path": str(folder / "people.csv"), **reader},
            "entity": "person",
            "event_time": {"column": "since"},
            "observed_until": "2025-01-01",
            "columns": COLUMNS,
        }
    )


def test_an_identifier_is_removed_or_replaced_by_its_pseudonym_and_the_rest_is_kept(tmp_path: Path) -> None:
    ingest("people", people(tmp_path), tmp_path / "raw", tmp_path / "downloads", KEY)
    rows = pq.read_table(raw_file(tmp_path / "raw", "people")).to_pylist()
    assert rows == [
        {
            "id": "1",
            "since": "2024-01-01",
            "email": pseudonym("ada@mail.example", KEY),
            "born": "1815",
        },
        {"id": "2", "since": "2024-01-02", "email": None, "born": "1903"},
    ]


def test_another_key_gives_other_pseudonyms(tmp_path: Path) -> None:
    for key in (KEY, b"another key of theirs"):
        ingest("people", people(tmp_path), tmp_path / key.hex(), tmp_path / "downloads", key)
    one, other = (pq.read_table(raw_file(folder, "people"))["email"][0] for folder in tmp_path.glob("6*"))
    assert one != other


def test_a_column_that_is_removed_need_not_be_there(tmp_path: Path) -> None:
    text = "id,since,email,born\n1,2024-01-01,ada@mail.example,1815\n"
    assert ingest("people", people(tmp_path, text), tmp_path / "raw", tmp_path / "downloads", KEY) == 1


def test_a_hash_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="email are to be hashed, but no key was given"):
        ingest("people", people(tmp_path), tmp_path / "raw", tmp_path / "downloads")


def test_an_error_about_a_row_does_not_quote_it(tmp_path: Path) -> None:
    broken = TABLE + '3,2024-01-03,"Cleo Virginia,cleo@mail.example,1901\n'
    with pytest.raises(SourceError, match=r"line 4 of .* has a quotation mark that is not closed") as refused:
        ingest("people", people(tmp_path, broken), tmp_path / "raw", tmp_path / "downloads", KEY)
    assert "Cleo" not in str(refused.value)


def test_nothing_that_was_copied_for_reading_stays(tmp_path: Path) -> None:
    text = "id since name email born\n1  2024-01-01  Ada  ada@mail.example  1815\n"
    ingest("people", people(tmp_path, text, delimiter="whitespace"), tmp_path / "raw", tmp_path / "downloads", KEY)
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


def numbers(raw: Path) -> list[tuple[int, int]]:
    with open_duckdb() as connection:
        query = f"SELECT source_row, CAST(id AS BIGINT) FROM {raw_rows(connection, raw)} ORDER BY 1"
        return connection.execute(query).fetchall()


def test_rows_are_numbered_in_the_order_of_the_files_however_many_threads_read_them(tmp_path: Path) -> None:
    rows = 300_000  # several row groups
    for part, name in enumerate(("a.csv", "b.csv")):
        lines = (f"{number},2024-01-01,1815\n" for number in range(part * rows, (part + 1) * rows))
        (tmp_path / name).write_text("id,since,born\n" + "".join(lines))
    source = people(tmp_path, path=str(tmp_path / "[ab].csv"))
    columns = {name: column for name, column in source.columns.items() if name != "email"}
    ingest("people", source.model_copy(update={"columns": columns}), tmp_path / "raw", tmp_path / "downloads", KEY)
    assert numbers(raw_file(tmp_path / "raw", "people")) == [(number + 1, number) for number in range(2 * rows)]


def test_a_file_of_an_earlier_version_keeps_its_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source_row": [7, 9], "id": [70, 90]}), tmp_path / "people.parquet")
    assert numbers(tmp_path / "people.parquet") == [(7, 70), (9, 90)]
