"""Database files, servers behind SQLAlchemy and workbooks give the same rows as text tables, or one clear line."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import openpyxl
import pytest

from core.errors import PantheraError
from tests.feature_repo.sources.stranger import accepted_values, raw_rows, stranger

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("007", "2024-01-01", "1.5"), ("ü#", "2024-01-02", None)]
CREATE = "CREATE TABLE things (id TEXT, seen TEXT, amount DOUBLE)"
INSERT = "INSERT INTO things VALUES ('007', '2024-01-01', 1.5), ('ü#', '2024-01-02', NULL)"


def sqlite_file(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "shop #1.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(CREATE)
        connection.execute(INSERT)
        connection.commit()
    return file


def duckdb_file(folder: Path) -> Path:
    file = folder / "shop.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute(CREATE)
        connection.execute(INSERT)
    return file


def workbook(folder: Path, *rows: list[Any]) -> Path:
    book = openpyxl.Workbook()
    for row in rows or (["id", "seen", "amount"], ["007", date(2024, 1, 1), 1.5], [], ["ü#", date(2024, 1, 2), None]):
        book.active.append(row)
    book.create_sheet("notes").append(["id"])
    book.save(folder / "shop.xlsx")
    return folder / "shop.xlsx"


def refusal(reader: dict[str, Any], folder: Path) -> str:
    with pytest.raises(PantheraError) as refused:
        raw_rows(stranger(reader), folder)
    assert not (folder / "raw" / "things.parquet").exists()
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("rows", [{"table": "things"}, {"query": "SELECT * FROM things ORDER BY id; "}])
def test_an_sqlite_file_gives_its_rows(tmp_path: Path, rows: dict[str, str]) -> None:
    file = sqlite_file(tmp_path)
    assert raw_rows(stranger({"kind": "sqlite", "path": str(file), **rows}), tmp_path) == ROWS


@pytest.mark.parametrize("rows", [{"table": "things"}, {"query": "SELECT * FROM things ORDER BY id;"}])
def test_a_duckdb_file_gives_its_rows(tmp_path: Path, rows: dict[str, str]) -> None:
    file = duckdb_file(tmp_path)
    found = raw_rows(stranger({"kind": "duckdb", "path": str(file), **rows}), tmp_path)
    assert found == [(key, seen, amount and float(amount)) for key, seen, amount in ROWS]


def test_integers_beyond_64_bits_and_columns_of_equal_names_come_whole_from_duckdb(tmp_path: Path) -> None:
    query = "SELECT 'a' AS id, DATE '2024-01-01' AS seen, 9007199254740993::HUGEINT AS amount, 7 AS amount"
    amount = {"dtype": "int64"}
    more = {"dtype": "int64", "rename_from": "amount.1"}
    source = stranger({"kind": "duckdb", "path": str(duckdb_file(tmp_path)), "query": query}, amount=amount, more=more)
    assert accepted_values(source, tmp_path, "amount") == [9007199254740993]
    assert accepted_values(source, tmp_path, "more") == [7]


def test_a_server_with_an_address_of_sqlalchemy_gives_the_rows_of_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{sqlite_file(tmp_path)}")
    reader = {"kind": "sql", "query": "SELECT * FROM things WHERE id LIKE '%' ORDER BY id;", "url_env": "SHOP_URL"}
    assert raw_rows(stranger(reader), tmp_path) == ROWS
    assert "no such table: gone" in refusal({**reader, "query": "SELECT * FROM gone"}, tmp_path / "a")
    for address in ("nonsense", "oracle+nobody://user:secret@host/shop"):
        monkeypatch.setenv("SHOP_URL", address)
        message = refusal(reader, tmp_path / "a")
        assert "the address in SHOP_URL" in message
        assert "secret" not in message


def test_a_workbook_gives_the_rows_of_its_sheet_with_dates_and_texts_as_they_show(tmp_path: Path) -> None:
    reader = {"kind": "excel", "path": str(workbook(tmp_path))}
    assert raw_rows(stranger(reader), tmp_path) == ROWS
    file = workbook(
        tmp_path,
        ["made by hand"],
        [7, datetime.fromisoformat("2024-01-01T12:30"), 2**50 + 1],
        [True, date(2024, 1, 2), 0.1],
    )
    options: dict[str, Any] = {
        "kind": "excel",
        "path": str(file),
        "sheet": "Sheet",
        "skip_lines": 1,
        "names": ["id", "seen", "amount"],
    }
    found = raw_rows(stranger(options), tmp_path / "again")
    assert found == [("7", "2024-01-01T12:30:00", str(2**50 + 1)), ("true", "2024-01-02", "0.1")]


def test_a_file_of_another_kind_or_without_what_is_named_is_refused_by_what_is_there(tmp_path: Path) -> None:
    sqlite, duck, book = sqlite_file(tmp_path), duckdb_file(tmp_path), workbook(tmp_path)
    (tmp_path / "cut.xlsx").write_bytes(book.read_bytes()[:-200])
    (tmp_path / "old.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(100))
    (tmp_path / "text.db").write_text("id,seen,amount\n" * 100)
    (tmp_path / "empty.db").write_text("")
    wide = tmp_path / "wide"
    wide.mkdir()
    cases: list[tuple[dict[str, str], str]] = [
        ({"kind": "sqlite", "path": str(sqlite), "table": "gone"}, "has no table 'gone'; it has things"),
        ({"kind": "sqlite", "path": str(sqlite), "query": "SELECT"}, "incomplete input"),
        ({"kind": "sqlite", "path": str(sqlite), "query": "DROP TABLE things"}, "readonly"),
        ({"kind": "sqlite", "path": str(tmp_path / "text.db"), "table": "t"}, "not a database"),
        ({"kind": "sqlite", "path": str(tmp_path / "empty.db"), "table": "t"}, "is empty"),
        ({"kind": "sqlite", "path": str(tmp_path / "shop#1.db"), "table": "t"}, "did you mean shop #1.db?"),
        ({"kind": "duckdb", "path": str(duck), "table": "gone"}, "has no table 'gone'; it has things"),
        ({"kind": "duckdb", "path": str(tmp_path / "text.db"), "table": "t"}, "cannot be read"),
        ({"kind": "duckdb", "path": str(duck), "query": "SELECT id FROM things"}, "the column 'seen' is missing"),
        ({"kind": "excel", "path": str(book), "sheet": "gone"}, "has no sheet 'gone'; it has Sheet, notes"),
        ({"kind": "excel", "path": str(book), "sheet": "notes"}, "the column 'seen' is missing"),
        ({"kind": "excel", "path": str(tmp_path / "cut.xlsx")}, "is no Excel workbook, or cut off"),
        ({"kind": "excel", "path": str(tmp_path / "old.xlsx")}, "is encrypted, or of an Excel before 2007"),
        (
            {"kind": "excel", "path": str(workbook(wide, ["id"], ["a", 1]))},
            "row 1 below the header of .* has a value right",
        ),
    ]
    for reader, said in cases:
        message = refusal(reader, tmp_path / "refused")
        assert message.startswith("ingest.things: ")
        assert re.search(re.escape(said).replace(r"\.\*", ".*"), message), message
