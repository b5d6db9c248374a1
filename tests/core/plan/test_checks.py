"""What the sections of a plan owe to each other, and the line that tells of what one does not give."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.contracts import Link
from core.errors import PlanError
from core.plan.checks import RESERVED, findings
from core.plan.file import parse_plan, read_plan
from tests.core.plan.shop_plan import FEATURES, LINKED, SHOP, Change, Faults, faults, shop

if TYPE_CHECKING:
    from collections.abc import Callable

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

FAULTS: Faults = {
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
        "validate.orders.range.price: [10, 0] is empty; write the lower bound first",
    ),
    "a range of nothing": (
        {"validate/orders/range/price": [float("nan"), 1]},
        "validate.orders.range.price: [nan, 1] has an end that is not a number; leave an end open with null",
    ),
    "a range of texts": (
        {"validate/orders/range/shop": [0, 1]},
        "validate.orders.range.shop: a range needs a number; the column is string",
    ),
    "a pattern of numbers": (
        {"validate/orders/pattern/price": "x"},
        "validate.orders.pattern.price: a pattern needs a string; the column is float64",
    ),
    "a range beyond all": (
        {"validate/orders/range/price": [float("inf"), None]},
        "validate.orders.range.price: [inf, None] is empty; write the lower bound first",
    ),
    "a pattern of another dialect": (
        {"validate/orders/pattern/shop": "(?=a)a"},
        "validate.orders.pattern.shop: '(?=a)a' is not a regular expression: invalid perl operator: (?=; expected RE2 syntax",
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
        "training_set.split.gap: 12 hours is shorter than the 30 days after which a label is known ",
    ),
    "a gap shorter than the label with its lead": (
        {"label/lead": "2d", "ingest/orders/observed_until": "2024-02-01"},
        "training_set.split.gap: 30 days is shorter than the 32 days after which a label is known ",
    ),
    "a label that is known after the extract was cut": (
        {"label/delay": "2d", "training_set/split/gap": "32d"},
        "training_set.as_of.end: the label window of 2023-12-01 closes on 2024-01-02 with its delay, after ",
    ),
    "a split out of order": (
        {"training_set/split/test_from": "2023-05-01"},
        "training_set.split: expected as_of.start < validation_from < test_from <= as_of.end, found ",
    ),
    "a label that is not known yet": (
        {"ingest/orders/observed_until": "2023-12-30"},
        "training_set.as_of.end: the label window of 2023-12-01 closes on 2023-12-31, after ",
    ),
    "a binary problem without decisions": (
        {"serve/decisions": ...},
        "serve.decisions: a binary problem needs the names of its two decisions",
    ),
    "a baseline that is no candidate": (
        {"evaluate/baseline": "ruel"},
        "evaluate.baseline: 'ruel' is not a declared candidate; ",
    ),
    "an attribute that is no feature": (
        {"training_set/attributes": ["history.colour"]},
        "training_set.attributes: 'colour' is not a declared feature of history; ",
    ),
    "a split by the groups of no feature": (
        {"training_set/split": {"kind": "grouped", "by": "history.home"}},
        "training_set.split.by: 'home' is not a declared feature of history; ",
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
        "ingest.orders.columns.buyer_id.pii: hash would take away the key of the entity; use a key",
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


@pytest.mark.parametrize(("changes", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_gives_one_line_that_names_the_key_what_was_found_and_what_is_allowed(
    changes: Change, expected: str
) -> None:
    (line,) = faults(changes)
    assert line.startswith(expected)


def test_the_plan_of_this_checkout_is_sound() -> None:
    plan = read_plan(Path(__file__).parents[3] / "params.yaml")
    assert findings(plan) == []
    assert plan.unit.key == "customer_id"


def test_a_service_may_take_views_of_what_its_entity_is_linked_to() -> None:
    plan = shop(
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


@given(st.sets(st.sampled_from(sorted(DECLARED)), min_size=1))
def test_a_plan_in_which_any_name_is_no_longer_declared_is_refused_without_a_crash(renamed: set[str]) -> None:
    raw = copy.deepcopy(yaml.safe_load(SHOP))
    # Inner names first: a renamed parent would hide them.
    for name in sorted(renamed, key=lambda name: name in {"source", "view"}):
        DECLARED[name](raw)
    with pytest.raises(PlanError, match=r"not a declared|not among the columns"):
        parse_plan(yaml.safe_dump(raw))


def test_reserved_names_are_refused_as_features() -> None:
    for name in RESERVED:
        told = faults({f"{FEATURES}/{name}": {"sql": "count(*)", "dtype": "int64", "unit": "x"}})
        assert told == [
            f"build_features.views.history.features.{name}: this name is the platform's own; choose another"
        ]
