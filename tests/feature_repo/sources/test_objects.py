"""Objects of a store are read like local files, told from later versions, and refused by what the store answers."""

from __future__ import annotations

import gzip
import io
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from core.errors import PantheraError
from core.plan.ingest import CsvReader
from feature_repo.source_versions import source_versions
from feature_repo.sources.versions import Digests
from tests.feature_repo.sources.stranger import raw_rows, stranger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_objects import ObjectStore

TABLE = b"id,seen,amount\n007,2024-01-01,1.5\n"
ROW = ("007", "2024-01-01", "1.5")


@pytest.fixture
def store(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The store of objects, with the credentials of its owner in the environment."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return object_store


@pytest.mark.parametrize(
    ("address", "rows"),
    [
        ("s3://shop/deep/a.csv", 1),
        ("s3://shop/deep", 3),
        ("s3://shop/deep/", 3),
        ("s3://shop/deep/*.csv", 1),
        ("s3://shop/deep/*.csv*", 2),
        ("s3://shop/deep/**/*.csv", 2),
        ("s3://shop/*/b[-]?.csv.gz", 1),
        ("s3://shop/**/2024/c.csv", 1),
    ],
)
def test_an_object_a_folder_or_a_glob_gives_its_rows_and_nothing_of_it_stays(
    tmp_path: Path, store: ObjectStore, address: str, rows: int
) -> None:
    for name, content in {"a.csv": TABLE, "b-c.csv.gz": gzip.compress(TABLE), "year 2024/2024/c.csv": TABLE}.items():
        store.put(f"deep/{name}", content)
    store.put("deep/README", b"no table")
    store.put("deep/_hidden.txt", b"no table")
    assert raw_rows(stranger({"kind": "csv", "path": address}), tmp_path) == [ROW] * rows
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


def test_parquet_comes_from_a_store(tmp_path: Path, store: ObjectStore) -> None:
    content = io.BytesIO()
    pd.DataFrame({"id": ["ü"], "seen": ["2024-01-01"], "amount": [1.5]}).to_parquet(content)
    address = store.put("é t.parquet", content.getvalue())
    assert raw_rows(stranger({"kind": "parquet", "path": address}), tmp_path) == [("ü", "2024-01-01", 1.5)]


REFUSALS: list[tuple[str, dict[str, str], str]] = [
    ("s3://shop/gone.csv", {}, "there is no object s3://shop/gone.csv; put it there or correct"),
    ("s3://gone/a.csv", {}, "there is no object s3://gone/a.csv"),
    ("s3://shop/few/*.tsv", {}, r"there is no object s3://shop/few/\*.tsv"),
    ("s3://shop/few", {}, "s3://shop/few has no object of the reader's kind; put one there or name"),
    ("s3://shop/none.csv", {}, "s3://shop/none.csv is empty; expected a header and rows: write"),
    ("s3://shop/cut.csv.gz", {}, "the gzip file s3://shop/cut.csv.gz is damaged or cut off .*; fetch it again"),
    (
        "s3://shop/other.csv",
        {},
        "the column 'amount' is missing in s3://shop/other.csv; the source has id, seen; correct",
    ),
    ("s3://shop/latin.csv", {}, "s3://shop/latin.csv is not UTF-8 text; .* set encoding: latin-1"),
    ("s3://shop/a.csv", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses access .*; set AWS_ACCESS_KEY_ID"),
    ("s3://shop/a.csv", {"AWS_ACCESS_KEY_ID": ""}, "refuses access .*; set AWS_ACCESS_KEY_ID"),
    ("s3://shop/a.csv", {"AWS_ACCESS_KEY_ID": "lister"}, "refuses access .*; set AWS_ACCESS_KEY_ID"),
    ("s3://shop/a.csv", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be fetched .*; try again, or correct it"),
    ("az://shop/a.csv", {}, "AZURE_STORAGE_ACCOUNT is not set; set it"),
]


@pytest.mark.parametrize(("address", "environment", "said"), REFUSALS)
def test_what_a_store_refuses_or_lacks_is_one_line_that_names_the_next_step(
    tmp_path: Path,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    environment: dict[str, str],
    said: str,
) -> None:
    contents = {
        "a.csv": TABLE,
        "few/README": b"no table",
        "none.csv": b"",
        "cut.csv.gz": gzip.compress(TABLE * 100)[:-20],
        "other.csv": b"id,seen\na,b\n",
        "latin.csv": TABLE + "ü,2024-01-01,1\n".encode("latin-1"),
    }
    for name, content in contents.items():
        if name in address or address.endswith("few"):
            store.put(name, content)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PantheraError) as refused:
        raw_rows(stranger({"kind": "csv", "path": address}), tmp_path)
    message = str(refused.value)
    assert re.match(f"ingest.things: .*{said}", message), message
    assert "\n" not in message
    assert "wrong" not in message
    assert not list((tmp_path / "raw").glob("*"))
    assert not [file for file in (tmp_path / "downloads").rglob("*") if file.is_file()]


def _version(address: str, folder: Path) -> str:
    reader: dict[str, Any] = {"kind": "csv", "path": address}
    found, untold = source_versions({"s": stranger(reader)}, Digests(folder / "digests.json"), {"s": "earlier"})
    assert (found["s"] == "earlier") == bool(untold)
    return found["s"]


def test_another_content_of_the_same_size_is_another_version(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = store.put("kept/a.csv", TABLE)
    one, folder = _version(address, tmp_path), _version("s3://shop/kept", tmp_path)
    assert re.fullmatch('etag "[0-9a-f-]+"', one)
    assert folder.startswith("1 objects, sha256 of their versions ")
    assert _version(address, tmp_path) == one
    store.put("kept/a.csv", TABLE.replace(b"1.5", b"2.5"))
    assert _version(address, tmp_path) != one
    assert _version("s3://shop/kept", tmp_path) != folder
    store.put("kept/a.csv", TABLE)
    store.put("kept/b.csv", TABLE)
    assert _version("s3://shop/kept", tmp_path) != folder
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert _version(address, tmp_path) == "earlier"


def test_a_plan_cannot_hold_the_credentials_of_a_store() -> None:
    with pytest.raises(ValueError, match="set the credentials of a store in the environment"):
        CsvReader(kind="csv", path="s3://user:secret@shop/a.csv")
