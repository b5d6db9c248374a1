"""The plan as a data contract, and contracts of producers against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from core.errors import PantheraError
from core.plan.file import parse_plan
from planner.contract.expected import contract
from planner.contract.promised import compare_with, read_contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from planner.check.findings import Checked

ROOT = Path(__file__).parents[3]
PLANS = [ROOT / "params.yaml", *ROOT.glob("worlds/public/*.yaml"), ROOT / "worlds/subscription/plan.yaml"]
PLAN = parse_plan((ROOT / "params.yaml").read_text())


def properties(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["name"]: column for column in content["schema"][0]["properties"]}


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Checked]:
    """Change the plan's own contract, write it to a file, and compare the plan with it."""

    def run(change: Callable[[dict[str, Any]], object]) -> Checked:
        content = contract(PLAN)
        change(content)
        file = tmp_path / "contract.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return compare_with(PLAN, read_contract(file), "contract.yaml")

    return run


def test_a_column_is_promised_by_its_raw_name_with_its_rules() -> None:
    columns = properties(contract(PLAN))
    assert columns["number_of_cds"] == {
        "name": "number_of_cds",
        "logicalType": "integer",
        "physicalType": "int32",
        "description": "number of CDs bought",
        "required": True,
        "logicalTypeOptions": {"minimum": 1.0, "maximum": 99.0},
    }
    assert columns["date"]["logicalType"] == "date"
    assert columns["date"]["required"]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_finds_nothing_in_its_own_contract(path: Path, tmp_path: Path) -> None:
    plan = parse_plan(path.read_text())
    file = tmp_path / "contract.yaml"
    file.write_text(yaml.safe_dump(contract(plan), sort_keys=False))
    found = compare_with(plan, read_contract(file), "contract.yaml")
    assert found.findings == ()
    assert found.sources == len(plan.ingest)


def test_a_column_that_is_not_promised_or_of_another_type_ends_a_stage(compared: Callable[..., Checked]) -> None:
    def change(content: dict[str, Any]) -> None:
        columns = properties(content)
        columns["dollar_value"]["name"] = "amount"
        columns["number_of_cds"]["logicalType"] = "boolean"
        columns["customer_id"]["logicalType"] = "string"

    found = compared(change)
    assert [(one.level, one.path.rpartition(" ")[2]) for one in found.findings] == [
        ("refuse", "dollar_value"),
        ("refuse", "number_of_cds"),
        ("warn", "customer_id"),
    ]


def test_weaker_promises_are_named(compared: Callable[..., Checked]) -> None:
    def change(content: dict[str, Any]) -> None:
        column = properties(content)["number_of_cds"]
        column["required"] = False
        column["logicalTypeOptions"] = {"minimum": 0, "maximum": 50}

    found = compared(change)
    assert [(one.level, one.found) for one in found.findings] == [
        ("warn", "the contract does not promise required"),
        ("note", "the contract promises 0 minimum"),
    ]
    assert not found.refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("kind: Other\napiVersion: v3.0.0\n", "has no `kind: DataContract`"),
        ("kind: DataContract\napiVersion: v2.2.2\n", "an apiVersion of v3"),
        ("kind: DataContract\napiVersion: v3.0.2\nschema: 1\n", "has no schema"),
        (
            "kind: DataContract\napiVersion: v3.0.2\nschema: [{name: other}]\n",
            "none is a source of the plan: purchases",
        ),
    ],
)
def test_what_is_no_contract_is_one_clear_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "contract.yaml"
    file.write_text(text)
    with pytest.raises(PantheraError, match=said):
        compare_with(PLAN, read_contract(file), "contract.yaml")
