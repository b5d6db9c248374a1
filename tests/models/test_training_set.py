"""No row of a part of the split has a label that reaches into the next part."""

from __future__ import annotations

import pyarrow as pa
import pytest

from core.errors import PlanError
from core.plan import Label, TemporalSplit, parse_instant
from feature_repo.duck import open_duckdb
from models.labels import label_rows
from models.training_set import check_parts, part_of

SPLIT = TemporalSplit.model_validate(
    {"kind": "temporal", "validation_from": "2024-03-01", "test_from": "2024-06-01", "gap": "30d"}
)


@pytest.mark.parametrize(
    ("as_of", "part"),
    [
        ("2024-01-01", "train"),
        ("2024-01-31", "train"),  # 30 days before 1 March 2024
        ("2024-02-01", "gap"),
        ("2024-02-29", "gap"),
        ("2024-03-01", "validation"),
        ("2024-05-02", "validation"),  # 30 days before 1 June
        ("2024-05-03", "gap"),
        ("2024-06-01", "test"),
        ("2025-01-01", "test"),
    ],
)
def test_the_part_of_an_instant(as_of: str, part: str) -> None:
    assert part_of(SPLIT, parse_instant(as_of)) == part


def test_a_part_with_one_class_is_refused() -> None:
    table = pa.table({"split": ["train", "train", "validation", "validation", "test"], "label": [0, 1, 0, 1, 1]})
    with pytest.raises(PlanError, match="the test part has only the label 1"):
        check_parts(table)


def test_an_empty_part_is_refused() -> None:
    table = pa.table({"split": ["train", "train"], "label": [0, 1]})
    with pytest.raises(PlanError, match="the validation part has no row"):
        check_parts(table)


def labels(value: str) -> list[dict[str, object]]:
    label = Label.model_validate({"source": "s", "horizon": "10d", "value": value})
    times = [parse_instant(day) for day in ("2024-01-01", "2024-01-11", "2024-01-12")]
    with open_duckdb() as connection:
        rows = pa.table({"who": [1, 1, 1], "event_time": times, "created_time": times})
        grid = pa.table({"who": [1, 1], "as_of": [parse_instant("2024-01-01"), parse_instant("2024-01-02")]})
        connection.register("rows", rows)
        connection.register("grid", grid)
        found: list[dict[str, object]] = label_rows(connection, label, "who", "rows", "grid").to_pylist()
    return found


def test_the_label_window_is_open_at_as_of_and_closed_at_the_horizon() -> None:
    assert [row["label"] for row in labels("count(*) = 1")] == [1, 0]
    assert [row["label"] for row in labels("count(*) = 2")] == [0, 1]


def test_a_label_that_is_no_condition_is_refused() -> None:
    with pytest.raises(PlanError, match="'count\\(\\*\\) \\+ 1' gives"):
        labels("count(*) + 1")


def test_a_label_whose_sql_fails_is_refused() -> None:
    with pytest.raises(PlanError, match="label: its SQL fails"):
        labels("sum(nothing) > 0")
