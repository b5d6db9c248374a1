"""What a profile says of tables, whose truth is known from how they were written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest

from core.errors import SourceError
from planner.profile.page import profile_page
from planner.profile.profile import Profile, profile_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from planner.profile.column import Column
    from planner.workspace import Workspace

    Profiled = Callable[[dict[str, str]], Profile]


def table(header: str, rows: int, line: str) -> str:
    """Compose a csv file, each line by the format `line` of the row's number."""
    return "\n".join([header, *(line.format(n=number) for number in range(rows))]) + "\n"


def only_column(profile: Profile, name: str) -> Column:
    return profile.tables[0].column(name)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "30"], "integer"),
        (["1", "2.5", "1e3"], "number"),
        (["007", "008", "9"], "string"),
        (["Yes", "No", "Yes"], "bool"),
        (["Ja", "Nein", "Ja"], "bool"),
        (["2020-01-31", "2020-02-01"], "date"),
        (["2020-01-31 10:00", "2020-02-01 11:30"], "timestamp"),
        (["31.12.2020", "1.1.2021"], "date"),
        (["Jan 5, 2020", "Feb 6, 2020"], "date"),
        (["a", "b", "c"], "string"),
        (["", "", ""], "empty"),
        (["NA", "?", "NA"], "empty"),
        (["a long text about a broken thing", "another long text about what was good"], "text"),
        (["1", "2", "NA", "4"], "integer"),
    ],
)
def test_a_column_is_of_the_kind_that_all_its_values_have(profiled: Profiled, values: list[str], kind: str) -> None:
    text = "n,x\n" + "".join(f'{number},"{value}"\n' for number, value in enumerate(values))
    assert only_column(profiled({"t.csv": text}), "x").kind == kind


def test_one_leading_zero_among_many_numbers_makes_a_text(profiled: Profiled) -> None:
    text = table("code,x", 5000, "{n},1") + "0042,1\n"
    column = only_column(profiled({"t.csv": text}), "code")
    assert (column.kind, column.leading_zeros, column.is_unique) == ("string", 1, True)


def test_words_for_no_value_are_counted_and_the_others_are_numbers(profiled: Profiled) -> None:
    text = table("id,x", 20, "{n},{n}.5") + "20,NA\n21,\n22,NA\n23,?\n"
    column = only_column(profiled({"t.csv": text}), "x")
    assert (column.kind, column.nulls, column.missing) == ("number", 4, {"NA": 2, "?": 1})
    assert column.quantiles[0] == 0.5
    assert column.quantiles[-1] == 19.5


def test_namibia_is_no_missing_value(profiled: Profiled) -> None:
    text = "id,land\n" + "".join(f"{n},{land}\n" for n, land in enumerate(["NA", "DE", "FR", "IT", "ES", "NA"]))
    column = only_column(profiled({"t.csv": text}), "land")
    assert (column.nulls, column.distinct) == (0, 5)


def test_days_up_to_12_can_be_read_in_two_orders_and_a_13th_settles_it(profiled: Profiled) -> None:
    both = profiled({"both.csv": "id,x\n1,03/04/2020\n2,04/04/2020\n3,05/04/2020\n"})
    assert only_column(both, "x").forms == ("%d/%m/%Y", "%m/%d/%Y")
    one = profiled({"one.csv": "id,x\n1,03/04/2020\n2,04/13/2020\n"})
    assert only_column(one, "x").forms == ("%m/%d/%Y",)


def test_a_semicolon_file_with_decimal_commas_in_latin_1_is_read(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "umsatz.csv"
    file.write_bytes("Filiale;Umsatz, netto\nKöln;1.234,50\nBonn;12,75\n".encode("latin-1"))
    (found,) = profile_data(workspace.connection, [str(file)], workspace.scratch).tables
    reader = found.loaded.reader.model_dump(exclude_defaults=True)
    assert {key: reader[key] for key in ("delimiter", "decimal", "thousands", "encoding")} == {
        "delimiter": ";",
        "decimal": ",",
        "thousands": ".",
        "encoding": "latin-1",
    }
    assert found.column("umsatz_netto").quantiles[-1] == 1234.5
    assert found.column("filiale").top[0][0] in {"Köln", "Bonn"}


def test_a_table_without_a_header_gets_names(profiled: Profiled) -> None:
    (found,) = profiled({"t.csv": table("1.5,a,2020-01-01", 5, "{n}.5,b,2020-01-02")}).tables
    assert (found.rows, [column.name for column in found.columns]) == (6, ["column_1", "column_2", "column_3"])


def test_a_ragged_line_is_left_out_and_counted(profiled: Profiled) -> None:
    (found,) = profiled({"t.csv": table("a,b", 50, "{n},x") + "51,x,more\n"}).tables
    assert (found.rows, found.loaded.unread) == (50, 1)


def test_only_a_column_of_unique_values_is_a_key_and_the_name_decides_between_two(profiled: Profiled) -> None:
    text = table("row,customer_id,amount", 30, "{n},c{n},{n}.25")
    assert profiled({"customers.csv": text}).tables[0].keys == ("customer_id", "row")


def test_a_link_is_found_by_values_and_name_with_its_orphans(profiled: Profiled) -> None:
    customers = table("id,region", 40, "{n},north")
    orders = table("order_id,customer_id", 400, "{n},{n}").replace(",399", ",39")
    orders = "order_id,customer_id\n" + "".join(f"{n},{n % 41}\n" for n in range(410))
    found = profiled({"customers.csv": customers, "orders.csv": orders})
    ((link),) = found.links
    assert (link.table, link.column, link.to_table, link.to_column) == ("orders", "customer_id", "customers", "id")
    assert link.orphans == 10
    assert link.included == pytest.approx(40 / 41)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("u{n}@example.org", "e-mail address"),
        ("+49 30 12345{n:02d}", "telephone number"),
        ("192.168.0.{n}", "IP address"),
        ("DE89370400440532013000", "IBAN"),
        ("4111 1111 1111 1111", "card number"),
        ("2020-01-01", None),
        ("abc{n}", None),
        ("12.5{n}", None),
    ],
)
def test_personal_data_are_known_by_their_values(profiled: Profiled, value: str, kind: str | None) -> None:
    assert only_column(profiled({"t.csv": table("n,x", 30, "{n}," + value)}), "x").personal == kind


def test_all_tables_of_a_database_are_read(workspace: Workspace, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as lite, lite:
        lite.execute("CREATE TABLE a (id INTEGER, x REAL)")
        lite.execute("INSERT INTO a VALUES (1, 2.5), (2, NULL)")
        lite.execute("CREATE TABLE b (id TEXT)")
    with duckdb.connect(str(tmp_path / "more.duckdb")) as database:
        database.execute("CREATE TABLE c AS SELECT range AS id, DATE '2020-01-01' AS day FROM range(5)")
    found = profile_data(workspace.connection, [str(tmp_path)], workspace.scratch)
    assert {table.name: table.rows for table in found.tables} == {"a": 2, "b": 0, "c": 5}
    assert found.table_named("c").column("day").kind == "date"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("empty.csv", "", "is empty"),
        ("t.docx", "x", "has no known suffix"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(profiled: Profiled, name: str, text: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as error:
        profiled({name: text})
    assert "\n" not in str(error.value)


def test_a_header_without_rows_is_a_table_of_empty_columns(profiled: Profiled) -> None:
    (found,) = profiled({"t.csv": "a,b\n"}).tables
    assert (found.rows, [column.kind for column in found.columns]) == (0, ["empty", "empty"])


def test_the_page_of_2000_columns_is_below_300_kb_and_says_what_it_leaves_out(profiled: Profiled) -> None:
    found = profiled({"wide.csv": table("id,x", 20, "{n},{n}.5")})
    (one,) = found.tables
    columns = tuple(replace(one.columns[1], raw=f"a rather long name of a column {number}") for number in range(2000))
    page = profile_page(replace(found, tables=(replace(one, columns=columns),)))
    assert len(page.encode()) < 300_000
    assert "columns are left out here" in page
    assert "http" not in page


def test_a_table_of_many_columns_is_profiled_in_parts(profiled: Profiled) -> None:
    header, rows = ",".join(f"c{number}" for number in range(200)), ",".join(str(number) for number in range(200))
    found = profiled({"wide.csv": f"{header}\n{rows}\n{rows}\n"}).tables[0].columns
    assert [column.largest for column in found] == [str(number) for number in range(200)]


def test_the_same_data_give_the_same_profile(profiled: Profiled) -> None:
    files = {"t.csv": table("id,x", 3000, "{n},{n}7")}
    assert profiled(files).to_dict() == profiled(files).to_dict()


def test_a_long_table_whose_texts_recur_is_counted_exactly(profiled: Profiled) -> None:
    """Every thousandth row, of which the sample is, differs from the others."""
    rows, odd = 100_000, 100
    lines = (
        f"{n},{'Block' if n % 1000 == 0 else n % 50},{n % 28 + 1:02}/01/2020,{'?' if n % 1000 == 0 else ('yes', 'no')[n % 2]}"
        for n in range(rows)
    )
    profile = profiled({"t.csv": "\n".join(["id,number,day,answer", *lines]) + "\n"})
    number, day, answer = (only_column(profile, name) for name in ("number", "day", "answer"))
    assert (number.kind, number.missing, number.values, number.distinct) == ("integer", {"Block": odd}, rows - odd, 50)
    assert (day.kind, day.forms, day.distinct, day.top[0][1]) == ("date", ("%d/%m/%Y",), 28, 3572)
    assert sum(count for _, count in number.top) == rows // 5
    assert (answer.missing, answer.nulls) == ({"?": odd}, odd)
    assert profile.tables[0].keys == ("id",)
    assert sum(profile.tables[0].times[0].counts) == rows


def test_whole_numbers_since_1970_are_times_by_their_name_and_range(profiled: Profiled) -> None:
    begin = 1_100_000_000
    rows = [f"{begin + n * 3600},{(begin + n) * 1000},{begin + n},{n}" for n in range(200)]
    columns = profiled({"t.csv": "\n".join(["timestamp,created_at,phone,time_spent", *rows])}).tables[0]
    found = {name: (columns.column(name).kind, columns.column(name).forms) for name in ("timestamp", "created_at")}
    assert found == {"timestamp": ("timestamp", ("unix",)), "created_at": ("timestamp", ("unix_ms",))}
    assert (columns.column("timestamp").smallest, columns.column("timestamp").has_zone) == ("2004-11-09 11:33:20", True)
    assert [columns.column(name).kind for name in ("phone", "time_spent")] == ["integer", "integer"]


def test_a_number_of_nines_far_from_the_others_means_a_missing_value(profiled: Profiled) -> None:
    rows = [
        f"{n % 40},{-999 if n % 20 == 3 else n % 30},{9999 if n == 7 else n % 50 * 200},{n % 2}" for n in range(200)
    ]
    table = profiled({"t.csv": "\n".join(["a,b,c,zip", *rows])}).tables[0]
    assert table.column("b").missing == {"-999": 10}
    assert (table.column("b").smallest, table.column("b").nulls) == ("0", 10)
    assert [table.column(name).missing for name in "ac"] == [{}, {}]
    assert table.column("zip").kind == "string"


def test_the_numbers_of_a_tables_own_rows_are_no_links_to_other_numbers(profiled: Profiled) -> None:
    calls = ["call_id,store_no", *(f"{n},{n % 9 + 1}" for n in range(60))]
    payments = ["payment_id,call_id", *(f"{n},{n}" for n in range(60))]
    stores = ["store_no,size", *(f"{n},{n * n}" for n in range(1, 10))]
    files = {"calls.csv": calls, "payments.csv": payments, "stores.csv": stores}
    found = profiled({name: "\n".join(lines) for name, lines in files.items()}).links
    assert {f"{one.table}.{one.column}>{one.to_table}.{one.to_column}" for one in found} == {
        "calls.store_no>stores.store_no",
        "payments.call_id>calls.call_id",
    }
