"""A row is accepted with its types and times, or rejected with every reason; too many rejections fail the run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import QualityError
from core.plan.ingest import QualityRules, Source
from feature_repo.files.datasets import BUCKETS, accepted_glob
from feature_repo.files.duck import literal, open_duckdb
from feature_repo.validate import Validated, validate

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = {
    "who": {"dtype": "int64"},
    "at": {"dtype": "timestamp"},
    "amount": {"dtype": "float64"},
    "kind": {"dtype": "string"},
}
GOOD = {"who": "1", "at": "2024-01-01T10:00:00Z", "amount": "5", "kind": "a"}


def source(**changes: Any) -> Source:
    stated = {
        "reader": {"kind": "csv", "path": "unused"},
        "entity": "e",
        "event_time": {"column": "at"},
        "observed_until": "2024-02-01",
        "columns": COLUMNS,
    }
    return Source.model_validate({**stated, **changes})


def run(
    folder: Path, rows: list[dict[str, Any]], rules: dict[str, Any] | None = None, stated: Source | None = None
) -> tuple[Validated, list[dict[str, Any]], list[dict[str, Any]]]:
    numbered = pa.Table.from_pylist([{"source_row": number, **row} for number, row in enumerate(rows, 1)])
    pq.write_table(numbered, folder / "raw.parquet")
    found = QualityRules.model_validate({"max_rejected": 1, **(rules or {})})
    accepted, rejected = folder / "accepted" / "sales", folder / "rejected.parquet"
    result = validate(stated or source(), "who", found, folder / "raw.parquet", accepted, rejected)
    with open_duckdb() as connection:
        good = connection.sql(
            f"FROM read_parquet({literal(accepted_glob(folder / 'accepted', 'sales'))}) ORDER BY source_row"
        )
        return result, good.to_arrow_table().to_pylist(), pq.read_table(rejected).to_pylist()


def reasons(
    folder: Path, bad: dict[str, Any], rules: dict[str, Any] | None = None, stated: Source | None = None
) -> list[str]:
    result, _, rejected = run(folder, [GOOD, {**GOOD, "who": "2", **bad}], rules, stated)
    assert (result.accepted, result.rejected) == (1, 1)
    assert rejected[0]["source_row"] == 2
    found: list[str] = rejected[0]["reasons"]
    return found


def test_a_good_row_gets_its_types_and_times(tmp_path: Path) -> None:
    result, accepted, rejected = run(tmp_path, [GOOD])
    time = datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert result == Validated(accepted=1, rejected=0)
    assert rejected == []
    assert accepted == [
        {
            "source_row": 1,
            "who": 1,
            "at": time,
            "amount": 5.0,
            "kind": "a",
            "event_timestamp": time,
            "created_timestamp": time,
        }
    ]


def test_a_rejected_row_keeps_its_own_text_and_every_reason(tmp_path: Path) -> None:
    _, _, rejected = run(tmp_path, [GOOD, {**GOOD, "amount": "much", "kind": None}], {"not_null": ["kind"]})
    assert rejected == [
        {
            "source_row": 2,
            "reasons": ["amount: not a float64", "kind: null"],
            "who": "1",
            "at": "2024-01-01T10:00:00Z",
            "amount": "much",
            "kind": None,
        }
    ]


@pytest.mark.parametrize(
    ("bad", "rules", "expected"),
    [
        ({"who": "two"}, {}, ["who: not a int64"]),
        ({"who": None}, {}, ["who: null"]),
        ({"amount": "11"}, {"range": {"amount": [0, 10]}}, ["amount: outside [0, 10]"]),
        ({"amount": "-1"}, {"range": {"amount": [0, 10]}}, ["amount: outside [0, 10]"]),
        ({"who": "1.6"}, {}, ["who: not a int64"]),
        ({"kind": "a\0b"}, {}, ["kind: has a NUL character, which PostgreSQL cannot hold"]),
        ({"amount": "-1"}, {"range": {"amount": [0, float("inf")]}}, ["amount: outside [0, inf]"]),
        ({"amount": "11"}, {"range": {"amount": [None, 10]}}, ["amount: outside [-inf, 10]"]),
        ({"who": "9007199254740993"}, {"range": {"who": [0, 2**53]}}, ["who: outside [0, 9.0072e+15]"]),
        ({"amount": "nan"}, {"range": {"amount": [0, 10]}}, ["amount: outside [0, 10]", "amount: not a number"]),
        ({"kind": "c"}, {"allowed": {"kind": ["a", "b"]}}, ["kind: not among a, b"]),
        ({"kind": "abc"}, {"pattern": {"kind": "[a-z]"}}, ["kind: does not match [a-z]"]),
        ({"at": "2024-02-01T00:00:01Z"}, {}, ["at: after observed_until 2024-02-01T00:00:00+00:00"]),
    ],
)
def test_each_rule_gives_its_reason(
    tmp_path: Path, bad: dict[str, Any], rules: dict[str, Any], expected: list[str]
) -> None:
    assert reasons(tmp_path, bad, rules) == expected


@pytest.mark.parametrize("time", ["2024-01-01 10:00:00", "2024-13-01T00:00:00Z", "soon"])
def test_a_time_without_a_zone_or_a_meaning_is_rejected(tmp_path: Path, time: str) -> None:
    assert any("no time that can be placed" in reason for reason in reasons(tmp_path, {"at": time}))


def test_a_time_without_a_zone_is_of_the_stated_zone(tmp_path: Path) -> None:
    stated = source(event_time={"column": "at", "zone": "Asia/Kolkata"})
    _, accepted, _ = run(tmp_path, [{**GOOD, "at": "2024-01-01 10:00:00"}], stated=stated)
    assert accepted[0]["event_timestamp"] == datetime(2024, 1, 1, 4, 30, tzinfo=UTC)


def test_the_column_of_a_time_is_the_same_instant_as_the_time(tmp_path: Path) -> None:
    columns = {**COLUMNS, "seen": {"dtype": "timestamp"}}
    zones = {
        "event_time": {"column": "at", "zone": "Asia/Kolkata"},
        "created_time": {"column": "seen", "zone": "Asia/Tokyo"},
    }
    local = {"at": "2024-01-01 10:00:00", "seen": "2024-01-01 19:00:00"}
    _, accepted, _ = run(tmp_path, [{**GOOD, **local}], stated=source(columns=columns, **zones))
    assert accepted[0]["at"] == accepted[0]["event_timestamp"] == datetime(2024, 1, 1, 4, 30, tzinfo=UTC)
    assert accepted[0]["seen"] == accepted[0]["created_timestamp"] == datetime(2024, 1, 1, 10, tzinfo=UTC)


def test_a_row_whose_time_cannot_be_placed_has_one_reason(tmp_path: Path) -> None:
    stated = source(event_time={"column": "at", "zone": "America/New_York"}, observed_until="2025-01-01")
    assert reasons(tmp_path, {"at": "2024-11-03 01:30:00"}, stated=stated) == [
        "at: a local time that exists twice, since clocks were put back; choose one with the column's key `ambiguous`"
    ]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("start_of_day", datetime(2024, 1, 5, tzinfo=UTC)),
        ("end_of_day", datetime(2024, 1, 5, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_a_date_stands_for_the_stated_end_of_its_day(tmp_path: Path, at: str, expected: datetime) -> None:
    columns = {**COLUMNS, "at": {"dtype": "date"}}
    stated = source(event_time={"column": "at", "format": "%Y%m%d", "at": at}, columns=columns)
    _, accepted, _ = run(tmp_path, [{**GOOD, "at": "20240105"}], stated=stated)
    assert accepted[0]["event_timestamp"] == expected


@pytest.mark.parametrize("who", ["", "x" * 513])
def test_a_key_that_no_index_and_no_request_can_hold_is_rejected(tmp_path: Path, who: str) -> None:
    stated = source(columns={**COLUMNS, "who": {"dtype": "string"}})
    assert reasons(tmp_path, {"who": who}, stated=stated) == [
        "who: of no character, or of more than the 512 that a key may have"
    ]


def test_open_ends_of_a_range_leave_every_number_in(tmp_path: Path) -> None:
    rules = {"range": {"amount": [None, float("inf")], "who": [float("-inf"), None]}}
    result, _, _ = run(tmp_path, [GOOD, {**GOOD, "amount": "-1e300"}], rules)
    assert result.accepted == 2


def test_rows_with_the_key_and_the_time_of_an_earlier_one_are_counted(tmp_path: Path) -> None:
    result, _, _ = run(tmp_path, [GOOD, {**GOOD, "amount": "6"}, {**GOOD, "who": "2"}])
    assert (result.accepted, result.repeated) == (3, 1)


def test_of_duplicates_the_first_that_was_known_is_accepted(tmp_path: Path) -> None:
    columns = {**COLUMNS, "seen": {"dtype": "timestamp"}}
    stated = source(columns=columns, created_time={"column": "seen"})
    late, early = {**GOOD, "seen": "2024-01-09T00:00:00Z"}, {**GOOD, "seen": "2024-01-02T00:00:00Z"}
    _, accepted, rejected = run(tmp_path, [late, early], {"unique": ["who", "at"]}, stated)
    assert [row["source_row"] for row in accepted] == [2]
    assert rejected[0]["reasons"] == ["duplicate of an earlier row by who, at"]


def test_a_value_at_fault_is_taken_as_missing_where_the_rules_say_so(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"amount": "-1"},
        {"amount": "much"},
        {"amount": "nan"},
        {"kind": "c"},
        {"amount": None},
        {"amount": "-1", "who": None},
    ]
    rules = {"range": {"amount": [0, 10]}, "allowed": {"kind": ["a", "b"]}, "as_missing": ["amount", "kind"]}
    result, accepted, rejected = run(tmp_path, [GOOD, *({**GOOD, **row} for row in bad)], rules)
    assert result == Validated(accepted=6, rejected=1, mended=4, repeated=5)
    assert [(row["amount"], row["kind"]) for row in accepted] == [
        (5.0, "a"),
        (None, "a"),
        (None, "a"),
        (None, "a"),
        (5.0, None),
        (None, "a"),
    ]
    assert [(row["source_row"], row["reasons"], row["amount"]) for row in rejected] == [(7, ["who: null"], "-1")]


def test_values_taken_as_missing_count_towards_the_limit(tmp_path: Path) -> None:
    rules = {"range": {"amount": [0, 10]}, "as_missing": ["amount"], "max_rejected": 0.5}
    with pytest.raises(QualityError, match=r"0 of 3 rows were rejected and 2 have a value at fault \(66.67%\)"):
        run(tmp_path, [GOOD, {**GOOD, "amount": "11"}, {**GOOD, "amount": "12"}], rules)


def test_null_keys_are_duplicates_of_one_another(tmp_path: Path) -> None:
    _, accepted, rejected = run(tmp_path, [{**GOOD, "kind": None}] * 2, {"unique": ["who", "kind"]})
    assert [row["source_row"] for row in accepted] == [1]
    assert rejected[0]["reasons"] == ["duplicate of an earlier row by who, kind"]


def test_duplicates_are_found_across_entities_too(tmp_path: Path) -> None:
    rows = [{**GOOD, "who": str(who), "kind": "ab"[who % 2]} for who in range(40)]
    result, accepted, _ = run(tmp_path, rows, {"unique": ["kind"]})
    assert (result.accepted, result.rejected) == (2, 38)
    assert [row["source_row"] for row in accepted] == [1, 2]


def test_rows_lie_in_the_order_of_their_times(tmp_path: Path) -> None:
    times = ["2024-01-03T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]
    run(tmp_path, [{**GOOD, "at": time} for time in times])
    files = [pq.read_table(file) for file in sorted((tmp_path / "accepted" / "sales").iterdir())]
    assert [file.column("source_row").to_pylist() for file in files if file.num_rows] == [[2, 3, 1]]


def test_of_a_source_that_grows_what_happened_or_became_known_later_is_left_out_and_not_rejected(
    tmp_path: Path,
) -> None:
    columns = {**COLUMNS, "seen": {"dtype": "timestamp"}}
    stated = source(columns=columns, created_time={"column": "seen"}, later_rows="leave_out")
    times = [
        ("2024-02-01T00:00:00Z", "2024-02-01T00:00:00Z"),
        ("2024-02-01T00:00:01Z", "2024-02-01T00:00:01Z"),
        ("2024-01-01T00:00:00Z", "2024-02-01T00:00:01Z"),
        (None, "2024-01-05T00:00:00Z"),
    ]
    rows = [{**GOOD, "at": at, "seen": seen} for at, seen in times]
    result, accepted, rejected = run(tmp_path, rows, stated=stated)
    assert result == Validated(accepted=1, rejected=1, left_out=2)
    assert [row["source_row"] for row in accepted] == [1]
    assert [row["source_row"] for row in rejected] == [4]


def test_too_many_rejections_fail_and_leave_the_reasons_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"1 of 3 rows were rejected \(33.33%\), the limit max_rejected is 33.00%"):
        run(tmp_path, [GOOD, GOOD, {**GOOD, "who": None}], {"max_rejected": 0.33})
    assert pq.read_table(tmp_path / "rejected.parquet").num_rows == 1
    assert list((tmp_path / "accepted").iterdir()) == []


def test_rejections_at_the_limit_pass(tmp_path: Path) -> None:
    result, _, _ = run(tmp_path, [GOOD, {**GOOD, "who": None}], {"max_rejected": 0.5})
    assert result.faulty_share == 0.5


def test_the_rows_of_an_entity_lie_in_one_file(tmp_path: Path) -> None:
    run(tmp_path, [{**GOOD, "who": str(who)} for who in range(100)] * 2)
    files = sorted((tmp_path / "accepted" / "sales").iterdir())
    assert len(files) == BUCKETS
    owners: dict[int, set[str]] = {}
    for file in files:
        for who in pq.read_table(file).column("who").to_pylist():
            owners.setdefault(who, set()).add(file.name)
    assert sorted(owners) == list(range(100))
    assert all(len(names) == 1 for names in owners.values())
