"""What is part of a view's fingerprint: all that changes its values, and nothing that does not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import yaml

from core.plan.file import parse_plan
from feature_repo.views.definitions import (
    declared_definition,
    declared_table,
    definition_from_json,
    earlier_definition,
    view_definition,
)
from tests.core.plan.shop_plan import FEATURES, SHOP, Change, shop
from tests.feature_repo.views.clubs import TEXT

if TYPE_CHECKING:
    from core.plan.plan import Plan

PLAN = parse_plan(TEXT)
ORDERS = "ingest/orders"
HISTORY = "build_features/views/history"

#: By what it is: a change that leaves every value of the view `history` as it was.
SAME: dict[str, Change] = {
    "another meaning": {f"{FEATURES}/orders/meaning": "number of orders so far"},
    "a unit": {f"{FEATURES}/orders/unit": "orders"},
    "words of a source's column": {f"{ORDERS}/columns/shop": {"dtype": "string", "meaning": "the shop"}},
    "the unit of a source's column": {f"{ORDERS}/columns/price/unit": "USD"},
    "blanks in an SQL": {f"{FEATURES}/half/sql": " orders  /\n 2 "},
    "the view's own source named": {f"{FEATURES}/orders/source": "orders"},
    "a cadence in another word": {f"{HISTORY}/every": "1 months"},
    "a duration in other units": {f"{HISTORY}/ttl": "5w"},
    "the own entity named": {f"{HISTORY}/entity": "buyer"},
    "another name of the entity": {
        "entities": {"client": {"key": "buyer_id", "dtype": "int64", "source": "orders"}},
        f"{ORDERS}/entity": "client",
    },
    "a column that the view does not read": {f"{ORDERS}/columns/colour": {"dtype": "string"}},
    "a column kept as personal": {f"{ORDERS}/columns/shop": {"dtype": "string", "pii": "keep"}},
    "where the file lies": {f"{ORDERS}/reader/path": "elsewhere.csv"},
    "how the file is read": {f"{ORDERS}/reader": {"kind": "parquet", "path": "orders.parquet"}},
    "when the extract was cut": {f"{ORDERS}/observed_until": "2024-02-01"},
    "how many rows may be rejected": {"validate/orders/max_rejected": 0.2},
    "other dates of snapshots": {"build_features/snapshots": {"start": "2022-01-01", "end": "2023-12-01"}},
    "another horizon": {"label/horizon": "29d"},
    "another order of features": {
        FEATURES: {
            name: yaml.safe_load(SHOP)["build_features"]["views"]["history"]["features"][name]
            for name in ("shop", "orders", "half")
        }
    },
}

#: By what it is: a change that may change values of the view `history`.
OTHER: dict[str, Change] = {
    "another SQL": {f"{FEATURES}/orders/sql": "count(DISTINCT day)"},
    "blanks in a text of an SQL": {f"{FEATURES}/shop/sql": "coalesce(max(shop), ' ')"},
    "another type": {f"{FEATURES}/orders/dtype": "int32"},
    "a window": {f"{FEATURES}/orders/window": "30d"},
    "a lag": {f"{FEATURES}/orders/lag": "30d"},
    "over features": {
        f"{FEATURES}/half": {"over": "features", "sql": "orders / 3", "dtype": "float64", "unit": "orders"}
    },
    "a feature more": {f"{FEATURES}/price": {"sql": "sum(price)", "dtype": "float64", "unit": "EUR"}},
    "another freshness": {f"{HISTORY}/ttl": "36d"},
    "another cadence": {f"{HISTORY}/every": "2 months"},
    "the zone of the source's times": {f"{ORDERS}/event_time": {"column": "day", "zone": "Europe/Berlin"}},
    "the end of a day": {f"{ORDERS}/event_time": {"column": "day", "at": "end_of_day"}},
    "when a row is known": {f"{ORDERS}/created_time": {"column": "day", "at": "end_of_day"}},
    "the type of a column that it reads": {f"{ORDERS}/columns/shop/dtype": "int64", "validate": {}},
    "another column of the file": {f"{ORDERS}/columns/shop/rename_from": "branch"},
    "a column hashed": {f"{ORDERS}/columns/shop/pii": "hash", "validate/orders/pattern": {}},
    "a rule that rejects rows": {"validate/orders/range": {"price": [0, 11]}},
    "a rule that takes values as missing": {"validate/orders/as_missing": ["shop"]},
    "no rules": {"validate": {}},
    "an end of the entity": {"entities/buyer/until": "ends", "ingest/ends": yaml.safe_load(SHOP)["ingest"]["orders"]},
    "another type of the key": {"entities/buyer/dtype": "string", f"{ORDERS}/columns/buyer_id/dtype": "string"},
}


def fingerprint(changes: Change | None = None) -> str:
    return declared_definition(shop(changes), "history")


@pytest.mark.parametrize("what", SAME)
def test_what_changes_no_value_changes_no_table(what: str) -> None:
    assert fingerprint(SAME[what]) == fingerprint()
    assert declared_table(shop(SAME[what]), "history") == declared_table(shop(), "history")


@pytest.mark.parametrize("what", OTHER)
def test_what_changes_values_makes_another_table(what: str) -> None:
    assert fingerprint(OTHER[what]) != fingerprint()
    assert declared_table(shop(OTHER[what]), "history").name != declared_table(shop(), "history").name


def test_all_that_changes_values_is_told_apart() -> None:
    assert len({fingerprint(changes) for changes in OTHER.values()}) == len(OTHER)


def test_a_feature_of_the_link_that_is_not_the_link_is_no_part_of_a_linked_view() -> None:
    counted = parse_plan(
        TEXT.replace("sql: count(*), dtype: int64, meaning: clubs so far", "sql: count(club), dtype: int64, meaning: x")
    )
    assert declared_definition(counted, "club") == declared_definition(PLAN, "club")


@pytest.mark.parametrize(("plan", "view"), [(shop(), "history"), (PLAN, "club"), (PLAN, "membership")])
def test_a_stored_definition_is_the_same_when_it_is_read(plan: Plan, view: str) -> None:
    definition = view_definition(plan, view)
    read = definition_from_json(plan, view, definition.to_json())
    assert read is not None
    assert (read.fingerprint, read.table, list(read.view.features)) == (
        definition.fingerprint,
        definition.table,
        list(definition.view.features),
    )


def test_a_stored_definition_takes_the_meaning_of_its_sources_from_the_plan_that_is_to_fill_it() -> None:
    stored = view_definition(shop(), "history").to_json()
    moved = definition_from_json(shop({f"{FEATURES}/orders/sql": "2 * count(*)"}), "history", stored)
    assert moved is not None
    assert moved.fingerprint == fingerprint()
    otherwise = definition_from_json(shop(OTHER["the zone of the source's times"]), "history", stored)
    assert otherwise is not None
    assert otherwise.fingerprint not in {fingerprint(), fingerprint({f"{FEATURES}/orders/sql": "2 * count(*)"})}


def test_an_earlier_version_named_a_table_by_all_that_stood_in_its_view() -> None:
    plan = parse_plan(SHOP)
    spans = '"source":null,"window":null,"lag":null'
    features = (
        f'"orders":{{"sql":"count(*)","dtype":"int64",{spans},"over":"rows","unit":"","meaning":"orders so far"}},'
        f'"shop":{{"sql":"max(shop)","dtype":"string",{spans},"over":"rows","unit":"","meaning":"last shop by name"}},'
        f'"half":{{"sql":"orders / 2","dtype":"float64",{spans},"over":"features","unit":"orders","meaning":""}}'
    )
    stated = f'buyer_id int64 {{"source":"orders","ttl":"P35D","every":"1 month","features":{{{features}}}}}'
    assert earlier_definition(plan, "history") == hashlib.sha256(stated.encode()).hexdigest()
