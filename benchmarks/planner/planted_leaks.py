"""A small shop whose plan has sound features and planted leaks, one of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import yaml

from core.plan.file import parse_plan
from tests.feature_repo.accepted_rows import write_accepted

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan

#: SQL, dtype, and more keys of features, by view.
Features: TypeAlias = Mapping[str, Mapping[str, tuple[Any, ...]]]
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
CUT = datetime(2024, 3, 1, tzinfo=UTC)
ORDERS, BUYERS, CLOSED_BEFORE = 600, 48, 40

_PLAN = """
project: {name: shop, problem: binary, statement: "Who stays away?"}
entities:
  buyer: {key: buyer_id, dtype: string, source: orders}
  region: {key: region_name, dtype: string, of: spending.region}
ingest:
  orders:
    reader: {kind: jsonl, path: orders.jsonl}
    entity: buyer
    event_time: {column: bought}
    created_time: {column: told}
    observed_until: "2024-03-01"
    join: {products: product}
    columns:
      buyer_id: {dtype: string}
      bought: {dtype: timestamp}
      told: {dtype: timestamp}
      product: {dtype: string}
      region_name: {dtype: string}
      price: {dtype: float64, unit: EUR}
      returned: {dtype: timestamp}
      reason: {dtype: string}
      stars: {dtype: int64}
      due: {dtype: date}
  visits:
    reader: {kind: jsonl, path: visits.jsonl}
    entity: buyer
    event_time: {column: seen}
    observed_until: "2024-03-01"
    columns:
      buyer_id: {dtype: string}
      seen: {dtype: timestamp}
      loaded_at: {dtype: timestamp}
      pages: {dtype: int64}
  tickets:
    reader: {kind: jsonl, path: tickets.jsonl}
    entity: buyer
    event_time: {column: opened}
    observed_until: "2024-03-01"
    columns:
      buyer_id: {dtype: string}
      opened: {dtype: timestamp}
      updated_at: {dtype: timestamp}
      status: {dtype: string}
  products:
    reader: {kind: jsonl, path: products.jsonl}
    entity: article
    columns: {product: {dtype: string}, withdrawn: {dtype: date}}
  accounts:
    reader: {kind: jsonl, path: accounts.jsonl}
    entity: buyer
    columns: {buyer_id: {dtype: string}, closed: {dtype: date}, closing_reason: {dtype: string}, born: {dtype: date}}
label: {source: orders, horizon: 10d, value: count(*) = 0}
build_features:
  snapshots: {start: "2024-01-01", end: "2024-02-26"}
  views:
    spending: {source: orders, ttl: 10d, every: 1 week, features: {}}
    browsing: {source: visits, ttl: 10d, every: 1 week, features: {}}
    help: {source: tickets, ttl: 10d, every: 1 week, features: {}}
    account: {source: accounts, ttl: 10d, every: 1 week, features: {}}
    regional: {source: orders, entity: region, ttl: 10d, every: 1 week, features: {}}
  services: {all_of_it: [spending.orders]}
training_set:
  service: all_of_it
  as_of: {start: "2024-01-01", end: "2024-02-19", every: 1 week}
  split: {kind: temporal, validation_from: "2024-01-22", test_from: "2024-02-05", gap: 10d}
train:
  seed: 1
  candidates: {majority: {estimator: majority}, rule: {estimator: single_feature, feature: spending.orders}}
evaluate: {primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}, baseline: rule}
register: {model: shop}
materialize: {as_of: "2024-02-26"}
serve:
  {missing: refuse, stale: refuse, experiment: first, salt: pepper, arms: {champion: 1}, decisions: {above: call, below: wait}}
monitor: {psi_alarm: 0.1, parity_sample: 0.5}
"""
#: Features whose values hold whatever comes later, by view.
SOUND: Features = {
    "spending": {
        "orders": ("count(*)", "int64"),
        "region": ("arg_max(region_name, event_time)", "string"),
        "spend_10d": ("coalesce(sum(price), 0)", "float64", {"window": "10d"}),
        "returns_so_far": ("count(*) FILTER (returned <= as_of)", "int64"),
        "last_due": ("epoch(max(due))", "float64"),
        "rank_of_the_day": ("rank() OVER (PARTITION BY as_of ORDER BY spend_10d)", "int64", {"over": "features"}),
    },
    "browsing": {"visits_loaded": ("count(*) FILTER (loaded_at <= as_of)", "int64")},
    "help": {
        "tickets": ("count(*)", "int64"),
        "tickets_as_last_updated": ("count(*) FILTER (updated_at <= as_of)", "int64"),
    },
    "account": {
        "born_in": ("year(born)", "int64"),
    },
    "regional": {"regional_orders": ("count(*)", "int64")},
}
_OF_ALL = "(SELECT {} FROM rows_of_orders)"
_ORDER = "OVER (PARTITION BY buyer_id ORDER BY as_of"
#: Leaks by the view and the feature that has it: SQL, dtype, and more keys.
LEAKS: Features = {
    "spending": {
        "total_of_all_rows": (_OF_ALL.format("sum(price)"), "float64"),
        "share_of_all_rows": (f"sum(price) / {_OF_ALL.format('sum(price)')}", "float64"),
        "scaled_by_all_rows": (f"avg(price) / {_OF_ALL.format('stddev(price)')}", "float64"),
        "clipped_by_all_rows": (_OF_ALL.format("quantile_cont(price, 0.9)"), "float64"),
        "days_before_the_last_row": (_OF_ALL.format("epoch(max(event_time))"), "float64"),
        "encoded_target_of_all_rows": (
            "(SELECT avg(CAST(r.returned IS NOT NULL AS INTEGER)) FROM rows_of_orders r WHERE r.product = 'a')",
            "float64",
        ),
        "rows_told_late": (
            "(SELECT sum(price) FROM rows_of_orders WHERE event_time <= TIMESTAMPTZ '2024-01-29')", "float64",
        ),
        "rows_after_an_instant": (
            "(SELECT max(price) FROM rows_of_orders WHERE event_time > TIMESTAMPTZ '2024-02-20')", "float64",
        ),
        "orders_of_the_label_window": (
            "(SELECT count(*) FROM rows_of_orders r WHERE r.event_time > as_of AND r.event_time <= as_of + INTERVAL 10 DAY)",
            "int64",
        ),
        "day_in_another_zone": (
            "(SELECT count(*) FROM rows_of_orders r WHERE r.event_time <= as_of + INTERVAL 9 HOUR)", "int64",
        ),
        "is_returned_at_all": ("count(*) FILTER (returned IS NOT NULL)", "int64"),
        "days_to_return": ("avg(epoch(returned) - epoch(event_time))", "float64"),
        "broken": ("count(*) FILTER (reason = 'broken')", "int64"),
        "stars_of_the_return": ("sum(stars)", "int64"),
        "look_up_of_today": ("count(*) FILTER (products_withdrawn IS NOT NULL)", "int64"),
        "largest_of_all_instants": ("max(spend_10d) OVER ()", "float64", {"over": "features"}),
        "next_value": (f"lead(spend_10d) {_ORDER})", "float64", {"over": "features"}),
        "centred_mean": (
            f"avg(spend_10d) {_ORDER} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)", "float64", {"over": "features"},
        ),
        "rank_among_all_instants": ("rank() OVER (ORDER BY spend_10d)", "int64", {"over": "features"}),
    },
    "browsing": {"pages_loaded_later": ("sum(pages)", "int64")},
    "help": {"open_by_the_last_update": ("count(*) FILTER (status = 'open')", "int64")},
    "account": {
        "is_closed_today": ("closed IS NOT NULL", "bool"),
        "closed_for_the_price": ("coalesce(closing_reason = 'price', false)", "bool"),
    },
    "regional": {"regional_share_of_all": ("count(*) / (SELECT count(*) FROM rows_of_orders)", "float64")},
}  # fmt: skip


def leak_names() -> list[str]:
    """Return the planted leaks as view.feature."""
    return [f"{view}.{feature}" for view, features in LEAKS.items() for feature in features]


def shop_plan(leaks: Features) -> Plan:
    """Return the plan with the sound features and `leaks`."""
    content = yaml.safe_load(_PLAN)
    content["entities"]["article"] = {"key": "product", "dtype": "string", "source": "products"}
    for name, view in content["build_features"]["views"].items():
        for feature, (sql, dtype, *more) in {**SOUND[name], **leaks.get(name, {})}.items():
            over = {"over": "row"} if name == "account" else {}
            view["features"][feature] = {
                "sql": sql,
                "dtype": dtype,
                "meaning": feature,
                **over,
                **(more[0] if more else {}),
            }
    return parse_plan(yaml.safe_dump(content, sort_keys=False))


def write_shop(folder: Path) -> None:
    """Write the accepted rows of the shop: each fifth order is told late, each third returned after 20 days."""
    n = range(ORDERS)
    bought = [BEGIN + timedelta(hours=2.3 * each) for each in n]
    told = [time + timedelta(days=5 * (each % 5 == 0)) for each, time in zip(n, bought, strict=True)]
    returned = [time + timedelta(days=20) if each % 3 == 0 else None for each, time in zip(n, bought, strict=True)]
    returned = [time if time and time < CUT else None for time in returned]
    buyers = [f"b{each * 7 % BUYERS}" for each in n]
    orders = {
        "buyer_id": buyers,
        "product": ["abc"[each % 3] for each in n],
        "region_name": ["north" if int(buyer[1:]) % 2 else "south" for buyer in buyers],
        "price": [1 + each * 13 % 70 / 10 for each in n],
        "returned": returned,
        "reason": [("broken", "late")[each % 2] if time else None for each, time in zip(n, returned, strict=True)],
        "stars": [each % 5 if time else None for each, time in zip(n, returned, strict=True)],
        "due": [(time + timedelta(days=30)).date() for time in bought],
        "products_withdrawn": [datetime(2024, 2, 10, tzinfo=UTC).date() if each % 3 == 0 else None for each in n],
    }
    _write(folder, "orders", orders, bought, told)
    late = [min(time + timedelta(days=6 * (each % 4 == 0)), CUT) for each, time in zip(n, bought, strict=True)]
    _write(folder, "visits", {"buyer_id": buyers, "loaded_at": late, "pages": [each % 9 for each in n]}, bought, bought)
    status = [("open", "solved")[each % 2] for each in n]
    _write(folder, "tickets", {"buyer_id": buyers, "updated_at": late, "status": status}, bought, bought)
    people = range(BUYERS)
    closed = [(BEGIN + timedelta(days=each)).date() if each % 2 and each < CLOSED_BEFORE else None for each in people]
    accounts = {
        "buyer_id": [f"b{each}" for each in people],
        "closed": closed,
        "closing_reason": [
            ("price", "move")[each % 3 > 0] if day else None for each, day in zip(people, closed, strict=True)
        ],
        "born": [datetime(1960 + each, 5, 17, tzinfo=UTC).date() for each in people],
    }
    always = [datetime(1, 1, 1, tzinfo=UTC)] * BUYERS
    _write(folder, "accounts", accounts, always, always)
    products = {"product": ["a", "b", "c"], "withdrawn": [datetime(2024, 2, 10, tzinfo=UTC).date(), None, None]}
    _write(folder, "products", products, always[:3], always[:3], key="product")


def _write(
    folder: Path,
    source: str,
    columns: Mapping[str, Any],
    happened: list[datetime],
    known: list[datetime],
    key: str = "buyer_id",
) -> None:
    rows = {
        "source_row": list(range(len(happened))),
        **columns,
        "event_timestamp": pa.array(happened, pa.timestamp("us", "UTC")),
        "created_timestamp": pa.array(known, pa.timestamp("us", "UTC")),
    }
    write_accepted(folder, source, key, pa.table(rows))
