"""Text that a file holds in a dictionary is read by it, and is what it is when it is read in any other way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.files.feature_files import FeatureFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 5_000
NAMES = ["basic", "", None, "naïve 名", "plus"]
FEW = pa.array([NAMES[number * number % 7 % 5] for number in range(ROWS)], pa.string())
MANY = pa.array([f"customer {number} of many" for number in range(ROWS)])
TABLE = pa.table(
    {
        "number": range(ROWS),
        "few": FEW,
        "many": MANY,
        "none": pa.array([None] * ROWS, pa.string()),
        "long": FEW.cast(pa.large_string()),
        "coded": FEW.dictionary_encode(),
        "nested": pa.StructArray.from_arrays([FEW], ["few"]),
    }
)


def in_one_group(path: Path) -> None:
    pq.write_table(TABLE, path)


def in_groups_that_differ(path: Path) -> None:
    """Write groups of which each has names that the one before has not."""
    with pq.ParquetWriter(path, TABLE.schema) as writer:
        for start in range(0, ROWS, 1000):
            writer.write_table(TABLE.slice(start, 1000))


def without_dictionaries(path: Path) -> None:
    pq.write_table(TABLE, path, use_dictionary=False)


def packed(path: Path) -> None:
    pq.write_table(TABLE, path, compression="zstd", data_page_version="2.0")


@pytest.mark.parametrize("write", [in_one_group, in_groups_that_differ, without_dictionaries, packed])
def test_every_column_is_read_as_it_was_written(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "rows.parquet")
    (read,) = FeatureFiles.find(tmp_path / "rows.parquet").parts()
    found = read(TABLE.column_names)
    assert found.schema == TABLE.schema
    for name in TABLE.column_names:
        assert found.column(name).to_pylist() == TABLE.column(name).to_pylist(), name
        assert read([name]).column(name).to_pylist() == TABLE.column(name).to_pylist(), name


def test_a_column_of_which_few_values_are_in_a_dictionary_is_read_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    in_one_group(path)
    (read,) = FeatureFiles.find(path).parts()
    by_dictionary: list[list[str]] = []
    made = pa.dataset.ParquetFileFormat

    def remembered(*, dictionary_columns: list[str]) -> pa.dataset.ParquetFileFormat:
        by_dictionary.append(dictionary_columns)
        return made(dictionary_columns=dictionary_columns)

    monkeypatch.setattr(pa.dataset, "ParquetFileFormat", remembered)
    read(["number", "many", "few", "long", "coded"])
    read(["number", "many"])
    assert by_dictionary == [["few"]]


def test_files_of_one_table_may_differ_in_how_they_hold_text(tmp_path: Path) -> None:
    in_groups_that_differ(tmp_path / "1.parquet")
    without_dictionaries(tmp_path / "2.parquet")
    pq.write_table(TABLE.select(["number", "long"]).rename_columns(["number", "few"]), tmp_path / "3.parquet")
    pq.write_table(TABLE.select(["number"]), tmp_path / "4.parquet")
    pq.write_table(TABLE.select(["number", "few"]).slice(0, 0), tmp_path / "5.parquet")
    (read,) = FeatureFiles.find(tmp_path).parts()
    found = read(["few"]).column("few")
    assert found.type == pa.large_string()
    assert found.to_pylist() == [*FEW.to_pylist() * 3, *[None] * ROWS]


def test_the_groups_of_a_part_alone_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.files.feature_files.PART_ROWS", 2_000)
    in_groups_that_differ(tmp_path / "rows.parquet")
    parts = FeatureFiles.find(tmp_path / "rows.parquet").parts()
    assert [read(["few"]).column("few").to_pylist() for read in parts] == [
        FEW.slice(start, 2_000).to_pylist() for start in (0, 2_000, 4_000)
    ]


def test_a_folder_names_its_column_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "rows" / "region=north"
    folder.mkdir(parents=True)
    in_one_group(folder / "rows.parquet")
    (read,) = FeatureFiles.find(tmp_path / "rows").parts()
    found = read(["few", "region"])
    assert found.column("few").to_pylist() == FEW.to_pylist()
    assert set(found.column("region").to_pylist()) == {"north"}


def test_what_duckdb_wrote_is_read_as_it_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT CASE WHEN range % 11 > 0 THEN 'segment ' || hash(range) % 40 END AS few, range || '!' AS many "
            f"FROM range(20000)) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 4096)"
        )
        expected = connection.sql(f"SELECT few, many FROM '{path}'").to_arrow_table()
    (read,) = FeatureFiles.find(path).parts()
    assert read(["few", "many"]).to_pylist() == expected.to_pylist()
