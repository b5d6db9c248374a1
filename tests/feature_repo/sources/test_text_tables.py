"""Text tables come in as they were written, in whichever dialect, or are refused by the line and what to do."""

from __future__ import annotations

import bz2
import gzip
import math
import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from core.errors import PantheraError
from tests.feature_repo.sources.stranger import (
    accepted_rows,
    accepted_values,
    csv_of,
    judged,
    raw_rows,
    reasons,
    stranger,
)

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.ingest import Source

TABLE = "id,seen,amount\n007,2024-01-01,1.5\nü#,2024-01-02,2.5\n"
ROWS = [("007", "2024-01-01", "1.5"), ("ü#", "2024-01-02", "2.5")]
NO_HEADER = TABLE.partition("\n")[2]
PLAIN = TABLE.encode()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def refusal(folder: Path, content: bytes | str, **reader: Any) -> str:
    with pytest.raises(PantheraError) as refused:
        raw_rows(stranger(csv_of(folder, content, **reader)), folder)
    assert not (folder / "raw" / "things.parquet").exists()
    assert not [file for file in (folder / "downloads").rglob("*") if file.is_file()]
    message = str(refused.value)
    assert "\n" not in message
    assert ".reading" not in message
    return message


@pytest.mark.parametrize(
    ("content", "reader"),
    [
        (PLAIN.replace(b"\n", b"\r\n"), {}),
        (PLAIN.replace(b"\n", b"\r\n", 1), {}),
        (b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\n\n") + b"\n", {}),
        (b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n", 2), {}),
        (TABLE.replace(",", ";"), {"delimiter": ";"}),
        (TABLE.replace(",", "\t"), {"delimiter": "\\t"}),
        (TABLE.replace(",", " "), {"delimiter": "whitespace"}),
        (TABLE.replace("2.5", "'2.5'"), {"quote": "'"}),
        (TABLE.encode("latin-1"), {"encoding": "latin-1"}),
        (TABLE.encode("utf-16"), {"encoding": "utf-16"}),
        (NO_HEADER, {"names": ["id", "seen", "amount"]}),
        ("made by hand\n\n" + TABLE, {"skip_lines": 2}),
        ("#by hand\n" + TABLE + "# the end, ü", {"comment": "#"}),
        (b"\xef\xbb\xbf// x\n" + PLAIN, {"comment": "//"}),
        (gzip.compress(PLAIN[:20]) + gzip.compress(PLAIN[20:]), {"name": "table.csv.gz"}),
        (gzip.compress(TABLE.encode("cp1252")), {"encoding": "cp1252"}),
        (zstd(PLAIN) + zstd(b""), {"name": "table.csv.zst"}),
        (bz2.compress(PLAIN), {"name": "table.bz2"}),
        (PLAIN, {"ragged": "reject_row", "missing": ["1.5e0"]}),
    ],
)
def test_a_table_in_another_dialect_is_the_same_table(tmp_path: Path, content: bytes, reader: dict[str, Any]) -> None:
    found = raw_rows(stranger(csv_of(tmp_path, content, **reader)), tmp_path)
    assert [row[:3] for row in found] == ROWS


def test_files_of_a_folder_may_be_packed_and_differ_in_their_lines(tmp_path: Path) -> None:
    contents = {
        "a.csv": PLAIN,
        "b.csv.gz": gzip.compress(PLAIN),
        "c.CSV.zst": zstd(PLAIN),
        "d.csv": PLAIN.replace(b"\n", b"\r\n", 1),
    }
    for name, content in contents.items():
        csv_of(tmp_path / "folder", content, name)
    found = raw_rows(stranger({"kind": "csv", "path": str(tmp_path / "folder")}), tmp_path)
    assert [row[:3] for row in found] == ROWS * 4


def test_a_quoted_value_keeps_its_line_ends_marks_and_what_looks_like_a_comment(tmp_path: Path) -> None:
    text = 'id,seen,amount,note\na,2024-01-01,1,"one\r\n#two ""x"",\n"\n#b,2024-01-01,1,x\n5" pipe,2024-01-01,1,#\n'
    source = stranger(csv_of(tmp_path, text, comment="#"), note={"dtype": "string"})
    assert [row[3] for row in raw_rows(source, tmp_path)] == ['one\r\n#two "x",\n', "#"]


def test_columns_of_equal_names_are_told_apart_as_pandas_does_if_the_plan_names_both(tmp_path: Path) -> None:
    text = "amount,id,amount,,amount.1,amount,seen\n1,a,2,3,4,5,2024-01-01\n"
    named = {name: {"dtype": "float64", "rename_from": origin} for name, origin in
             {"second": "amount.2", "third": "amount.3", "nameless": "Unnamed: 3", "fourth": "amount.1"}.items()}  # fmt: skip
    source = stranger(csv_of(tmp_path, text), **named)
    assert raw_rows(source, tmp_path) == [("a", "2024-01-01", "1", "2", "5", "3", "4")]
    message = refusal(tmp_path / "again", text)
    assert (
        "has the column 'amount' twice; rename one, or declare both: the second is rename_from: 'amount.2'" in message
    )


@pytest.mark.parametrize(
    ("marks", "written"),
    [
        (
            {"decimal": ",", "thousands": "."},
            {"1.234,5": 1234.5, "12.345.678": 12345678.0, "-1234,5": -1234.5, "inf": math.inf, "1.23": None, "1,": 1.0},
        ),
        ({"decimal": ","}, {"-1234,5": -1234.5, "7": 7.0, "1.5": None, ",5": 0.5, "1,2,3": None}),
        ({"thousands": ","}, {"1,234.5": 1234.5, "12,34": None, "1.5e2": 150.0}),
        ({"decimal": ",", "thousands": " "}, {"1\u202f234,5e-1": 123.45, "1 234": 1234.0, "1 23": None}),
        ({}, {"1,5": None, "1.5": 1.5}),
    ],
)
def test_a_number_is_read_in_the_marks_that_the_plan_states_and_in_no_other(
    tmp_path: Path, marks: dict[str, str], written: dict[str, float | None]
) -> None:
    lines = "".join(f"{number};2024-01-01;{text}\n" for number, text in enumerate(written))
    source = stranger(csv_of(tmp_path, f"id;seen;amount\n{lines}", delimiter=";", **marks))
    assert accepted_values(source, tmp_path, "amount") == [value for value in written.values() if value is not None]


def test_texts_that_stand_for_no_value_are_null_but_where_a_column_says_its_own(tmp_path: Path) -> None:
    text = "id,seen,amount,land\na,2024-01-01,NA,NA\nb,2024-01-01, ? ,none\nNA,2024-01-01,3,DE\n"
    land = {"dtype": "string", "missing": ["none"]}
    source = stranger(csv_of(tmp_path, text, missing=["NA", "?"]), land=land, id={"dtype": "string", "missing": []})
    assert accepted_values(source, tmp_path / "amount", "amount") == [3.0, None, None]
    assert accepted_values(source, tmp_path / "land", "land") == ["DE", "NA", None]


def test_words_are_truth_values_where_the_plan_or_custom_says_so(tmp_path: Path) -> None:
    words = {
        "on": True,
        "Off": False,
        "1.0": True,
        "0.0": False,
        "YES": True,
        "n": False,
        "Ja": True,
        " Nein": False,
        "2": None,
    }
    lines = "".join(f"{number},2024-01-01,1,{word}\n" for number, word in enumerate(words))
    paid = {"dtype": "bool", "true_values": ["Ja"], "false_values": ["Nein"]}
    source = stranger(csv_of(tmp_path, f"id,seen,amount,paid\n{lines}"), paid=paid)
    assert accepted_values(source, tmp_path, "paid") == [truth for truth in words.values() if truth is not None]


def test_dates_and_times_of_any_column_are_read_in_the_format_and_zone_that_it_states(tmp_path: Path) -> None:
    text = "id,seen,amount,born,called\n"
    text += "a,2024-01-01,1,31.12.1999,3/7/2023 14:05\nb,2024-01-01,1,,\nc,2024-01-01,1,1999-12-31,3/7/2023 14:05\n"
    columns = {
        "born": {"dtype": "date", "format": "%d.%m.%Y"},
        "called": {"dtype": "timestamp", "format": "%d/%m/%Y %H:%M", "zone": "Europe/Berlin"},
    }
    rows = accepted_rows(source_of(tmp_path, text, **columns), tmp_path)
    # Berlin is two hours ahead of UTC in July.
    assert [(row["id"], row["born"], row["called"]) for row in rows] == [
        ("a", date(1999, 12, 31), datetime(2023, 7, 3, 12, 5, tzinfo=UTC)),
        ("b", None, None),
    ]
    assert reasons(tmp_path) == [["born: not a date"]]


def test_a_date_that_is_not_iso_is_rejected_with_the_word_that_the_plan_lacks(tmp_path: Path) -> None:
    source = source_of(tmp_path, "id,seen,amount,born\na,2024-01-01,1,31.12.1999\n", born={"dtype": "date"})
    with pytest.raises(PantheraError, match="set format for the column"):
        judged(source, tmp_path, max_rejected=0.1)


def source_of(folder: Path, text: str, **columns: dict[str, Any]) -> Source:
    """Ingest a text table; return its source."""
    source = stranger(csv_of(folder, text), **columns)
    raw_rows(source, folder)
    return source


def test_a_ragged_line_ends_the_run_or_rejects_its_row_by_its_number(tmp_path: Path) -> None:
    text = TABLE + 'c,2024-01-03\nd,2024-01-04,"4\n4",x\ne,2024-01-05,5\n'
    message = refusal(tmp_path, text)
    assert "line 4 of " in message
    assert "has 2 columns, expected 3 as in the header; correct the line, or set ragged: reject_row" in message
    source = stranger(csv_of(tmp_path, text, ragged="reject_row"))
    assert accepted_values(source, tmp_path, "id") == ["007", "e", "ü#"]
    assert [reason.replace(str(tmp_path), "") for (reason,) in reasons(tmp_path)] == [
        "line 4 of /table.csv has 2 columns, expected 3",
        "line 5 of /table.csv has 4 columns, expected 3",
    ]


@pytest.mark.parametrize(
    ("content", "reader", "said"),
    [
        (TABLE.encode("latin-1"), {}, "table.csv is not UTF-8 text; its bytes fit latin-1: set encoding: latin-1"),
        (b"id,seen,amount\n" + "„a“,2024-01-01,1\n".encode("cp1252"), {}, "its bytes fit cp1252"),
        (TABLE.encode("utf-16"), {}, "its bytes fit utf-16: set encoding: utf-16"),
        (TABLE.encode("utf-16-le"), {"comment": "#"}, "its bytes fit utf-16-le"),
        (TABLE.encode("latin-1"), {"encoding": "utf-16"}, "is not utf-16 text; its bytes fit latin-1"),
        (gzip.compress(TABLE.encode("latin-1")), {}, "table.csv is not UTF-8 text"),
        (gzip.compress(PLAIN * 9)[:-6], {}, "the gzip file .*table.csv is damaged or cut off"),
        (zstd(PLAIN * 9)[:-6], {}, "the zstd file .*table.csv is damaged or cut off"),
        (gzip.compress(b""), {}, "is empty once unpacked"),
        (TABLE.replace(",", ";"), {}, "';' seems to separate them: set delimiter: ';'"),
        (TABLE + 'x,"y', {"comment": "#"}, "line 4 of .* has a quotation mark that is not closed"),
        (PLAIN.replace(b"\n", b"\r\n", 1) + b"x,y\n", {}, "line 4 of .*table.csv has 2 columns, expected 3"),
        ("#", {"comment": "#"}, "has no header line"),
        (TABLE, {"sha256": "0" * 8}, "the plan expects 00000000"),
    ],
)
def test_a_table_that_is_not_as_the_plan_says_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, reader: dict[str, Any], said: str
) -> None:
    message = refusal(tmp_path, content, **reader)
    assert re.search(said, message), message


def test_values_that_cannot_be_numbers_are_told_with_the_words_that_the_plan_lacks(tmp_path: Path) -> None:
    text = "id;seen;amount;count;paid;open\na;2024-01-01;NA;1.5;Ja;0.02\nb;2024-01-02;1.234,5;1;yes;1\n"
    words = {"paid": {"dtype": "bool"}, "open": {"dtype": "bool"}}
    source = stranger(csv_of(tmp_path, text, delimiter=";"), count={"dtype": "int64"}, **words)
    raw_rows(source, tmp_path)
    with pytest.raises(PantheraError) as refused:
        judged(source, tmp_path, max_rejected=0.1)
    message = str(refused.value)
    for said in (
        'amount has "NA": if that stands for no value, set missing: ["NA"] in the reader',
        "amount has numbers with a decimal comma: set decimal: ','",
        "count has fractions: declare it as float64",
        "open has fractions: declare it as float64",
        "set true_values and false_values",
        "max_rejected",
    ):
        assert said in message
    assert "Ja" not in message
