"""Rows that end: the column of a source, and the features that respect it."""

from __future__ import annotations

import pytest

from feature_repo.views.definitions import definition_from_json, view_definition
from tests.core.plan.shop_plan import FEATURES, Change, Faults, faults, shop

_ENDS: Change = {"ingest/orders/columns/until": {"dtype": "timestamp"}, "ingest/orders/valid_until": "until"}

FAULTS: Faults = {
    "no column": (
        {"ingest/orders/valid_until": "untl"},
        "ingest.orders.valid_until: 'untl' is not a declared column; ",
    ),
    "a number": (
        {"ingest/orders/valid_until": "price"},
        "ingest.orders.valid_until: 'price' is a float64; expected a timestamp that is kept: ",
    ),
    "a date": (
        {"ingest/orders/valid_until": "day"},
        "ingest.orders.valid_until: 'day' is a date; expected a timestamp ",
    ),
    "a feature's own without a column": (
        {f"{FEATURES}/orders/valid_until": "untl"},
        "build_features.views.history.features.orders.valid_until: 'untl' is not a declared column; ",
    ),
    "a feature over features": (
        {f"{FEATURES}/half/valid_until": "day"},
        "build_features.views.history.features.half: source, window, lag and valid_until select rows, ",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_end_that_makes_no_sense_is_refused(case: str) -> None:
    changes, message = FAULTS[case]
    assert faults(changes)[0].startswith(message)


def test_every_feature_over_the_rows_of_a_source_respects_its_end() -> None:
    features = shop(_ENDS).build_features.views["history"].features
    assert {name: feature.valid_until for name, feature in features.items()} == {
        "orders": "until",
        "shop": "until",
        "half": None,
    }


def test_the_end_is_part_of_the_definition_of_a_view_and_without_one_nothing_changes() -> None:
    without, ends = view_definition(shop(), "history"), view_definition(shop(_ENDS), "history")
    assert without.fingerprint != ends.fingerprint
    assert (
        without.fingerprint
        == view_definition(shop({"ingest/orders/columns/until": {"dtype": "timestamp"}}), "history").fingerprint
    )
    restored = definition_from_json(shop(_ENDS), "history", ends.to_json())
    assert restored is not None
    assert restored.fingerprint == ends.fingerprint
