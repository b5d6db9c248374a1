"""Drafts of a table with one row for each entity."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from sklearn import datasets

from core.errors import PantheraError
from planner.verbs import check_sources

if TYPE_CHECKING:
    from pathlib import Path

    from tests.planner.drafted import Drafted


def customers(rows: int = 300) -> str:
    """Compose a churn list: codes with leading zeros, a blank for no value, personal data, a reason that tells the target."""
    rng = random.Random(3)  # noqa: S311 - a fixed example
    lines = ["customerID,Gender,Contract,tenure,TotalCharges,Paperless,Email,Score,Version,Cancel Reason,Churn"]
    for number in range(rows):
        churned = rng.random() < 0.3
        months = rng.randrange(60)
        total = " " if months == 0 else f"{months * 20.5:.2f}"
        score = round(rng.random() + 2 * churned, 3)
        fields = [f"{number:05d}", rng.choice("mf"), rng.choice(["Monthly", "Two year"]), str(months), total]
        fields += [rng.choice(["Yes", "No"]), f"u{number}@example.org", str(score), "7", "price" if churned else ""]
        lines.append(",".join([*fields, "Yes" if churned else "No"]))
    return "\n".join(lines) + "\n"


def test_a_churn_list_becomes_a_plan(drafted: Drafted) -> None:
    plan, draft = drafted({"customers.csv": customers()}, "Churn = 'Yes'")
    source = plan.ingest["customers"]
    assert plan.project.problem == "binary"
    assert plan.entities["customer"].key == "customer_id"
    assert {name: column.dtype for name, column in source.columns.items()} == {
        "customer_id": "string",
        "gender": "string",
        "contract": "string",
        "tenure": "int64",
        "total_charges": "float64",
        "paperless": "bool",
        "email": "string",
        "churn": "bool",
    }
    assert source.columns["customer_id"].rename_from == "customerID"
    assert source.columns["email"].pii == "remove"
    assert source.columns["total_charges"].missing == ("",)
    assert plan.label.column == "churn"
    assert plan.label.positive is True
    assert list(plan.build_features.views["row"].features) == [
        "gender",
        "contract",
        "tenure",
        "total_charges",
        "paperless",
    ]
    assert list(plan.evaluate.groups) == ["gender"]
    assert [question.name for question in draft.sheet.open_questions] == ["leak.score", "leak.cancel_reason"][::-1]


def test_a_person_who_knows_better_keeps_a_suspect_with_the_reason_in_the_plan(drafted: Drafted) -> None:
    plan, draft = drafted({"customers.csv": customers()}, "Churn = 'Yes'", answers={"leak.score": "yes"})
    assert "score" in plan.build_features.views["row"].features
    assert list(plan.training_set.leakage.allow) == ["row.score"]
    assert [question.name for question in draft.sheet.open_questions] == ["leak.cancel_reason"]


def test_each_column_has_its_evidence_as_a_comment_and_as_a_query(drafted: Drafted) -> None:
    _, draft = drafted({"customers.csv": customers()}, "Churn = 'Yes'")
    assert "# string, 300 distinct; 300 with leading zeros, so no number\n      customer_id:" in draft.text
    (found,) = [
        one for one in json.loads(draft.evidence)["keys"] if one["path"] == "ingest.customers.columns.total_charges"
    ]
    assert found["figure"] > 0
    assert found["query"].startswith("SELECT count(*)")


def test_the_same_data_give_the_same_draft(drafted: Drafted) -> None:
    files = {"customers.csv": customers()}
    (_, first), (_, second) = drafted(files, "Churn = 'Yes'"), drafted(files, "Churn = 'Yes'")
    assert (first.text, first.evidence) == (second.text, second.evidence)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("iris", "multiclass"), ("diabetes", "regression")],
)
def test_packaged_sets_without_a_key_are_numbered_and_drafted(drafted: Drafted, name: str, problem: str) -> None:
    text = getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(index=False)
    plan, draft = drafted({f"{name}.csv": text}, "target")
    assert plan.project.problem == problem
    assert plan.unit.key == "row_number"
    assert plan.ingest[name].reader.model_dump()["path"] == f"{name}_numbered.csv"
    assert "key" in [question.name for question in draft.sheet.open_questions]


def numbers(rows: int, target: str) -> str:
    rng = random.Random(1)  # noqa: S311 - a fixed example
    return "id,x,y\n" + "".join(f"{n},{rng.random():.4f},{target.format(odd=n % 2, n=n)}\n" for n in range(rows))


@pytest.mark.parametrize(
    ("files", "predict", "stated", "reason"),
    [
        ({"t.csv": "a\n1\n2\n"}, "a", {}, "the column 'a' alone"),
        ({"t.csv": "a,b\n"}, "a", {}, "has no rows"),
        ({"t.csv": "a,b\n,\n,\n"}, "a", {}, "the target 'a' has no value"),
        ({"t.csv": numbers(90, "same")}, "y", {}, "the one value 'same'"),
        ({"t.csv": numbers(90, "{odd}")}, "z", {}, "'z' is no column"),
        ({"t.csv": numbers(90, "{odd}")}, None, {}, 'state what to predict: --predict "y"'),
        ({"t.csv": numbers(90, "{odd}")}, "x", {"key": "y"}, "88 rows whose value another row has"),
        ({"t.csv": numbers(90, "{odd}")}, "y", {"key": "y"}, "'y' is the target"),
        ({"t.csv": numbers(90, "{odd}")}, "y = 7", {}, "no value of 'y' is '7'"),
        ({"t.csv": numbers(90, "{odd}")}, "y = maybe", {}, "'y' is integer, so it has no value 'maybe'"),
        ({"t.csv": numbers(30, "{odd}")}, "y", {}, "30 rows of t have a label"),
        ({"t.csv": numbers(90, "c{n}")}, "y", {}, "only 0 classes|has 90 classes"),
        ({"t.csv": "id,y\n" + "".join(f"{n},{n % 2}\n" for n in range(90))}, "y", {}, "no column of t is left"),
        ({"t.csv": numbers(90, "{odd}")}, "count(t) = 0", {}, "states no time"),
    ],
)
def test_what_allows_no_plan_is_said_in_one_line(
    drafted: Drafted, files: dict[str, str], predict: str | None, stated: dict[str, str], reason: str
) -> None:
    with pytest.raises(PantheraError, match=reason) as error:
        drafted(files, predict, **stated)
    assert "\n" not in str(error.value)


def test_rows_without_a_label_and_rare_classes_are_left_out(drafted: Drafted) -> None:
    rng = random.Random(2)  # noqa: S311 - a fixed example
    kinds = ["a"] * 60 + ["b"] * 50 + ["c"] * 3 + ["NA"] * 7
    text = "id,x,kind\n" + "".join(f"{n},{rng.random():.3f},{kind}\n" for n, kind in enumerate(kinds))
    plan, _ = drafted({"t.csv": text}, "kind")
    assert plan.project.problem == "multiclass"
    assert plan.label.unlabelled == "leave_out"
    assert "'c'" not in plan.label.value


def test_an_odd_header_is_renamed_and_the_old_names_are_kept(drafted: Drafted) -> None:
    rng = random.Random(5)  # noqa: S311 - a fixed example
    lines = "".join(f"{n},{rng.random():.3f},{rng.random():.3f},{n % 2}\n" for n in range(80))
    plan, _ = drafted({"t.csv": '"Key ID",Größe (m),"2nd, floor",on\n' + lines}, "on = 1")
    columns = plan.ingest["t"].columns
    assert {name: column.rename_from for name, column in columns.items()} == {
        "key_id": "Key ID",
        "grosse_m": "Größe (m)",
        "n_2nd_floor": "2nd, floor",
        "on": None,
    }


@pytest.mark.parametrize("target", ["{odd}.5", "{n}.25"])
def test_a_number_that_is_missing_in_some_rows_can_be_the_target(drafted: Drafted, target: str) -> None:
    lines = numbers(120, target).splitlines()
    text = "\n".join([lines[0], *(f"{line.rpartition(',')[0]}," for line in lines[1:20]), *lines[20:]]) + "\n"
    plan, _ = drafted({"t.csv": text}, "y")
    assert plan.label.unlabelled == "leave_out"


def test_dates_that_fit_two_orders_are_a_question_whose_answer_is_the_format(drafted: Drafted) -> None:
    lines = numbers(120, "{odd}").splitlines()
    dated = [f"{lines[0]},joined", *(f"{line},0{n % 9 + 1}/0{n % 7 + 1}/2023" for n, line in enumerate(lines[1:]))]
    files = {"t.csv": "\n".join(dated) + "\n"}
    plan, draft = drafted(files, "y = 1")
    (question,) = [one for one in draft.sheet.open_questions if one.name == "format.joined"]
    assert sorted(question.options) == ["%d/%m/%Y", "%m/%d/%Y"]
    assert plan.ingest["t"].columns["joined"].format == question.default
    (other,) = set(question.options) - {question.default}
    plan, _ = drafted(files, "y = 1", answers={"format.joined": other})
    assert plan.ingest["t"].columns["joined"].format == other
    with pytest.raises(PantheraError, match="does not fit all values"):
        drafted(files, "y = 1", answers={"format.joined": "%Y"})


def test_linked_tables_are_looked_up_and_those_that_are_left_out_are_named(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)  # noqa: S311 - a fixed example
    shops = "shop_id,size\n" + "".join(f"{n},{rng.randrange(90)}\n" for n in range(20))
    codes = "code,z\n" + "".join(f"Q{n},{rng.random():.3f}\n" for n in range(60))
    orders = "id,shop_id,x,y\n" + "".join(
        f"o{n},{rng.randrange(20)},{rng.random():.3f},{rng.choice([0, 1])}\n" for n in range(300)
    )
    shops = shops.replace("size", "size,town_id", 1).replace("\n", ",{}\n").replace("town_id,{}", "town_id", 1)
    shops = shops.format(*(7000 + 900 * (n % 4) for n in range(20)))
    towns = "town_id,people\n" + "".join(f"{7000 + 900 * n},{n}00\n" for n in range(4))
    files = {"orders.csv": orders, "shops.csv": shops, "towns.csv": towns, "codes.csv": codes}
    plan, draft = drafted(files, "y = 1")
    assert {name: one.key for name, one in plan.ingest["orders"].join.items()} == {
        "shops": {"shop_id": "shop_id"},
        "towns": {"shops_town_id": "town_id"},
    }
    assert {"shops_size", "towns_people"} <= set(plan.build_features.views["row"].features)
    monkeypatch.chdir(tmp_path)
    assert [one for one in check_sources(plan).findings if one.level == "refuse"] == []
    notes = [note for note in draft.sheet.notes if "left out of a prediction" in note]
    assert notes == [
        "the table codes is left out of a prediction for each row of orders; no column links it",
    ]
