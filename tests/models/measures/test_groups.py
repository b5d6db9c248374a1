"""Groups part the rows as the plan says, and each part is measured on its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from core.plan.evaluate import Group
from models.measures.groups import by_part, grouping
from models.measures.intervals import Resampling
from models.measures.metrics import Observed


def column(values: list[object]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_texts_are_parted_by_value_and_what_is_missing_is_a_part() -> None:
    found = grouping("kind", Group(feature="v.kind"), column(["b", None, "a", "b"]))
    assert found.parts == ("a", "b", "missing")
    assert found.part_index.tolist() == [1, 2, 0, 1]


def test_truths_are_parted_by_value() -> None:
    assert grouping("member", Group(feature="v.member"), column([True, False])).parts == ("False", "True")


def test_an_edge_belongs_to_the_part_above_it() -> None:
    group = Group(feature="v.orders", edges=(2, 5))
    found = grouping("orders", group, column([1.9, 2, 4.9, 5, None]))
    assert [found.parts[index] for index in found.part_index] == ["below 2", "2 to 5", "2 to 5", "from 5", "missing"]


def test_a_part_without_rows_is_left_out() -> None:
    found = grouping("orders", Group(feature="v.orders", edges=(2, 5)), column([7, 8]))
    assert found.parts == ("from 5",)


def test_each_part_is_measured_alone() -> None:
    label = np.tile([0, 1, 1, 0], 40).astype(np.int32)
    score = np.tile([0.1, 0.9, 0.2, 0.8], 40)
    rows = Observed("binary", label, score, np.arange(160) // 2, 0.5)
    kinds = grouping("kind", Group(feature="v.kind"), column(["good", "good", "bad", "bad"] * 40))
    bad, good = by_part(rows, [kinds], ["roc_auc", "log_loss"], Resampling(repeats=100))
    assert (good.part, good.rows, good.entities) == ("good", 80, 40)
    assert (good.measured["roc_auc"].value, bad.measured["roc_auc"].value) == (1, 0)
    assert (good.label_mean, good.score_mean) == pytest.approx((0.5, 0.5))


def test_a_part_of_one_entity_has_values_where_they_are_defined_and_no_interval() -> None:
    rows = Observed("binary", np.array([1, 0, 1], np.int32), np.array([0.9, 0.2, 0.7]), np.array([0, 1, 2]), 0.5)
    kinds = grouping("kind", Group(feature="v.kind"), column(["alone", "many", "many"]))
    alone = by_part(rows, [kinds], ["roc_auc", "brier"], Resampling(repeats=100))[0]
    assert set(alone.measured) == {"brier"}
    assert alone.measured["brier"].value == pytest.approx(0.01)
    assert np.isnan(alone.measured["brier"].lower)
