"""A small plan, and what it becomes by changes of single keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from core.errors import PlanError
from core.plan.file import parse_plan

if TYPE_CHECKING:
    from core.plan.plan import Plan

#: Every section says something, and nothing is wrong.
SHOP = """
project: {name: shop, problem: binary, statement: "Who leaves?"}
entities: {buyer: {key: buyer_id, dtype: int64, source: orders}}
ingest:
  orders:
    reader: {kind: csv, path: orders.csv}
    entity: buyer
    event_time: {column: day}
    observed_until: 2024-01-01
    columns:
      buyer_id: {dtype: int64}
      day: {dtype: date}
      price: {dtype: float64, unit: EUR}
      shop: {dtype: string}
validate:
  orders: {not_null: [price], range: {price: [0, 10]}, pattern: {shop: "[a-z]+"}, max_rejected: 0.1}
label: {source: orders, horizon: 30d, value: count(*) = 0}
build_features:
  snapshots: {start: 2023-01-01, end: 2023-12-01}
  views:
    history:
      source: orders
      ttl: 35d
      every: 1 month
      features:
        orders: {sql: count(*), dtype: int64, meaning: orders so far}
        shop: {sql: max(shop), dtype: string, meaning: last shop by name}
        half: {over: features, sql: orders / 2, dtype: float64, unit: orders}
  services: {all_of_it: [history.*], text_only: [history.shop]}
training_set:
  service: all_of_it
  as_of: {start: 2023-01-01, end: 2023-12-01, every: 1 month}
  split: {kind: temporal, validation_from: 2023-06-01, test_from: 2023-09-01, gap: 30d}
train:
  seed: 1
  candidates:
    majority: {estimator: majority}
    rule: {estimator: single_feature, feature: history.orders}
    trees: {estimator: lightgbm, params: {num_leaves: 7}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: shop}
materialize: {as_of: 2023-12-01}
serve:
  missing: refuse
  stale: refuse
  experiment: first
  salt: pepper
  arms: {champion: 1}
  decisions: {above: call, below: wait}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
#: The path of its features.
FEATURES = "build_features/views/history/features"
#: An entity that its feature `shop` could link to.
LINKED = {"key": "shop_name", "dtype": "string", "of": "history.shop"}

Change = dict[str, Any]
#: By what it is: changes of the plan, and how the one line begins that they give.
Faults = dict[str, tuple[Change, str]]


def changed(changes: Change) -> str:
    """Write SHOP with other values at dotted paths; an Ellipsis takes the key away."""
    raw = yaml.safe_load(SHOP)
    for path, value in changes.items():
        *way, last = path.split("/")
        section = raw
        for key in way:
            section = section[key]
        if value is ...:
            del section[last]
        else:
            section[last] = value
    return str(yaml.safe_dump(raw, sort_keys=False))


def faults(changes: Change) -> list[str]:
    """Give the lines that the changed plan is refused with."""
    with pytest.raises(PlanError) as fault:
        parse_plan(changed(changes))
    return [line.removeprefix("params.yaml: ") for line in str(fault.value).split("\n")]


def shop(changes: Change | None = None) -> Plan:
    """Parse the changed plan."""
    return parse_plan(changed(changes or {}))
