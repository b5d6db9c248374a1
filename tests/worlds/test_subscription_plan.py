"""The world's own plan, run by the platform's code."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from core.plan.file import read_plan
from worlds.subscription.settings import SubscriptionSettings
from worlds.subscription.tables import TABLES
from worlds.subscription.truth import changes_truth

if TYPE_CHECKING:
    from core.plan.plan import Plan

PLAN = Path(__file__).parent.parent.parent / "worlds" / "subscription" / "plan.yaml"


def plan() -> Plan:
    return read_plan(PLAN)


def test_the_plan_declares_all_tables_with_columns_that_they_have() -> None:
    ingest = plan().ingest
    assert set(ingest) == set(TABLES)
    for name, source in ingest.items():
        origins = {column.rename_from or declared for declared, column in source.columns.items()}
        assert origins <= set(TABLES[name].schema.names)


def test_direct_identifiers_are_removed_or_hashed_when_they_are_ingested() -> None:
    schema, columns = TABLES["customers"].schema, plan().ingest["customers"].columns
    direct = {field.name for field in schema if b"direct identifier" in field.metadata[b"meaning"]}
    assert direct == {"name", "email", "phone"}
    assert {name for name, column in columns.items() if column.pii in {"remove", "hash"}} == direct


def test_the_model_is_trained_and_tested_before_the_first_injected_change() -> None:
    first = min(change["starts"] for change in changes_truth(SubscriptionSettings())["changes"])
    found = plan()
    assert found.training_set.as_of.end + found.label.horizon <= datetime.fromisoformat(first)


def test_the_guide_shows_a_second_entity_as_the_plan_has_it() -> None:
    guide = (PLAN.parents[2] / "docs/features.md").read_text()
    (block,) = re.findall(r"^```yaml\n(entities:.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)
    shown, full = yaml.safe_load(block), yaml.safe_load(PLAN.read_text())
    view, of_plan = (told["build_features"]["views"]["region_churn"] for told in (shown, full))
    assert shown["entities"]["region"] == full["entities"]["region"]
    assert {**view, "features": None} == {**of_plan, "features": None}
    assert view["features"].items() <= of_plan["features"].items()
