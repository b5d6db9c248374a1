"""The plan: what is accepted, and the line that each fault gives."""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.candidate_checks import OWN_LIGHTGBM
from core.contracts import Link
from core.errors import PlanError
from core.plan_candidates import Train
from core.plan_checks import RESERVED, findings
from core.plan_file import parse_plan, read_plan
from core.plan_section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.plan import Plan

#: A small plan in which every section says something, and nothing is wrong.
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

Change = dict[str, Any]


def _changed(changes: Change) -> str:
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


def _faults(changes: Change) -> list[str]:
    with pytest.raises(PlanError) as fault:
        parse_plan(_changed(changes))
    return [line.removeprefix("params.yaml: ") for line in str(fault.value).split("\n")]


def _shop(changes: Change | None = None) -> Plan:
    return parse_plan(_changed(changes or {}))


def test_the_plan_of_this_checkout_is_sound() -> None:
    plan = read_plan(Path(__file__).parents[2] / "params.yaml")
    assert findings(plan) == []
    assert plan.unit.key == "customer_id"


def test_a_date_is_its_midnight_in_utc() -> None:
    assert _shop().materialize.as_of == datetime(2023, 12, 1, tzinfo=UTC)
    assert _shop({"materialize/as_of": "2023-12-01"}).materialize.as_of == datetime(2023, 12, 1, tzinfo=UTC)


def test_a_time_is_brought_to_utc() -> None:
    plan = _shop({"materialize/as_of": "2023-11-30T01:30:00+02:00"})
    assert plan.materialize.as_of == datetime(2023, 11, 29, 23, 30, tzinfo=UTC)
    assert plan.materialize.as_of.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", timedelta(seconds=45)),
        ("90 m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, expected: timedelta) -> None:
    assert _shop({"build_features/views/history/ttl": text}).build_features.views["history"].ttl == expected


def test_a_service_lists_its_features_in_order_and_once() -> None:
    plan = _shop({"build_features/services/all_of_it": ["history.half", "history.*"]})
    assert plan.build_features.service_features("all_of_it") == (
        ("history", "half"),
        ("history", "orders"),
        ("history", "shop"),
    )


FEATURES = "build_features/views/history/features"
VISITOR = {"key": "visitor_id", "dtype": "int64", "source": "visits"}
VISITS = {
    "reader": {"kind": "csv", "path": "visits.csv"},
    "entity": "visitor",
    "event_time": {"column": "day"},
    "observed_until": "2024-01-01",
    "columns": {"visitor_id": {"dtype": "int64"}, "day": {"dtype": "date"}},
}

TRAFFIC = {
    "source": "visits",
    "ttl": "35d",
    "every": "1 month",
    "features": {"visits": {"sql": "count(*)", "dtype": "int64", "meaning": "visits so far"}},
}
LINKED = {"key": "shop_name", "dtype": "string", "of": "history.shop"}
TRADE = {
    "source": "orders",
    "entity": "shop",
    "ttl": "35d",
    "every": "1 month",
    "features": {
        "buyers": {"sql": "count(DISTINCT buyer_id)", "dtype": "int64", "meaning": "buyers so far"},
        "chain": {"sql": "max('a')", "dtype": "string", "meaning": "chain of the shop"},
    },
}

FAULTS: dict[str, tuple[Change, str]] = {
    "an unknown key": (
        {"train/sed": 1},
        "train: unknown key 'sed'; allowed here: seed, candidates; did you mean 'seed'?",
    ),
    "an unknown section": ({"tarin": {}}, "top level: unknown key 'tarin'; allowed here: project, "),
    "a missing key": ({"train/seed": ...}, "train.seed: this key is missing; add it"),
    "a missing section": ({"register": ...}, "register: this key is missing; add it"),
    "a text for a number": ({"train/seed": "7"}, "train.seed: should be a valid integer, found str '7'"),
    "a number for a text": ({"serve/salt": 7}, "serve.salt: should be a valid string, found int 7"),
    "a list for a mapping": (
        {"ingest/orders/columns": []},
        "ingest.orders.columns: should be a valid dictionary, found list",
    ),
    "a word that is no choice": (
        {"evaluate/threshold/maximise": "f2"},
        "evaluate.threshold.maximise: should be 'f1', 'balanced_accuracy' or 'profit', found str 'f2'",
    ),
    "a share above one": (
        {"validate/orders/max_rejected": 1.5},
        "validate.orders.max_rejected: should be less than or equal to 1, found float 1.5",
    ),
    "a share that is not a number": (
        {"validate/orders/max_rejected": float("nan")},
        "validate.orders.max_rejected: should be a finite number, found float nan",
    ),
    "a name with a capital": (
        {"entities/Buyer": {"key": "k", "dtype": "int64", "source": "orders"}},
        "entities.Buyer: String should match pattern '^[a-z][a-z0-9_]*$', found str 'Buyer'",
    ),
    "a reader without a kind": (
        {"ingest/orders/reader": {"path": "x"}},
        "ingest.orders.reader: the key 'kind' is missing; add it",
    ),
    "a reader of no kind": (
        {"ingest/orders/reader": {"kind": "excel"}},
        "ingest.orders.reader: 'kind' should be one of 'csv', 'jsonl', 'parquet', 'sql', 'wheel', found 'excel'",
    ),
    "a reader without a path": (
        {"ingest/orders/reader": {"kind": "csv"}},
        "ingest.orders.reader.path: this key is missing; add it",
    ),
    "an unknown key of a reader": (
        {"ingest/orders/reader/delimeter": ";"},
        "ingest.orders.reader: unknown key 'delimeter'; allowed here: kind, path, ",
    ),
    "an unknown key of a candidate": (
        {"train/candidates/trees/round": 5},
        "train.candidates.trees: unknown key 'round'; allowed here: estimator, ",
    ),
    "a day that is none": (
        {"materialize/as_of": "2023-11-31"},
        "materialize.as_of: '2023-11-31' is not a date like 1998-04-01 or a time like 1998-04-01T12:00:00Z",
    ),
    "a time without a zone": (
        {"materialize/as_of": "2023-11-30T12:00:00"},
        "materialize.as_of: 2023-11-30T12:00:00 has no time zone; write it with one, as in 1998-04-01T12:00:00Z",
    ),
    "a number for a time": ({"materialize/as_of": 2023}, "materialize.as_of: 2023 is not a date or a time"),
    "a time that no tool can hold": (
        {"ingest/orders/observed_until": "9999-12-31"},
        "ingest.orders.observed_until: 9999-12-31 is outside the years 1700 to 2199",
    ),
    "a number for a duration": (
        {"label/horizon": 30},
        "label.horizon: 30 is not a duration like 90d; the units are s, m, h, d and w",
    ),
    "a duration of nothing": ({"label/horizon": "0d"}, "label.horizon: '0d' is not a duration like 90d"),
    "a duration beyond all bounds": (
        {"label/horizon": "9" * 5000 + "d"},
        "label.horizon: '99999999999999999999' is longer than 36525 days",
    ),
    "a cadence in hours": (
        {"build_features/views/history/every": "1 hour"},
        "build_features.views.history.every: String should match",
    ),
    "a time zone that is none": (
        {"ingest/orders/event_time/zone": "Europe/Atlantis"},
        "ingest.orders.event_time.zone: 'Europe/Atlantis' is not a time zone like Europe/Berlin",
    ),
    "a feature without a meaning": (
        {f"{FEATURES}/orders": {"sql": "count(*)", "dtype": "int64"}},
        "build_features.views.history.features.orders: a feature needs a unit or a meaning",
    ),
    "a window over features": (
        {f"{FEATURES}/half/window": "3d"},
        "build_features.views.history.features.half: source, window and lag choose rows; a feature over ",
    ),
    "a period that ends before it starts": (
        {"build_features/snapshots/end": "2022-01-01"},
        "build_features.snapshots: end 2022-01-01 is before start 2023-01-01",
    ),
    "a primary metric that is not measured": (
        {"evaluate/primary": "brier"},
        "evaluate: primary 'brier' is not among the metrics ['roc_auc']",
    ),
    "a threshold that says two things": (
        {"evaluate/threshold": {"maximise": "f1", "at": 0.5}},
        "evaluate.threshold: a threshold says either what to maximise or the number it is at",
    ),
    "profit without money": (
        {"evaluate/threshold": {"maximise": "profit"}},
        "evaluate: profit needs the key money, which says what a decision earns",
    ),
    "arms without a weight": ({"serve/arms": {"champion": 0}}, "serve: the weights of the arms sum to 0"),
    "an arm of no such role": (
        {"serve/arms": {"winner": 1}},
        "serve.arms.winner: should be 'champion' or 'challenger', found str 'winner'",
    ),
    "a single candidate": (
        {"train/candidates": {"majority": {"estimator": "majority"}}},
        "train.candidates: Dictionary should have at least 2 items after validation, not 1",
    ),
    # From here on, what sections owe to each other.
    "an entity of no source": (
        {"entities/buyer/source": "order"},
        "entities.buyer.source: 'order' is not a declared source; allowed here: orders; did you mean 'orders'?",
    ),
    "an end of no source": (
        {"entities/buyer/until": "leaves"},
        "entities.buyer.until: 'leaves' is not a declared source; allowed here: orders",
    ),
    "a source of no entity": (
        {"ingest/orders/entity": "byer"},
        "ingest.orders.entity: 'byer' is not a declared entity; allowed here: buyer",
    ),
    "a reserved column": (
        {"ingest/orders/columns/as_of": {"dtype": "date"}},
        "ingest.orders.columns.as_of: this name is the platform's own; declare another with rename_from",
    ),
    "a time column that is not there": (
        {"ingest/orders/event_time/column": "dya"},
        "ingest.orders.event_time.column: 'dya' is not a declared column; ",
    ),
    "a created time that is not there": (
        {"ingest/orders/created_time": {"column": "dya"}},
        "ingest.orders.created_time.column: 'dya' is not a declared column; ",
    ),
    "a source without its key": (
        {"ingest/orders/columns/buyer_id": ...},
        "ingest.orders.columns: the key 'buyer_id' of the entity 'buyer' is not among the columns",
    ),
    "a key of another dtype": (
        {"ingest/orders/columns/buyer_id/dtype": "int32"},
        "ingest.orders.columns.buyer_id.dtype: int32 is not the dtype of the entity's key, int64",
    ),
    "rules for no source": ({"validate/order": {}}, "validate.order: 'order' is not a declared source; "),
    "a rule for no column": (
        {"validate/orders/not_null": ["prize"]},
        "validate.orders.not_null: 'prize' is not a declared column; ",
    ),
    "a range upside down": (
        {"validate/orders/range/price": [10, 0]},
        "validate.orders.range.price: [10.0, 0.0] is empty; write the lower bound first",
    ),
    "a range of nothing": (
        {"validate/orders/range/price": [float("nan"), 1]},
        "validate.orders.range.price: [nan, 1.0] is empty; ",
    ),
    "a range of texts": (
        {"validate/orders/range/shop": [0, 1]},
        "validate.orders.range.shop: a range needs a number; the column is string",
    ),
    "a pattern of numbers": (
        {"validate/orders/pattern/price": "x"},
        "validate.orders.pattern.price: a pattern needs a string; the column is float64",
    ),
    "a pattern that is none": (
        {"validate/orders/pattern/shop": "["},
        "validate.orders.pattern.shop: '[' is not a regular expression: ",
    ),
    "a rule that may lose the key": (
        {"validate/orders/as_missing": ["buyer_id"]},
        "validate.orders.as_missing: 'buyer_id' must have a value in every row; ",
    ),
    "a rule that asks for a value and takes it away": (
        {"validate/orders/as_missing": ["price"]},
        "validate.orders.as_missing: 'price' must have a value in every row; ",
    ),
    "a view of no source": (
        {"build_features/views/history/source": "ordres"},
        "build_features.views.history.source: 'ordres' is not a declared source; ",
    ),
    "a feature of no source": (
        {f"{FEATURES}/orders/source": "ordres"},
        "build_features.views.history.features.orders.source: 'ordres' is not a declared source; ",
    ),
    "a feature of another entity's source": (
        {"ingest/visits": VISITS, "entities/visitor": VISITOR, f"{FEATURES}/orders/source": "visits"},
        "build_features.views.history.features.orders.source: 'visits' has rows of the entity 'visitor', ",
    ),
    "a view of no entity": (
        {"build_features/views/history/entity": "byer"},
        "build_features.views.history.entity: 'byer' is not a declared entity; allowed here: buyer",
    ),
    "a view of an entity that nothing belongs to": (
        {
            "ingest/visits": VISITS,
            "entities/visitor": VISITOR,
            "build_features/views/traffic": {**TRAFFIC, "source": "orders", "entity": "visitor"},
        },
        "build_features.views.traffic.source: 'orders' has rows of the entity 'buyer', the view is about 'visitor'; ",
    ),
    "an entity that nothing tells of": (
        {"entities/shop": {"key": "shop_name", "dtype": "string"}},
        "entities.shop: an entity needs source, whose rows tell when it exists, or of, the feature that holds its key",
    ),
    "an end without a beginning": (
        {"entities/shop": {**LINKED, "until": "orders"}},
        "entities.shop: until tells of an end; it needs source, which tells of the beginning",
    ),
    "a link that is no feature": (
        {"entities/shop": {**LINKED, "of": "history"}},
        "entities.shop.of: String should match pattern",
    ),
    "a link in no view": (
        {"entities/shop": {**LINKED, "of": "histori.shop"}},
        "entities.shop.of: 'histori' is not a declared view; allowed here: history; did you mean 'history'?",
    ),
    "a link in no feature": (
        {"entities/shop": {**LINKED, "of": "history.shops"}},
        "entities.shop.of: 'shops' is not a declared feature of history; ",
    ),
    "a link of another dtype": (
        {"entities/shop": {**LINKED, "dtype": "int64"}},
        "entities.shop.of: history.shop is string, the key of the entity is int64; declare them alike",
    ),
    "a link to what is predicted": (
        {"entities/buyer/of": "history.orders"},
        "entities.buyer.of: 'buyer' is what is predicted, so nothing links to it; take the key out",
    ),
    "a link from a linked entity": (
        {
            "entities/shop": LINKED,
            "entities/chain": {"key": "chain_name", "dtype": "string", "of": "trade.chain"},
            "build_features/views/trade": TRADE,
        },
        "entities.chain.of: the view 'trade' is about 'shop'; a link starts at what is predicted, 'buyer', and links are not ",
    ),
    "a link with another entity's key": (
        {"entities/shop": {**LINKED, "key": "visitor_id"}, "ingest/visits": VISITS, "entities/visitor": VISITOR},
        "entities.shop.key: 'visitor_id' is the key of 'visitor' too; a linked entity needs its own",
    ),
    "a linked view of rows of a third entity": (
        {
            "entities/shop": LINKED,
            "ingest/visits": VISITS,
            "entities/visitor": VISITOR,
            "build_features/views/trade": {**TRADE, "source": "visits"},
        },
        "build_features.views.trade.source: 'visits' has rows of the entity 'visitor'; expected 'shop' or 'buyer'",
    ),
    "a row's own key of another dtype": (
        {
            "entities/shop": LINKED,
            "build_features/views/trade": TRADE,
            "ingest/orders/columns/shop_name": {"dtype": "int64"},
        },
        "build_features.views.trade.source: its column 'shop_name' is int64, the key of the entity 'shop' is string",
    ),
    "a service over an entity without a link": (
        {
            "ingest/visits": VISITS,
            "entities/visitor": VISITOR,
            "build_features/views/traffic": TRAFFIC,
            "build_features/services/all_of_it": ["history.*", "traffic.*"],
        },
        (
            "build_features.services.all_of_it: the view 'traffic' is about 'visitor', but what is predicted is 'buyer': "
            "say which feature of 'buyer' holds its key (entities.visitor.of: view.feature), or take the view out"
        ),
    ),
    "an attribute of an entity without a link": (
        {
            "ingest/visits": VISITS,
            "entities/visitor": VISITOR,
            "build_features/views/traffic": TRAFFIC,
            "training_set/attributes": ["traffic.visits"],
        },
        "training_set.attributes: the view 'traffic' is about 'visitor', but what is predicted is 'buyer': ",
    ),
    "a feature with the key's name": (
        {f"{FEATURES}/buyer_id": {"sql": "count(*)", "dtype": "int64", "unit": "x"}},
        "build_features.views.history.features.buyer_id: this name is the platform's own; choose another",
    ),
    "a name with two underscores": (
        {f"{FEATURES}/a__b": {"sql": "count(*)", "dtype": "int64", "unit": "x"}},
        "build_features.views.history: 'a__b' has two underscores in a row; views and features have none",
    ),
    "a service of no view": (
        {"build_features/services/all_of_it": ["histroy.*"]},
        "build_features.services.all_of_it: 'histroy' is not a declared view; ",
    ),
    "a service of a whole view without the star": (
        {"build_features/services/all_of_it": ["history"]},
        "build_features.services.all_of_it: '' is not a declared feature of history; ",
    ),
    "a service of no feature": (
        {"build_features/services/all_of_it": ["history.order"]},
        "build_features.services.all_of_it: 'order' is not a declared feature of history; ",
    ),
    "a label of no source": ({"label/source": "ordres"}, "label.source: 'ordres' is not a declared source; "),
    "a training set of no service": (
        {"training_set/service": "all"},
        "training_set.service: 'all' is not a declared feature service; ",
    ),
    "a gap shorter than the label": (
        {"training_set/split/gap": "12h"},
        "training_set.split.gap: 12:00:00 is shorter than the label's horizon of 30 days, 0:00:00: ",
    ),
    "a split out of order": (
        {"training_set/split/test_from": "2023-05-01"},
        "training_set.split: expected as_of.start < validation_from < test_from <= as_of.end, found ",
    ),
    "a label that is not known yet": (
        {"ingest/orders/observed_until": "2023-12-30"},
        "training_set.as_of.end: the label window of 2023-12-01 closes on 2023-12-31, after ",
    ),
    "a rule on no feature": (
        {"train/candidates/rule/feature": "history.order"},
        "train.candidates.rule.feature: 'history.order' is not a declared feature of all_of_it; ",
    ),
    "a rule on a text": (
        {"train/candidates/rule/feature": "history.shop"},
        "train.candidates.rule.feature: history.shop is a string; the rule needs a number",
    ),
    "a regression without a column": (
        {
            "training_set/service": "text_only",
            "train/candidates": {
                "majority": {"estimator": "majority"},
                "line": {"estimator": "logistic_regression", "categorical": ["leave_out"]},
            },
            "evaluate/baseline": "majority",
        },
        "train.candidates.line: the service 'text_only' has no feature that it takes; see its numeric, ",
    ),
    "a LightGBM parameter of the platform": (
        {"train/candidates/trees/params/n_jobs": 4},
        "train.candidates.trees.params.n_jobs: the platform sets this parameter itself; take it out",
    ),
    "a step that there is not": (
        {"train/candidates/trees/numeric": ["standard_scael"]},
        "train.candidates.trees.numeric.0: 'step' should be one of 'leave_out', 'impute_mean', ",
    ),
    "a parameter of a step that there is not": (
        {"train/candidates/trees/numeric": [{"step": "winsorise", "low": 0.1}]},
        "train.candidates.trees.numeric.0: unknown key 'low'; allowed here: step, lower, upper; did you mean 'lower'?",
    ),
    "a winsorising upside down": (
        {"train/candidates/trees/numeric": [{"step": "winsorise", "lower": 0.9, "upper": 0.1}]},
        "train.candidates.trees.numeric.0: lower 0.9 is not below upper 0.1",
    ),
    "a step beside leave_out": (
        {"train/candidates/trees/numeric": ["leave_out", "log"]},
        "train.candidates.trees.numeric: leave_out stands alone: ",
    ),
    "an order of no feature": (
        {"train/candidates/trees/categorical": [{"step": "ordinal", "order": {"history.half": ["a"]}}]},
        "train.candidates.trees.categorical: ordinal.order: 'history.half' is no string feature; allowed here: history.shop",
    ),
    "levels that do not become numbers": (
        {"train/candidates/rule": {"estimator": "mlp", "categorical": ["impute_mode"]}},
        "train.candidates.rule.categorical: no step makes history.shop a number; add one_hot, ",
    ),
    "a text step without a text": (
        {"train/candidates/trees/text": ["tfidf"]},
        "train.candidates.trees.text: the service 'all_of_it' has no feature of the dtype text",
    ),
    "a blend of what is no candidate": (
        {"train/candidates/both": {"estimator": "blend", "of": ["trees", "rules"]}},
        "train.candidates.both.of: 'rules' is not a candidate that stands by itself; allowed here: ",
    ),
    "a blend with too few weights": (
        {"train/candidates/both": {"estimator": "blend", "of": ["trees", "rule"], "weights": [1]}},
        "train.candidates.both.weights: there are 1 weights for 2 candidates",
    ),
    "a regression for classes": (
        {"train/candidates/line": {"estimator": "linear_regression"}},
        "train.candidates.line.estimator: it predicts numbers; for a binary problem write logistic_regression",
    ),
    "a binary problem without decisions": (
        {"serve/decisions": ...},
        "serve.decisions: a binary problem needs the names of its two decisions",
    ),
    "a search for no key": (
        {"train/candidates/trees/tune": {"search": {"round": {"low": 1, "high": 9}}}},
        "train.candidates.trees.tune.search.round: 1 is not allowed there: ",
    ),
    "a search outside of what is allowed": (
        {"train/candidates/trees/tune": {"search": {"rounds": {"low": 0, "high": 9}}}},
        "train.candidates.trees.tune.search.rounds: 0 is not allowed there: Input should be greater than or equal to 1",
    ),
    "a search for a parameter of the platform": (
        {"train/candidates/trees/tune": {"search": {"params.n_jobs": {"values": [4]}}}},
        "train.candidates.trees.params.n_jobs: the platform sets this parameter itself; take it out",
    ),
    "a grid over a range": (
        {"train/candidates/trees/tune": {"sampler": "grid", "search": {"rounds": {"low": 1, "high": 9}}}},
        "train.candidates.trees.tune: a grid needs the values of rounds one by one, as in {values: [1, 2]}",
    ),
    "a range of nothing to search": (
        {"train/candidates/trees/tune": {"search": {"rounds": {"low": 9, "high": 1}}}},
        "train.candidates.trees.tune.search.rounds: low 9 is not below high 1",
    ),
    "a baseline that is no candidate": (
        {"evaluate/baseline": "ruel"},
        "evaluate.baseline: 'ruel' is not a declared candidate; ",
    ),
    "an attribute that is no feature": (
        {"training_set/attributes": ["history.colour"]},
        "training_set.attributes: 'colour' is not a declared feature of history; ",
    ),
    "a group of an unknown column": (
        {"evaluate/groups": {"city": {"feature": "history.city"}}},
        "evaluate.groups.city.feature: 'history.city' is not a declared feature of all_of_it, or attribute of training_set; ",
    ),
    "a group of numbers without edges": (
        {"evaluate/groups": {"busy": {"feature": "history.orders"}}},
        "evaluate.groups.busy.edges: history.orders is a int64; edges belong to numbers, and those need them",
    ),
    "a group of texts with edges": (
        {"evaluate/groups": {"place": {"feature": "history.shop", "edges": [1]}}},
        "evaluate.groups.place.edges: history.shop is a string; edges belong to numbers, and those need them",
    ),
    "edges that do not ascend": (
        {"evaluate/groups": {"busy": {"feature": "history.orders", "edges": [2, 1]}}},
        "evaluate.groups.busy: the edges [2.0, 1.0] must ascend",
    ),
    "fairness between no group": (
        {"evaluate/fairness": {"groups": ["sex"]}},
        "evaluate.fairness.groups: 'sex' is not a declared group; ",
    ),
    "a metric of another problem": (
        {"evaluate/metrics": ["roc_auc", "rmse"]},
        "evaluate.metrics: 'rmse' is not a declared metric of a binary problem; ",
    ),
    "a decision without a threshold": (
        {"evaluate/threshold": ...},
        "evaluate.threshold: this key is missing; a binary problem decides by a threshold, say {maximise: f1}",
    ),
    "a materialization outside the snapshots": (
        {"materialize/as_of": "2024-01-01"},
        "materialize.as_of: 2024-01-01 is outside build_features.snapshots, 2023-01-01 to 2023-12-01",
    ),
    "training before the first snapshot": (
        {"training_set/as_of/start": "2022-01-01"},
        "training_set.as_of.start: 2022-01-01 is before the first snapshot, 2023-01-01",
    ),
    "a key that is hashed away": (
        {"ingest/orders/columns/buyer_id/pii": "hash"},
        "ingest.orders.columns.buyer_id.pii: hash would take away the key of the entity; give the source a key",
    ),
    "an event time that is removed": (
        {"ingest/orders/columns/day/pii": "remove"},
        "ingest.orders.columns.day.pii: remove would take away the event time",
    ),
    "a hash of a number": (
        {"ingest/orders/columns/born": {"dtype": "int32", "pii": "hash"}},
        "ingest.orders.columns.born.pii: a hash is a text, the column is declared as int32; declare it as string",
    ),
    "a rule over what is removed": (
        {"ingest/orders/columns/name": {"dtype": "string", "pii": "remove"}, "validate/orders/not_null": ["name"]},
        "validate.orders.not_null: 'name' is removed when it is ingested, so no rule can see it",
    ),
    "a rule over what is hashed": (
        {"ingest/orders/columns/shop/pii": "hash"},
        "validate.orders.pattern: 'shop' is hashed when it is ingested, so no rule can see what it says",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_gives_one_line_that_names_the_key_what_was_found_and_what_is_allowed(fault: str) -> None:
    changes, expected = FAULTS[fault]
    faults = _faults(changes)
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)


def test_faults_in_several_places_are_told_at_once() -> None:
    assert [line.split(":")[0] for line in _faults({"train/seed": "7", "serve/salt": 7})] == [
        "train.seed",
        "serve.salt",
    ]


def test_two_unknown_keys_of_a_section_are_both_named() -> None:
    (line,) = _faults({"train/sed": 1, "train/candidate": {}})
    assert "unknown key 'sed'" in line
    assert "unknown key 'candidate'" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping of sections, found NoneType"),
        ("- project", "expected a mapping of sections, found list"),
        ("project: [", "not valid YAML: while parsing a flow node"),
        ("a: 1\nb: 2\na: 3", "not valid YAML: the key 'a' stands here and in line 1; keep one in line 3, column 1"),
        ("project: {name: a, name: b}", "not valid YAML: the key 'name' stands here and in line 1; keep one"),
        ("? [a]\n: 1", "not valid YAML: a key must be a word in line 1, column 3"),
        ("as_of: 1998-13-45", "not valid YAML: month must be in 1..12"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML: could not determine a constructor"),
        ("[" * 5000, "not valid YAML: "),
    ],
)
def test_a_text_that_is_no_plan_gives_one_line(text: str, expected: str) -> None:
    with pytest.raises(PlanError) as fault:
        parse_plan(text)
    assert str(fault.value).startswith(f"params.yaml: {expected}")
    assert "\n" not in str(fault.value)


def test_an_absent_plan_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"there is no plan here; run in the project's folder or set PANTHERA_PLAN"):
        read_plan(tmp_path / "params.yaml")


def test_a_folder_or_binary_in_place_of_the_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="the plan cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="the plan cannot be read"):
        read_plan(tmp_path / "params.yaml")


def test_a_range_may_be_open() -> None:
    assert _shop({"validate/orders/range/price": [0, float("inf")]}).validate_["orders"].range["price"][1] == float(
        "inf"
    )


def _sections(section: Section) -> Iterator[Section]:
    yield section
    for name in type(section).model_fields:
        value = getattr(section, name)
        for part in value.values() if isinstance(value, dict) else [value]:
            if isinstance(part, Section):
                yield from _sections(part)


def test_no_section_of_a_plan_can_be_changed() -> None:
    sections = list(_sections(_shop()))
    assert len(sections) > 20
    for section in sections:
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, getattr(section, name))


def test_the_same_text_gives_the_same_plan() -> None:
    assert _shop() == _shop()


def _rename(where: tuple[str, ...], key: str) -> Callable[[Any], None]:
    def rename(raw: Any) -> None:
        section = raw
        for step in where:
            section = section[step]
        section[f"{key}x"] = section.pop(key)

    return rename


#: Every place that declares a name which another section uses.
DECLARED = {
    "entity": _rename(("entities",), "buyer"),
    "source": _rename(("ingest",), "orders"),
    "key": _rename(("ingest", "orders", "columns"), "buyer_id"),
    "time": _rename(("ingest", "orders", "columns"), "day"),
    "column": _rename(("ingest", "orders", "columns"), "price"),
    "view": _rename(("build_features", "views"), "history"),
    "feature": _rename(("build_features", "views", "history", "features"), "orders"),
    "service": _rename(("build_features", "services"), "all_of_it"),
    "candidate": _rename(("train", "candidates"), "rule"),
}


def test_a_service_may_take_views_of_what_its_entity_is_linked_to() -> None:
    plan = _shop(
        {
            "entities/shop": LINKED,
            "build_features/views/trade": TRADE,
            "build_features/services/all_of_it": ["history.*", "trade.buyers"],
            "training_set/attributes": ["trade.chain"],
        }
    )
    views = plan.build_features.views
    assert [plan.entity_name(views[name]) for name in ("history", "trade")] == ["buyer", "shop"]
    assert plan.link_of(views["history"]) is None
    assert plan.link_of(views["trade"]) == Link("history", "shop", "buyer_id", "shop_name", "string")


@given(st.sets(st.sampled_from(sorted(DECLARED)), min_size=1))
def test_a_plan_in_which_any_name_is_no_longer_declared_is_refused_without_a_crash(renamed: set[str]) -> None:
    raw = copy.deepcopy(yaml.safe_load(SHOP))
    # Inner names first: a renamed parent would hide them.
    for name in sorted(renamed, key=lambda name: name in {"source", "view"}):
        DECLARED[name](raw)
    with pytest.raises(PlanError, match=r"not a declared|not among the columns"):
        parse_plan(yaml.safe_dump(raw))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(
        [
            "project",
            "ingest",
            "label",
            "train",
            "train/candidates",
            "serve/arms",
            "validate/orders",
            "ingest/orders/reader",
            "build_features/views",
            FEATURES,
            "materialize/as_of",
        ]
    ),
)
def test_whatever_stands_in_a_section_a_plan_is_accepted_or_refused_and_nothing_else(value: object, path: str) -> None:
    with suppress(PlanError):
        parse_plan(_changed({path: value}))


def test_reserved_names_are_refused_as_features() -> None:
    for name in RESERVED:
        faults = _faults({f"{FEATURES}/{name}": {"sql": "count(*)", "dtype": "int64", "unit": "x"}})
        assert faults == [
            f"build_features.views.history.features.{name}: this name is the platform's own; choose another"
        ]


def test_a_steps_name_stands_for_the_step_with_its_defaults() -> None:
    short, long = (
        _shop({"train/candidates/trees/numeric": [step]}).train.candidates["trees"]
        for step in ("impute_median", {"step": "impute_median", "indicator": False})
    )
    assert short == long


@pytest.mark.parametrize("kind", ["stratified", "grouped"])
def test_a_split_may_be_of_folds(kind: str) -> None:
    assert _shop({"training_set/split": {"kind": kind, "folds": 4}}).training_set.split.kind == kind


def test_lightgbm_knows_no_other_name_for_a_parameter_that_the_platform_sets() -> None:
    aliases = lightgbm.basic._ConfigAliases
    for name in OWN_LIGHTGBM:
        assert aliases.get(name) <= OWN_LIGHTGBM, aliases.get(name) - OWN_LIGHTGBM


def test_the_candidates_of_the_readme_are_read() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = re.findall(r"^```yaml\n(train:.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert list(Train.model_validate(yaml.safe_load(block)["train"]).candidates) == [
        "majority",
        "logistic",
        "trees",
        "both",
    ]
