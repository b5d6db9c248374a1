"""Views of very many features, and long chains of them: the values that few features would have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from core.errors import PlanError
from core.plan.plan import View
from feature_repo.files.duck import open_duckdb
from feature_repo.views.existence import asked_in
from feature_repo.views.rows import compute_snapshots, compute_view

START = datetime(2024, 1, 1, tzinfo=UTC)
#: Shop 1 sold for 2 on the first day and for 3 on the third.
SALES = pa.table(
    {
        "shop": [1, 1],
        "event_time": [START, START + timedelta(days=2)],
        "created_time": [START, START + timedelta(days=2)],
        "amount": [2.0, 3.0],
    }
)


def compute(features: dict[str, dict[str, Any]], days: int = 3) -> list[dict[str, Any]]:
    """Compute a view at the first `days` days, both ways, which agree."""
    described = {name: {"dtype": "float64", "unit": "x", **feature} for name, feature in features.items()}
    view = View.model_validate({"source": "sales", "ttl": "9d", "every": "1 day", "features": described})
    with open_duckdb() as connection:
        connection.register("sales_rows", SALES)
        times = pa.array([START + timedelta(days=day) for day in range(days)], pa.timestamp("us", tz="UTC"))
        connection.register("grid", pa.table({"shop": [1] * days, "as_of": times}))
        rows = {"sales": "sales_rows"}
        found = compute_view(connection, view, "shop", rows, "grid")
        by_instant = compute_snapshots(connection, view, rows, asked_in(connection, "shop", "grid"))
        assert pa.concat_tables(by_instant) == found
    listed: list[dict[str, Any]] = found.to_pylist()
    return listed


def test_a_view_of_1_200_aggregates_has_each_at_its_place() -> None:
    found = compute({f"times_{number}": {"sql": f"sum(amount) * {number}"} for number in range(1_200)})
    for row, total in zip(found, [2.0, 2.0, 5.0], strict=True):
        assert [row[f"times_{number}"] for number in range(1_200)] == [total * number for number in range(1_200)]


def test_more_aggregates_than_a_query_takes_are_over_no_row_what_few_are() -> None:
    late = {f"none_{number}": {"sql": f"count(*) + {number}", "window": "1d", "lag": "20d"} for number in range(300)}
    (row,) = compute(late, days=1)
    assert [row[f"none_{number}"] for number in range(300)] == list(range(300))


def test_each_of_60_windows_looks_at_its_own_rows() -> None:
    windows = {f"last_{hours}": {"sql": "sum(amount)", "window": f"{hours}h"} for hours in range(1, 61)}
    row = compute(windows)[-1]
    assert [row[f"last_{hours}"] for hours in (1, 48, 49, 60)] == [3.0, 3.0, 5.0, 5.0]


def test_a_chain_of_150_features_is_computed_one_after_another() -> None:
    chain = {f"plus_{number}": {"over": "features", "sql": f"plus_{number - 1} + 1"} for number in range(1, 151)}
    assert [row["plus_150"] for row in compute({"plus_0": {"sql": "sum(amount)"}, **chain})] == [152.0, 152.0, 155.0]


def test_a_feature_that_is_named_twice_is_computed_once() -> None:
    """As one expression the last would hold the first 2^60 times."""
    doubled = {
        f"half_{number}": {"over": "features", "sql": f"(half_{number - 1} + half_{number - 1}) / 2"}
        for number in range(1, 61)
    }
    assert compute({"half_0": {"sql": "sum(amount)"}, **doubled})[-1]["half_60"] == 5.0


def test_days_beyond_what_one_query_computes_follow_in_order() -> None:
    found = compute({"days": {"sql": "date_diff('day', min(event_time), as_of)"}}, days=150)
    assert [row["days"] for row in found] == list(range(150))


def test_the_one_of_many_features_that_fails_is_named() -> None:
    chain = {f"plus_{number}": {"over": "features", "sql": f"plus_{number - 1} + 1"} for number in range(1, 40)}
    chain["plus_20"]["sql"] = "plus_19 + unknown_column"
    with pytest.raises(PlanError, match=r"the feature 'plus_20' over 'sales' has an SQL that fails: .*unknown_column"):
        compute({"plus_0": {"sql": "sum(amount)"}, **chain})
