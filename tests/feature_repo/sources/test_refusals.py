"""Every reader refuses what it cannot read whole by one line: what was found, what was expected, where, what to do next."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import re
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import duckdb
import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from core.errors import PantheraError, QualityError
from core.plan.ingest import QualityRules
from feature_repo.files.datasets import raw_file
from feature_repo.validate import validate
from tests.feature_repo.sources.stranger import raw_rows, stranger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.plan.ingest import Source

#: Enough rows, none like another, that half of a packed or columnar file lacks some.
TABLE = pd.DataFrame(
    {
        "id": [f"ü{number * 7919 % 1000}" for number in range(400)],
        "seen": "2024-01-01",
        "amount": [number / 7 for number in range(400)],
    }
)
#: What an error ends in: a mark, and what to do next.
NEXT = re.compile(r"[;:,] (or )?(correct|fetch|fill|let|name|put|save|set|unpack|write|start) ")


class Kind(NamedTuple):
    """How a file of a reader's kind is written, and what the reader states beside its path."""

    name: str
    write: Callable[..., object]
    reader: dict[str, Any]


def _csv(table: pd.DataFrame, encoding: str) -> bytes:
    return table.to_csv(index=False).encode(encoding)


def _blanks(table: pd.DataFrame, encoding: str) -> bytes:
    return table.to_csv(index=False, sep=" ").encode(encoding)


def _jsonl(table: pd.DataFrame, encoding: str) -> bytes:
    return table.to_json(orient="records", lines=True, force_ascii=False).encode(encoding)


def _json(table: pd.DataFrame, encoding: str) -> bytes:
    return table.to_json(orient="records", force_ascii=False).encode(encoding)


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def _text(content: Callable[[pd.DataFrame, str], bytes], pack: Callable[[bytes], bytes] = bytes) -> Callable[..., int]:
    def write(file: Path, table: pd.DataFrame, encoding: str = "utf-8") -> int:
        return file.write_bytes(pack(content(table, encoding)))

    return write


def _sqlite(file: Path, table: pd.DataFrame) -> None:
    with closing(sqlite3.connect(file)) as connection:
        table.to_sql("things", connection, index=False)


def _duckdb(file: Path, table: pd.DataFrame) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.register("given", table)
        connection.execute("CREATE TABLE things AS FROM given")


KINDS = [
    Kind("t.csv", _text(_csv), {"kind": "csv"}),
    Kind("t.txt", _text(_csv), {"kind": "csv", "ragged": "reject_row"}),
    Kind("t.tsv", _text(_blanks), {"kind": "csv", "delimiter": "whitespace"}),
    Kind("t.csv.gz", _text(_csv, gzip.compress), {"kind": "csv"}),
    Kind("t.csv.zst", _text(_csv, _zstd), {"kind": "csv"}),
    Kind("t.csv.bz2", _text(_csv, bz2.compress), {"kind": "csv"}),
    Kind("t.jsonl", _text(_jsonl), {"kind": "jsonl"}),
    Kind("t.json", _text(_json), {"kind": "jsonl"}),
    Kind("t.jsonl.gz", _text(_jsonl, gzip.compress), {"kind": "jsonl"}),
    Kind("t.parquet", lambda file, table: table.to_parquet(file, index=False), {"kind": "parquet"}),
    Kind("t.xlsx", lambda file, table: table.to_excel(file, index=False), {"kind": "excel"}),
    Kind("t.db", _sqlite, {"kind": "sqlite", "table": "things"}),
    Kind("t.duckdb", _duckdb, {"kind": "duckdb", "table": "things"}),
]


def _cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _overwrite(file: Path) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(200) + content[half + 200 :])


def _fails(fault: str, kind: Kind, file: Path) -> str:
    """Write a file with a fault; return the pattern of what is said of it."""
    if fault == "not found":
        return "there is no file"
    if fault == "empty":
        file.write_bytes(b"")
        return "is empty; expected"
    if fault == "another kind":
        file.write_bytes(b"PK\x03\x04 \x00\x01\xff" * 200)
        return "is a zip archive|is no |No magic bytes|not a database|not a valid DuckDB"
    table = {
        "no row": TABLE[:0],
        "other columns": TABLE.rename(columns={"amount": "sum"}),
        "other types": TABLE.assign(amount="many"),
    }
    kind.write(file, table.get(fault, TABLE), *(["latin-1"] if fault == "wrong encoding" else []))
    if fault == "no permission":
        file.chmod(0)
    if fault == "cut off":
        _cut(file)
    if fault == "overwritten":
        _overwrite(file)
    return {
        "no permission": "cannot be read: Permission denied",
        "cut off": "cut off|cannot be read|is no JSON",
        "overwritten": "cut off|cannot be read|is no JSON|is corrupt",
        "no row": "has no row; expected|no JSON object; expected|is empty once unpacked; expected|is empty; expected",
        "other columns": r"the column 'amount' is missing in \S*/t\..*; the source has id, seen, sum",
        "other types": r"400 of 400 rows were rejected .* amount: not a float64 \(400\)",
        "wrong encoding": "is not UTF-8 text; its bytes fit latin-1",
    }[fault]


#: A text that is cut off is still one, unless something is left open.
_IS_TEXT = frozenset({"t.csv", "t.txt", "t.tsv"})
#: These differ from another kind only in how the text of a file is read.
_VARIANTS = frozenset({"t.txt", "t.tsv", "t.csv.bz2", "t.csv.zst", "t.json", "t.jsonl.gz"})
_FAULTS = ("not found", "no permission", "no row", "another kind", "other columns", "other types")
CASES = [
    *((fault, kind) for fault in _FAULTS for kind in KINDS if kind.name not in _VARIANTS),
    *(("empty", kind) for kind in KINDS),
    *(("cut off", kind) for kind in KINDS if kind.name not in _IS_TEXT),
    *(("overwritten", kind) for kind in KINDS if kind.name in {"t.csv.gz", "t.parquet", "t.xlsx", "t.db"}),
    *(("wrong encoding", kind) for kind in KINDS if kind.reader["kind"] in {"csv", "jsonl"}),
]


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Take from this thread, for the block, the right of root to read any file (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    kept = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, kept) == 0
    fewer = (ctypes.c_uint32 * 6)(*kept)
    fewer[0] &= ~0b110
    assert libc.capset(header, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(header, kept) == 0


def _read(source: Source, folder: Path) -> None:
    raw_rows(source, folder)
    raw, accepted = raw_file(folder / "raw", "things"), folder / "accepted"
    validate(source, "id", QualityRules(), raw, accepted, folder / "rejected.parquet")


def refused(reader: dict[str, Any], folder: Path) -> str:
    """Ingest and validate what must be refused; return the one line."""
    with pytest.raises(PantheraError) as error:
        _read(stranger(reader), folder)
    message = str(error.value)
    assert "\n" not in message
    assert ".reading" not in message
    assert NEXT.search(message), message
    assert not [file for file in (folder / "downloads").rglob("*") if file.is_file()]
    assert not list((folder / "accepted").glob("*"))
    if not isinstance(error.value, QualityError):
        assert message.startswith("ingest.things: ")
        assert not list((folder / "raw").glob("*"))
    return message


@pytest.mark.parametrize(("fault", "kind"), CASES, ids=lambda part: part if isinstance(part, str) else part.name)
def test_a_file_with_a_fault_is_refused_by_one_line_that_names_the_next_step(
    tmp_path: Path, fault: str, kind: Kind
) -> None:
    file = tmp_path / kind.name
    pattern = _fails(fault, kind, file)
    with _without_privileges():
        message = refused({**kind.reader, "path": str(file)}, tmp_path)
    assert re.search(pattern, message), message
    assert kind.name in message or fault in {"no row", "other types"}, message


def test_what_a_text_or_workbook_really_is_is_said(tmp_path: Path) -> None:
    for name, kind in (("t.parquet", "parquet"), ("t.xlsx", "excel"), ("t.db", "sqlite")):
        file = tmp_path / name
        next(each for each in KINDS if each.name == name).write(file, TABLE)
        for other in ("csv", "jsonl"):
            assert f"set kind: {kind}" in refused({"kind": other, "path": str(file)}, tmp_path)


CONTENTS = [
    (b"\n\n \n", "has no header line; expected one: write it"),
    (b" <!DOCTYPE html><html><body>Sign in", "is a page of HTML, .*; fetch the table itself"),
    (bytes(8) + b"DUCK" + bytes(100), "is a DuckDB file; set kind: duckdb"),
    (gzip.compress(gzip.compress(b"id,seen,amount\n")), "is packed twice; unpack it once"),
    (b"\xfd7zXZ\0" + bytes(100), "is packed by xz; unpack it"),
    (b"x" * 1000 + b"\n", "the source has x{60}…; correct"),
    (",".join(f"c{number}" for number in range(99)).encode() + b"\n", "c48, c49 and 49 more; correct"),
]


@pytest.mark.parametrize(("content", "said"), CONTENTS)
def test_a_file_that_is_no_table_is_named_by_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    message = refused({"kind": "csv", "path": str(tmp_path / "t.csv")}, tmp_path)
    assert re.search(said, message), message
    assert str(tmp_path / "t.csv") in message


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ({"kind": "csv", "path": "/dev/null"}, "/dev/null is no regular file and no folder"),
        ({"kind": "csv", "path": "s3://"}, "s3:// names no bucket"),
    ],
)
def test_a_path_that_can_name_no_file_is_refused(tmp_path: Path, reader: dict[str, Any], said: str) -> None:
    assert said in refused(reader, tmp_path)


def _refuses(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.fixture(scope="module")
def guest_url(module_database_url: str) -> Iterator[str]:
    """The URL of a user of the server who must give the password `right` and may read no table."""
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
        connection.execute("CREATE TABLE things (id text, seen date, amount text)")
        connection.execute(
            "CREATE TABLE public_things AS SELECT 'a' AS id, DATE '2024-01-01' AS seen, 'many' AS amount"
        )
        connection.execute("GRANT SELECT ON public_things TO guest")
        rules = Path(str(connection.execute("SHOW hba_file").fetchall()[0][0]))
        before = rules.read_text()
        rules.write_text(f"local all guest scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        parts = urlsplit(module_database_url.replace("require_auth=none", "require_auth=scram-sha-256"))
        url = parts._replace(netloc=f"guest:WORD@{parts.netloc.rpartition('@')[2]}").geturl()
        while not _refuses(url):  # the server reads its rules anew when it comes to it
            time.sleep(0.05)
        yield url
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP OWNED BY guest")
        connection.execute("DROP ROLE guest")


QUERIES = [
    ("wrong", "SELECT * FROM public_things", "password authentication failed"),
    ("right", "SELECT * FROM things", "permission denied for table things"),
    ("right", "SELECT * FROM gone", 'relation "gone" does not exist'),
    ("right", "SELECT id, seen FROM public_things", "the column 'amount' is missing"),
    ("right", "SELECT * FROM public_things WHERE id = 'b'", "has no row; expected"),
    ("right", "SELECT * FROM public_things", "1 of 1 rows were rejected"),
]


@pytest.mark.parametrize(
    ("scheme", "password", "query", "said"),
    [*(("postgresql", *query) for query in QUERIES), *(("postgresql+psycopg", *query) for query in QUERIES[:2])],
)
def test_a_server_that_refuses_the_user_or_the_query_is_named_by_its_variable(
    tmp_path: Path,
    guest_url: str,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    password: str,
    query: str,
    said: str,
) -> None:
    monkeypatch.setenv("SHOP_URL", guest_url.replace("WORD", password).replace("postgresql", scheme, 1))
    reader = {"kind": "sql", "query": query, "url_env": "SHOP_URL"}
    message = refused(reader, tmp_path)
    assert said in message, message
    assert "PANTHERA_DATABASE_URL" not in message
    assert f":{password}@" not in message
    assert "SHOP_URL" in message or "password" not in message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://guest:secret@127.0.0.1:9/shop", "cannot be reached"),
        ("postgresql+psycopg://guest:secret@127.0.0.1:9/shop", "refused the query or the user"),
        ("sqlite:///gone.db", "there is no file gone.db"),
        ("postgresql://[bad", "is not a libpq URL"),
    ],
)
def test_an_address_at_which_no_database_is_refused_and_nothing_made_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_URL", url)
    message = refused({"kind": "sql", "query": "SELECT 1", "url_env": "SHOP_URL"}, tmp_path)
    assert said in message
    assert "SHOP_URL" in message
    assert "secret" not in message
    assert not (tmp_path / "gone.db").exists()
