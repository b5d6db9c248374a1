"""A feature that reads what was not known as of then is found by taking that away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from core.plan.plan import Entity, View
from core.plan.times import parse_instant
from feature_repo.views.look_ahead import look_ahead
from tests.feature_repo.accepted_rows import write_accepted

if TYPE_CHECKING:
    from pathlib import Path

AS_OF = parse_instant("2024-03-01")
SHOP = Entity(key="who", dtype="int64", source="orders")
#: When an order happened, when it became known, what was paid: the third is after as of, the fourth was told too late.
ORDERS = [
    ("2024-01-10", "2024-01-10", 10.0),
    ("2024-02-10", "2024-02-10", 20.0),
    ("2024-03-10", "2024-03-10", 40.0),
    ("2024-02-20", "2024-03-20", 80.0),
]


@pytest.fixture
def accepted(tmp_path: Path) -> Path:
    rows = pa.table(
        {
            "who": [1] * len(ORDERS),
            "event_timestamp": [parse_instant(day) for day, _, _ in ORDERS],
            "created_timestamp": [parse_instant(day) for _, day, _ in ORDERS],
            "paid": [paid for _, _, paid in ORDERS],
        }
    )
    write_accepted(tmp_path, "orders", "who", rows)
    return tmp_path


def found(accepted: Path, sql: str, dtype: str = "float64") -> list[str]:
    features = {
        "paid_90d": {"sql": "sum(paid)", "window": "90d", "dtype": "float64", "unit": "EUR"},
        "asked": {"sql": sql, "dtype": dtype, "unit": "EUR"},
    }
    view = View.model_validate({"source": "orders", "ttl": "30d", "every": "1 month", "features": features})
    return [f"{feature}: {reason}" for feature, reason in look_ahead(accepted, view, SHOP, None, AS_OF)]


def test_a_feature_over_the_rows_that_are_chosen_for_it_does_not_look_ahead(accepted: Path) -> None:
    assert found(accepted, "max(paid)") == []


def test_a_feature_that_reads_the_table_itself_is_named_with_both_reasons(accepted: Path) -> None:
    words = "1 of 1 values as of 2024-03-01 come from rows that"
    assert found(accepted, "(SELECT sum(paid) FROM rows_of_orders)") == [
        f"asked: {words} happened after as of, as those that make the label",
        f"asked: {words} were created after as of",
    ]


def test_a_feature_that_reads_late_records_only_is_named_with_that_reason(accepted: Path) -> None:
    sql = "(SELECT sum(paid) FROM rows_of_orders WHERE event_time <= TIMESTAMPTZ '2024-03-01')"
    assert found(accepted, sql) == [
        "asked: 1 of 1 values as of 2024-03-01 come from rows that were created after as of"
    ]


def test_a_value_that_is_missing_without_those_rows_has_changed(accepted: Path) -> None:
    sql = "(SELECT any_value('late') FROM rows_of_orders WHERE event_time > TIMESTAMPTZ '2024-03-01')"
    assert len(found(accepted, sql, "string")) == 2
