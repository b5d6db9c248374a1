"""No row of a part of the split has a label that reaches into the next part."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from core.errors import PlanError
from core.plan.times import parse_instant
from core.plan.training_set import GroupedSplit, Label, StratifiedSplit, TemporalSplit
from feature_repo.files.duck import open_duckdb
from models.data.labels import label_rows, row_labels
from models.data.parts import part_of, parts_of
from models.training_set import check_parts

if TYPE_CHECKING:
    from core.plan.plan import Problem
    from core.plan.training_set import Split

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


def test_an_order_needs_training_rows_of_all_classes() -> None:
    table = pa.table({"split": ["train"] * 2 + ["validation"] * 2 + ["test"] * 2, "label": ["a", "b"] * 3})
    assert check_parts(table, "multiclass", ["b", "a"])["train"] == 2
    with pytest.raises(PlanError, match=r"label.order: the train part has no row of the class 'c'"):
        check_parts(table, "multiclass", ["a", "b", "c"])


def test_a_class_that_is_not_in_the_order_is_refused() -> None:
    assert {row["label"] for row in labels("'b'", "multiclass", order=["a", "b"])} == {"b"}
    with pytest.raises(PlanError, match=r"label.value: .* gives 'c', which is not in label.order \(a, b\)"):
        labels("'c'", "multiclass", order=["a", "b"])


def labels(
    value: str, problem: Problem = "binary", unlabelled: str = "refuse", **more: str | list[str]
) -> list[dict[str, object]]:
    label = Label.model_validate({"source": "s", "horizon": "10d", "value": value, "unlabelled": unlabelled, **more})
    times = [parse_instant(day) for day in ("2024-01-01", "2024-01-11", "2024-01-12")]
    with open_duckdb() as connection:
        rows = pa.table({"who": [1, 1, 1], "event_time": times, "created_time": times})
        grid = pa.table({"who": [1, 1], "as_of": [parse_instant("2024-01-01"), parse_instant("2024-01-02")]})
        connection.register("rows", rows)
        connection.register("grid", grid)
        found: list[dict[str, object]] = label_rows(connection, label, "who", "rows", "grid", problem).to_pylist()
    return found


def test_the_label_window_is_open_at_as_of_and_closed_at_the_horizon() -> None:
    assert [row["label"] for row in labels("count(*) = 1")] == [1, 0]
    assert [row["label"] for row in labels("count(*) = 2")] == [0, 1]


def test_the_label_window_begins_after_the_lead() -> None:
    # As of 1 January: after the 10th up to the 20th. As of the 2nd: after the 11th up to the 21st.
    assert [row["label"] for row in labels("count(*)", "regression", lead="9d")] == [2, 1]
    assert [row["label"] for row in labels("count(*)", "regression", lead="9d", delay="30d")] == [2, 1]


def test_a_label_that_is_no_condition_is_refused() -> None:
    with pytest.raises(PlanError, match="'count\\(\\*\\) \\+ 1' gives"):
        labels("count(*) + 1")


def test_a_label_whose_sql_fails_is_refused() -> None:
    with pytest.raises(PlanError, match="label: its SQL fails"):
        labels("sum(nothing) > 0")


TWO = ("2024-01-01", "2024-01-11")


def labels_of_rows(label: dict[str, str], rows: list[tuple[int, str, str, bool]]) -> list[dict[str, object]]:
    """Label the rows (who, day it happened, day it became known, value) as of when they became known."""
    stated = Label.model_validate({"source": "s", **label})
    who, happened, known, values = zip(*rows, strict=True)
    with open_duckdb() as connection:
        times = {"event_time": list(map(parse_instant, happened)), "created_time": list(map(parse_instant, known))}
        connection.register("rows", pa.table({"who": who, **times, "bad": values}))
        connection.execute("CREATE TABLE grid AS SELECT DISTINCT who, created_time AS as_of FROM rows")
        found: list[dict[str, object]] = row_labels(connection, stated, "who", "rows", "grid", "binary").to_pylist()
    return found


def test_a_label_in_the_row_is_that_of_the_row_that_became_known_then() -> None:
    of_row = Label(source="s", column="bad").model_copy(update={"horizon": timedelta()})
    rows = [(1, TWO[0], TWO[0], True), (1, TWO[0], TWO[1], False), (2, TWO[1], TWO[1], True)]
    found = labels_of_rows(of_row.model_dump(exclude_none=True), rows)
    assert [(row["who"], row["label"]) for row in found] == [(1, 1), (1, 0), (2, 1)]


def test_rows_of_one_entity_at_one_instant_need_one_label() -> None:
    of_row = Label(source="s", column="bad").model_copy(update={"horizon": timedelta()}).model_dump(exclude_none=True)
    assert len(labels_of_rows(of_row, [(1, TWO[0], TWO[0], True)] * 2)) == 1
    with pytest.raises(
        PlanError, match=r"label\.column: at 1 of 1 instants several rows of one who have different labels"
    ):
        labels_of_rows(of_row, [(1, TWO[0], TWO[0], True), (1, TWO[0], TWO[0], False)])


def test_a_label_of_later_rows_looks_from_the_instant_of_each_row() -> None:
    later = {"horizon": "10d", "value": "count(*) > 0", "population": "count(*) >= 2"}
    rows = [
        (1, "2024-01-01", "2024-01-01", True),
        (1, "2024-01-05", "2024-01-05", True),
        (1, "2024-01-15", "2024-01-15", True),
    ]
    assert [row["label"] for row in labels_of_rows(later, rows)] == [1, 0]


def _drawn(split: Split, problem: Problem = "binary") -> tuple[list[str], pa.Table]:
    """Cut 60 rows of 20 entities."""
    label = [0.5 * n for n in range(60)] if problem == "regression" else [n % 2 for n in range(60)]
    rows = pa.table({"who": [n // 3 for n in range(60)], "label": label})
    return parts_of(split, rows, "who", problem).to_pylist(), rows


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_a_stratified_split_has_a_fold_for_testing_and_one_for_validation(problem: Problem) -> None:
    parts, rows = _drawn(StratifiedSplit(kind="stratified", folds=5), problem)
    assert [parts.count(part) for part in ("train", "validation", "test")] == [36, 12, 12]
    if problem == "binary":
        labels = rows.column("label").to_pylist()
        assert sum(label for part, label in zip(parts, labels, strict=True) if part == "test") == 6
    assert _drawn(StratifiedSplit(kind="stratified", folds=5), problem)[0] == parts
    assert _drawn(StratifiedSplit(kind="stratified", folds=5, seed=1), problem)[0] != parts


def test_a_grouped_split_keeps_the_rows_of_an_entity_together() -> None:
    parts, rows = _drawn(GroupedSplit(kind="grouped", folds=4))
    found: dict[int, set[str]] = {}
    for who, part in zip(rows.column("who").to_pylist(), parts, strict=True):
        found.setdefault(who, set()).add(part)
    assert all(len(of_one) == 1 for of_one in found.values())
    assert set(parts) == {"train", "validation", "test"}


def _in_homes(homes: int) -> pa.Table:
    """Put the 60 rows into homes, whose members' rows are not neighbours."""
    _, rows = _drawn(GroupedSplit(kind="grouped"))
    return rows.append_column("people__home", pa.array([n % homes for n in range(60)]))


def test_a_split_grouped_by_a_feature_keeps_the_rows_of_a_group_together() -> None:
    rows = _in_homes(7)
    parts = parts_of(GroupedSplit(kind="grouped", folds=4, by="people.home"), rows, "who", "binary").to_pylist()
    assert len(set(zip(rows.column("people__home").to_pylist(), parts, strict=True))) == 7
    assert set(parts) == {"train", "validation", "test"}


def test_a_split_by_groups_refuses_too_few_of_them_and_rows_without_one() -> None:
    split = GroupedSplit(kind="grouped", folds=4, by="people.home")
    with pytest.raises(PlanError, match=r"split: 3 groups of people\.home are too few for 4 folds"):
        parts_of(split, _in_homes(3), "who", "binary")
    rows = _in_homes(7).set_column(2, "people__home", pa.array([None, *range(59)], pa.int64()))
    with pytest.raises(PlanError, match=r"split: people\.home is null for 1 of 60 rows"):
        parts_of(split, rows, "who", "binary")


def test_too_few_entities_for_a_split_are_told() -> None:
    with pytest.raises(
        PlanError, match=r"training_set\.split: 20 entities are too few for 30 folds; ask for fewer folds"
    ):
        _drawn(GroupedSplit(kind="grouped", folds=30))


def test_a_class_that_training_lacks_is_refused() -> None:
    table = pa.table(
        {
            "split": ["train", "train", "validation", "validation", "test", "test"],
            "label": ["a", "b", "a", "b", "a", "c"],
        }
    )
    with pytest.raises(PlanError, match="the test part has rows of the class 'c', the train part has none"):
        check_parts(table, "multiclass")


def test_a_part_in_which_no_number_differs_is_refused() -> None:
    table = pa.table({"split": ["train", "train", "validation", "validation", "test"], "label": [0.5, 1, 2, 3, 4]})
    with pytest.raises(PlanError, match=r"the test part has only the label 4\.0; it needs rows of different numbers"):
        check_parts(table, "regression")


@pytest.mark.parametrize(
    ("problem", "value", "found"),
    [("multiclass", "'n' || count(*)", ["n1", "n2"]), ("regression", "count(*) / 2", [0.5, 1.0])],
)
def test_labels_are_of_the_problems_type(problem: Problem, value: str, found: list[object]) -> None:
    assert [row["label"] for row in labels(value, problem)] == found


@pytest.mark.parametrize(
    ("problem", "value", "told"),
    [
        ("regression", "'inf'::double", "gives inf; a regression needs a finite number for every row"),
    ],
)
def test_a_label_that_is_none_of_the_problem_is_refused(problem: Problem, value: str, told: str) -> None:
    with pytest.raises(PlanError, match=re.escape(told)):
        labels(value, problem)


@pytest.mark.parametrize(
    ("problem", "value", "known"),
    [("binary", "count(*) = 1", 1), ("multiclass", "'n1'", "n1"), ("regression", "0.5", 0.5)],
)
def test_a_null_is_no_label_and_the_plan_says_whether_such_rows_are_left_out(
    problem: Problem, value: str, known: object
) -> None:
    sometimes = f"CASE WHEN count(*) = 1 THEN {value} END"
    told = r"is null for 1 of 2 rows, which have no label; write label\.unlabelled: leave_out"
    with pytest.raises(PlanError, match=told):
        labels(sometimes, problem)
    assert [row["label"] for row in labels(sometimes, problem, "leave_out")] == [known, None]
