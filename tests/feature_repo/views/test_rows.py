"""What the plan's feature SQL means, on rows that can be counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from core.errors import PlanError
from core.plan.plan import View
from feature_repo.files.duck import open_duckdb
from feature_repo.views.existence import asked_in
from feature_repo.views.rows import compute_snapshots, compute_view

if TYPE_CHECKING:
    from collections.abc import Sequence


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


#: (entity, event day, day it became known, amount)
ROWS = [(1, 1, 1, 10.0), (1, 5, 5, 20.0), (1, 20, 25, 40.0), (2, 28, 28, 5.0)]
#: The same of another source: visits, and how many people came.
VISITS = [(1, 2, 2, 3.0), (1, 4, 6, 5.0), (2, 3, 3, 8.0)]


def rows_of(listed: list[tuple[int, int, int, float]], value: str) -> pa.Table:
    shops, happened, known, values = zip(*listed, strict=True)
    return pa.table(
        {
            "shop": shops,
            "event_time": [day(number) for number in happened],
            "created_time": [day(number) for number in known],
            value: values,
        }
    )


def compute(features: dict[str, dict[str, Any]], asked: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    described = {name: {"dtype": "float64", "unit": "x", **feature} for name, feature in features.items()}
    view = View.model_validate({"source": "sales", "ttl": "9d", "every": "1 day", "features": described})
    with open_duckdb() as connection:
        connection.register("sales_rows", rows_of(ROWS, "amount"))
        connection.register("visit_rows", rows_of(VISITS, "people"))
        grid = {"shop": [shop for shop, _ in asked], "as_of": [day(number) for _, number in asked]}
        connection.register("asked_grid", pa.table(grid))
        rows = {"sales": "sales_rows", "visits": "visit_rows"}
        found = compute_view(connection, view, "shop", rows, "asked_grid")
        by_instant = compute_snapshots(connection, view, rows, asked_in(connection, "shop", "asked_grid"))
        in_order = [("event_timestamp", "ascending"), ("shop", "ascending")]
        assert pa.concat_tables(by_instant).sort_by(in_order) == found
    listed: list[dict[str, Any]] = found.to_pylist()
    return listed


def values(feature: dict[str, Any], asked: Sequence[tuple[int, int]]) -> list[object]:
    return [row["fact"] for row in compute({"fact": feature}, asked)]


def test_a_row_counts_from_its_own_instant_on() -> None:
    assert values({"sql": "count(*)", "dtype": "int64"}, [(1, 1), (1, 4), (1, 5)]) == [1, 1, 2]


def test_a_row_that_became_known_late_counts_only_then() -> None:
    assert values({"sql": "sum(amount)"}, [(1, 20), (1, 24), (1, 25)]) == [30.0, 30.0, 70.0]


def test_a_window_is_open_at_its_old_end() -> None:
    assert values({"sql": "count(*)", "window": "4d", "dtype": "int64"}, [(1, 5), (1, 8), (1, 9)]) == [1, 1, 0]


def test_a_lag_moves_the_window_back() -> None:
    assert values({"sql": "sum(amount)", "window": "5d", "lag": "5d"}, [(1, 6), (1, 11)]) == [10.0, 20.0]


#: (entity, event day, day it became known, price), each with the day from which on it is no longer valid.
_ENDS = [5, None, 25, None]


def _valid(feature: dict[str, Any], asked: Sequence[tuple[int, int]]) -> list[object]:
    described = {"fact": {"dtype": "float64", "unit": "x", "valid_until": "until", **feature}}
    view = View.model_validate({"source": "sales", "ttl": "9d", "every": "1 day", "features": described})
    ends = pa.array([None if end is None else day(end) for end in _ENDS], pa.timestamp("us", "UTC"))
    with open_duckdb() as connection:
        connection.register("sales_rows", rows_of(ROWS, "amount").append_column("until", ends))
        grid = {"shop": [shop for shop, _ in asked], "as_of": [day(number) for _, number in asked]}
        connection.register("asked_grid", pa.table(grid))
        found = compute_view(connection, view, "shop", {"sales": "sales_rows"}, "asked_grid")
        pairs = asked_in(connection, "shop", "asked_grid")
        by_instant = pa.concat_tables(compute_snapshots(connection, view, {"sales": "sales_rows"}, pairs))
        assert by_instant.sort_by([("event_timestamp", "ascending"), ("shop", "ascending")]) == found
    values: list[object] = found.column("fact").to_pylist()
    return values


def test_a_row_is_not_read_from_the_end_of_its_validity_on() -> None:
    asked = [(1, 4), (1, 5), (1, 6), (1, 24), (1, 25)]
    # The third row is known on the day on which it ends.
    assert _valid({"sql": "sum(amount)"}, asked) == [10.0, 20.0, 20.0, 20.0, 20.0]
    assert _valid({"sql": "sum(amount)", "window": "3d"}, [(1, 3), (1, 5), (1, 8)]) == [10.0, 20.0, None]


def test_a_lagged_feature_reads_the_rows_that_were_valid_then() -> None:
    assert _valid({"sql": "sum(amount)", "lag": "2d"}, [(1, 6), (1, 7)]) == [10.0, 20.0]


def test_over_no_row_a_count_is_zero_and_a_sum_is_missing() -> None:
    found = compute(
        {"count": {"sql": "count(*)", "dtype": "int64", "window": "1d"}, "sum": {"sql": "sum(amount)", "window": "1d"}},
        [(1, 15)],
    )
    assert [(row["count"], row["sum"]) for row in found] == [(0, None)]


def test_over_no_row_an_expression_of_the_as_of_time_has_its_value() -> None:
    assert values({"sql": "day(as_of)", "window": "1d", "dtype": "int32"}, [(1, 15)]) == [15]


def test_recency_and_tenure_are_whole_days() -> None:
    recency = {"sql": "date_diff('day', max(event_time), as_of)", "dtype": "int64"}
    assert values(recency, [(1, 19), (1, 30)]) == [14, 10]


def test_a_feature_may_be_computed_from_earlier_ones() -> None:
    found = compute(
        {
            "total": {"sql": "sum(amount)"},
            "late": {"sql": "sum(amount)", "window": "16d"},
            "share": {"sql": "late / nullif(total, 0)", "over": "features"},
            "rest": {"sql": "1 - share", "over": "features"},
        },
        [(1, 20)],
    )
    assert [(row["share"], row["rest"]) for row in found] == [(20 / 30, 1 - 20 / 30)]


def test_a_window_over_features_leaves_each_value_in_its_row() -> None:
    features = {
        "total": {"sql": "sum(amount)"},
        "same": {"sql": "max(total) OVER (PARTITION BY shop, as_of)", "over": "features"},
    }
    found = compute(features, [(shop, number) for shop in (1, 2) for number in range(1, 32)])
    assert [row["same"] for row in found] == [row["total"] for row in found]


def test_a_feature_may_come_from_another_source_and_be_put_in_relation_to_the_views_own() -> None:
    found = compute(
        {
            "spend": {"sql": "sum(amount)"},
            "people": {"sql": "sum(people)", "source": "visits"},
            "recent_people": {"sql": "sum(people)", "source": "visits", "window": "3d"},
            "spend_per_head": {"sql": "spend / people", "over": "features"},
        },
        [(1, 5), (1, 6), (2, 5)],
    )
    assert [(row["spend"], row["people"], row["recent_people"], row["spend_per_head"]) for row in found] == [
        (30.0, 3.0, None, 10.0),
        (None, 8.0, 8.0, None),
        (30.0, 8.0, 5.0, 30.0 / 8.0),
    ]


def test_the_last_value_is_the_one_of_the_latest_event() -> None:
    assert values({"sql": "arg_max(amount, event_time)"}, [(1, 4), (1, 26)]) == [10.0, 40.0]


def test_rows_come_sorted_with_both_times_at_the_as_of_instant() -> None:
    found = compute({"fact": {"sql": "count(*)", "dtype": "int64"}}, [(2, 29), (2, 3), (1, 3)])
    assert [(row["shop"], row["event_timestamp"], row["created_timestamp"]) for row in found] == [
        (1, day(3), day(3)),
        (2, day(3), day(3)),
        (2, day(29), day(29)),
    ]


@pytest.mark.parametrize(
    ("sql", "reason"), [("sum(amonut)", "amonut"), ("sum(amount", "syntax"), ("max('x')", "Could not convert")]
)
def test_a_feature_whose_sql_fails_is_named(sql: str, reason: str) -> None:
    with pytest.raises(PlanError, match=rf"'broken' over 'sales'.*(?i:{reason})"):
        compute({"sound": {"sql": "sum(amount)"}, "broken": {"sql": sql}}, [(1, 9)])


def test_a_failing_feature_of_another_source_is_named_with_it() -> None:
    with pytest.raises(PlanError, match=r"'broken' over 'visits'.*amount"):
        compute({"broken": {"sql": "sum(amount)", "source": "visits"}}, [(1, 9)])
