"""Drafts of rows with times, for one table and for several about one entity."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.errors import PantheraError

if TYPE_CHECKING:
    from tests.planner.drafted import Drafted

BEGIN = datetime(2023, 1, 1, tzinfo=UTC)
LINE = "count(orders) = 0 in 30d for each customer"


def orders(customers: int = 60, days: int = 400) -> str:
    rng = random.Random(4)  # noqa: S311 - a fixed example
    lines, number = ["order_id,customer_id,ordered_at,amount,channel"], 0
    for customer in range(customers):
        time, leaves = BEGIN + timedelta(days=rng.uniform(0, 40)), BEGIN + timedelta(days=rng.uniform(60, 2 * days))
        while time < min(leaves, BEGIN + timedelta(days=days)):
            amount, channel = round(rng.uniform(1, 50), 2), rng.choice(["web", "app"])
            lines.append(f"{number},{customer:04d},{time:%Y-%m-%d %H:%M:%S},{amount},{channel}")
            number, time = number + 1, time + timedelta(days=rng.expovariate(1 / 15))
    return "\n".join(lines) + "\n"


def customers(number: int = 60) -> str:
    rows = [f"{n:04d};{'north' if n % 2 else 'south'};{n % 28 + 1:02d}.01.2023;u{n}@example.org" for n in range(number)]
    return "\n".join(["id;region;joined;mail", *rows]) + "\n"


def test_a_table_of_orders_becomes_a_plan_whose_periods_are_a_horizon_apart(drafted: Drafted) -> None:
    plan, draft = drafted({"orders.csv": orders()}, LINE)
    source, split = plan.ingest["orders"], plan.training_set.split
    assert plan.entities["customer"].key == "customer_id"
    assert source.columns["customer_id"].dtype == "string"
    assert source.event_time is not None
    assert source.event_time.column == "ordered_at"
    assert (plan.label.value, plan.label.horizon) == ("count(*) = 0", timedelta(days=30))
    assert split.kind == "temporal"
    assert split.gap == timedelta(days=30)
    closes = plan.training_set.as_of.end + plan.label.horizon
    assert source.observed_until - timedelta(days=31) < closes <= source.observed_until
    assert draft.sheet.open_questions == []


def test_a_table_about_the_same_entity_joins_under_one_key_and_the_others_are_named(drafted: Drafted) -> None:
    files = {"customers.csv": customers(), "orders.csv": orders(), "products.csv": "sku,price\na,1\nb,2\nc,3\n"}
    plan, draft = drafted(files, LINE)
    profile = plan.ingest["customers"]
    assert profile.columns["customer_id"].rename_from == "id"
    assert profile.columns["mail"].pii == "remove"
    assert profile.event_time is not None
    assert profile.event_time.format == "%d.%m.%Y"
    assert "last_region" in plan.build_features.views["customers_rows"].features
    assert "rows_30d" not in plan.build_features.views["customers_rows"].features
    assert [note for note in draft.sheet.notes if note.startswith("the table products is left out")]


def test_a_sum_of_a_column_as_the_file_names_it_is_a_regression(drafted: Drafted) -> None:
    text = orders().replace("amount", "Amount EUR", 1)
    plan, _ = drafted({"orders.csv": text}, "sum(orders.amount_eur) in 14d for each customer where count(orders) >= 2")
    assert plan.project.problem == "regression"
    assert plan.label.value == 'coalesce(sum("amount_eur"), 0)'
    assert plan.label.population == "count(*) >= 2"


@pytest.mark.parametrize(
    ("line", "stated", "reason"),
    [
        ("count(orders) = 0 in 400d for each customer", {}, "a horizon of 400 days needs about"),
        ("count(order_lines) = 0 in 30d for each customer", {}, "'order_lines' is no table"),
        ("count(orders) >= 0 in 30d for each customer", {}, "100.0% of the labels"),
        ("sum(orders.nothing) > 3 in 30d for each customer", {}, "fails on orders"),
        (LINE, {"key": "amount"}, "the key 'amount' is number"),
        (LINE, {"time": "channel"}, "'channel' is no column of times"),
        ("sum(orders) = 0 in 30d", {}, "names no column"),
        ("x = 0 in 30d", {}, "names no table"),
    ],
)
def test_what_allows_no_plan_is_said_in_one_line(
    drafted: Drafted, line: str, stated: dict[str, str], reason: str
) -> None:
    with pytest.raises(PantheraError, match=reason) as error:
        drafted({"orders.csv": orders()}, line, **stated)
    assert "\n" not in str(error.value)


def test_a_table_without_a_time_has_no_window(drafted: Drafted) -> None:
    text = "customer_id,amount\n" + "".join(f"{n % 9},{n}.5\n" for n in range(90))
    with pytest.raises(PantheraError, match="no column of orders says when each of its rows happened"):
        drafted({"orders.csv": text}, LINE)


def test_two_times_are_a_question(drafted: Drafted) -> None:
    lines = orders().splitlines()
    text = "\n".join([lines[0] + ",paid_at", *(f"{line},{line.split(',')[2]}" for line in lines[1:])]) + "\n"
    _, draft = drafted({"orders.csv": text}, LINE)
    assert [question.name for question in draft.sheet.open_questions] == ["time.orders"]
    plan, draft = drafted({"orders.csv": text}, LINE, answers={"time.orders": "paid_at"})
    assert plan.ingest["orders"].event_time is not None
    assert plan.ingest["orders"].event_time.column == "paid_at"
    assert draft.sheet.open_questions == []
