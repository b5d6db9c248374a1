"""A feature that looks ahead is named; sound features are proved, bit by bit, whatever comes later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from core.errors import PantheraError
from core.plan.file import parse_plan
from planner.prove.proof import Proof, prove
from tests.feature_repo.accepted_rows import write_accepted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAN = """
project: {name: kiosk, problem: binary, statement: "Who stays away?"}
entities: {buyer: {key: buyer_id, dtype: string, source: orders}}
ingest:
  orders:
    reader: {kind: jsonl, path: orders.jsonl}
    entity: buyer
    event_time: {column: bought}
    created_time: {column: told}
    observed_until: "2024-03-01"
    columns:
      buyer_id: {dtype: string}
      bought: {dtype: timestamp}
      told: {dtype: timestamp}
      price: {dtype: float64, unit: EUR}
label: {source: orders, horizon: 10d, value: count(*) = 0}
build_features:
  snapshots: {start: "2024-01-01", end: "2024-02-26"}
  views:
    spending:
      source: orders
      ttl: 10d
      every: 1 week
      features:
        orders: {sql: count(*), dtype: int64, meaning: orders so far}
        spend_10d: {sql: "coalesce(sum(price), 0)", window: 10d, dtype: float64, unit: EUR}
        mean: {sql: "spend_10d / orders", over: features, dtype: float64, unit: EUR}
  services: {all_of_it: [spending.*]}
training_set:
  service: all_of_it
  as_of: {start: "2024-01-01", end: "2024-02-19", every: 1 week}
  split: {kind: temporal, validation_from: "2024-01-22", test_from: "2024-02-05", gap: 10d}
train:
  seed: 1
  candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: spending.orders}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: kiosk}
materialize: {as_of: "2024-02-26"}
serve:
  {missing: refuse, stale: refuse, experiment: first, salt: pepper, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 60


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five orders a day by eleven buyers; each tenth is told five days late."""
    numbers = range(5 * DAYS)
    bought = [BEGIN + timedelta(days=number / 5) for number in numbers]
    told = [time + timedelta(days=5 * (number % 10 == 0)) for number, time in zip(numbers, bought, strict=True)]
    rows = pa.table(
        {
            "source_row": list(numbers),
            "buyer_id": [f"b{number % 11}" for number in numbers],
            "bought": bought,
            "told": told,
            "price": [1 + number % 7 / 10 for number in numbers],
            "event_timestamp": bought,
            "created_timestamp": told,
        }
    )
    folder = tmp_path_factory.mktemp("proof") / "accepted"
    write_accepted(folder, "orders", "buyer_id", rows)
    return folder


def proof(accepted: Path, more: Mapping[str, str] = MappingProxyType({}), instants: int = 3) -> Proof:
    """Return the proof of the plan with more features."""
    features = "".join(f"        {name}: {feature}\n" for name, feature in more.items())
    return prove(parse_plan(PLAN.replace("  services:", f"{features}  services:", 1)), accepted, instants)


def test_sound_features_are_the_same_whatever_comes_later(accepted: Path) -> None:
    result = proof(accepted)
    assert result.leaks == ()
    # Eight Mondays from 8 January on, when all eleven buyers have an order that is known; three features.
    assert [each.as_of for each in result.instants] == [BEGIN + timedelta(weeks=week) for week in (1, 5, 8)]
    assert [each.values_compared for each in result.instants] == [33, 5 * 33, 8 * 33]
    # Of the 300 orders those after the instant, and those before it that are told after it.
    assert [each.rows_changed for each in result.instants] == [266, 126, 22]


AHEAD = {
    "sum_of_all": "(SELECT sum(price) FROM rows_of_orders)",
    "share_of_all": "sum(price) / (SELECT count(*) FROM rows_of_orders)",
    "told_late": "(SELECT sum(price) FROM rows_of_orders WHERE event_time <= TIMESTAMPTZ '2024-01-29')",
    "future": "(SELECT max(price) FROM rows_of_orders WHERE event_time > TIMESTAMPTZ '2024-02-20')",
    "last_row": "(SELECT epoch(max(event_time)) FROM rows_of_orders)",
}
OVER_ALL_INSTANTS = {"peak": '{sql: "max(spend_10d) OVER ()", over: features, dtype: float64, unit: EUR}'}


def test_features_that_read_more_than_their_rows_are_named(accepted: Path) -> None:
    asked = {name: f'{{sql: "{sql}", dtype: float64, unit: EUR}}' for name, sql in AHEAD.items()}
    result = proof(accepted, {**asked, **OVER_ALL_INSTANTS})
    assert {leak.feature for leak in result.leaks} == {f"spending.{name}" for name in [*AHEAD, *OVER_ALL_INSTANTS]}
    leak = result.leaks[0]
    assert 0 < leak.changed <= leak.compared
    assert "buyer_id b" in leak.example
    assert result.to_dict()["proved"] is False


def test_the_same_seed_gives_the_same_proof(accepted: Path) -> None:
    assert proof(accepted, OVER_ALL_INSTANTS, 1) == proof(accepted, OVER_ALL_INSTANTS, 1)


def test_rows_that_nobody_accepted_yet_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match="validate"):
        prove(parse_plan(PLAN), tmp_path)
