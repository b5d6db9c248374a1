"""Tables of a lake are read at one version, which the receipt names, or refused by one line."""

from __future__ import annotations

import re
import shutil
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import deltalake
import pyarrow as pa
import pytest

from core.errors import SourceError
from feature_repo.sources.versions import Digests, source_version
from tests.feature_repo.sources.stranger import accepted_values, raw_rows, stranger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_objects import ObjectStore

TABLE = pa.table({"id": ["007", "ü"], "seen": ["2024-01-01", "2024-01-02"], "amount": [1.5, None]})
ROWS = [("007", "2024-01-01", 1.5), ("ü", "2024-01-02", None)]


def version(reader: dict[str, Any], folder: Path) -> str:
    found = source_version(stranger(reader).reader, Digests(folder / "digests.json"))
    assert found is not None
    return found


def refusal(reader: dict[str, Any], folder: Path) -> str:
    with pytest.raises(SourceError) as refused:
        raw_rows(stranger(reader), folder)
    message = str(refused.value)
    assert message.startswith("ingest.things: ")
    assert "\n" not in message
    assert not list((folder / "raw").glob("*"))
    assert not [file for file in (folder / "downloads").rglob("*") if file.is_file()]
    return message


@pytest.fixture
def delta(tmp_path: Path) -> dict[str, Any]:
    """A Delta table of two versions: two rows, and four."""
    for _ in range(2):
        deltalake.write_deltalake(tmp_path / "things", TABLE, mode="append")
    return {"kind": "delta", "path": str(tmp_path / "things")}


def test_a_delta_table_gives_the_rows_of_its_latest_version_or_of_the_stated_one(
    tmp_path: Path, delta: dict[str, Any]
) -> None:
    assert sorted(raw_rows(stranger(delta), tmp_path)) == sorted(ROWS * 2)
    assert raw_rows(stranger({**delta, "version": 0}), tmp_path) == ROWS
    first, latest = version({**delta, "version": 0}, tmp_path), version(delta, tmp_path)
    assert first.startswith("version 0 of the table ")
    assert latest == first.replace("version 0", "version 1")
    deltalake.write_deltalake(delta["path"], TABLE, mode="overwrite")
    assert version(delta, tmp_path) == first.replace("version 0", "version 2")


def test_a_table_of_a_lake_keeps_decimals_and_integers_of_64_bits(tmp_path: Path) -> None:
    values = pa.array([Decimal("90071992547409.93")], pa.decimal128(20, 2))
    table = pa.table({"id": ["a"], "seen": ["2024-01-01"], "amount": values, "größe, m": [2**62 + 1]})
    deltalake.write_deltalake(tmp_path / "exact", table)
    columns = {"amount": {"dtype": "string"}, "size": {"dtype": "int64", "rename_from": "größe, m"}}
    source = stranger({"kind": "delta", "path": str(tmp_path / "exact")}, **columns)
    assert accepted_values(source, tmp_path, "amount") == ["90071992547409.93"]
    assert accepted_values(source, tmp_path, "size") == [2**62 + 1]


def test_a_delta_table_that_cannot_be_read_whole_is_refused(tmp_path: Path, delta: dict[str, Any]) -> None:
    assert re.search(r"gone cannot be read .*; correct the reader's path", refusal({**delta, "path": "gone"}, tmp_path))
    assert re.search("cannot be read .*; correct", refusal({**delta, "version": 9}, tmp_path))
    other = {**delta, "path": str(tmp_path / "other")}
    deltalake.write_deltalake(other["path"], TABLE.drop_columns("amount"))
    assert "the column 'amount' is missing" in refusal(other, tmp_path)
    next((tmp_path / "things").glob("*.parquet")).unlink()
    assert re.search("cannot be read .*not found.*; correct", refusal(delta, tmp_path))


def test_a_delta_table_comes_from_a_store_of_objects(
    tmp_path: Path, delta: dict[str, Any], object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    for file in (tmp_path / "things").rglob("*"):
        if file.is_file():
            object_store.put(f"delta/{file.relative_to(tmp_path)}", file.read_bytes())
    reader = {**delta, "path": "s3://shop/delta/things"}
    assert sorted(raw_rows(stranger(reader), tmp_path)) == sorted(ROWS * 2)
    assert version(reader, tmp_path) == version(delta, tmp_path)
    shutil.rmtree(tmp_path / "raw")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "the Delta table s3://shop/delta/things cannot be read" in refusal(reader, tmp_path)


@pytest.mark.parametrize(("kind", "module"), [("delta", "deltalake"), ("iceberg", "pyiceberg.catalog")])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reader = {"delta": {"path": "things"}, "iceberg": {"table": "shop.things"}}[kind]
    assert f"pip install 'pantherapredict[{kind}]'" in refusal({"kind": kind, **reader}, tmp_path)


def test_an_iceberg_table_gives_the_rows_of_its_current_snapshot_or_of_the_stated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    properties = {"uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}"}
    catalog = SqlCatalog("shop", **properties)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.things", schema=TABLE.schema)
    reader = {"kind": "iceberg", "table": "shop.things", "catalog": "shop"}
    assert "PYICEBERG_CATALOG__SHOP__URI is not set; set it" in refusal(reader, tmp_path)
    monkeypatch.setenv("PYICEBERG_CATALOG__SHOP__URI", f"sqlite:///{tmp_path}/gone.db")
    assert "there is no catalog" in refusal(reader, tmp_path)
    assert not (tmp_path / "gone.db").exists()
    for name, value in properties.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__SHOP__{name.upper()}", value)
    assert "has no row; expected" in refusal(reader, tmp_path)
    for _ in range(2):
        table.append(TABLE)
    first, second = (each.snapshot_id for each in table.snapshots())
    assert sorted(raw_rows(stranger(reader), tmp_path)) == sorted(ROWS * 2)
    assert raw_rows(stranger({**reader, "snapshot": first}), tmp_path) == ROWS
    assert version(reader, tmp_path) == f"snapshot {second} of the table {table.metadata.table_uuid}"
    assert version({**reader, "snapshot": first}, tmp_path).startswith(f"snapshot {first} ")
    shutil.rmtree(tmp_path / "raw")
    assert f"has no snapshot 7; it has {first}, {second}" in refusal({**reader, "snapshot": 7}, tmp_path)
    assert re.search("Table does not exist.*; correct", refusal({**reader, "table": "shop.gone"}, tmp_path))
    next((tmp_path / "shop" / "things" / "data").glob("*.parquet")).unlink()
    assert re.search("cannot be read .*; correct", refusal(reader, tmp_path))
    catalog.engine.dispose()
