"""A feature that seems to leak the label fails the run by name, and passes if the plan allows it by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import yaml

from core.contracts import ContractFeature
from core.errors import PlanError
from core.plan.file import read_plan
from core.plan.leakage import Leakage
from core.plan.times import parse_instant
from models.evaluation.leak_scores import LeakScore
from models.leakage import begun_windows, refuse_leaks, times_to_come, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.plan.plan import Plan

PLAN = Path(__file__).parents[2] / "params.yaml"
RECENCY = ("purchase_history", "days_since_last")


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Plan:
    content = yaml.safe_load(PLAN.read_text())
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_plan(path)


def test_days_that_are_dated_at_their_start_begin_before_the_label(tmp_path: Path) -> None:
    """A purchase on the day of as of would be a feature, though it is made in the label's window."""
    assert list(begun_windows([RECENCY], read_plan(PLAN))) == []
    early = changed(tmp_path, lambda plan: plan["ingest"]["purchases"]["event_time"].pop("at"))
    [(feature, reason)] = begun_windows([RECENCY, ("purchase_history", "overdue")], early)
    assert feature == "purchase_history.days_since_last"
    assert reason.endswith("set ingest.purchases.event_time.at to end_of_day")


def test_a_time_that_is_still_to_come_is_suspicious() -> None:
    times = [parse_instant(day) for day in ("2024-01-01", "2024-03-02", "2024-02-29")]
    as_of = [parse_instant("2024-03-01")] * 3
    table = pa.table({"as_of": as_of, "account__closed": times, "account__opened": [*times[::2], None]})
    features = [ContractFeature("account", name, "timestamp") for name in ("closed", "opened")]
    assert list(times_to_come(table, features)) == [("account.closed", "it is a time after as of in 1 of 3 rows")]


def test_a_feature_that_seems_to_know_the_label_is_refused_with_what_to_do() -> None:
    with pytest.raises(PlanError) as refusal:
        refuse_leaks([("account.closed", "it is a time"), ("account.closed", "alone it reaches 1.000")], Leakage())
    assert str(refusal.value) == (
        "training_set.leakage: 1 feature seems to leak the label: account.closed: it is a time, and alone it reaches 1.000. "
        "Correct the source of its rows, or remove the feature from the service; if it does not leak, allow it by name: "
        "training_set.leakage.allow: {account.closed: why it does not leak}"
    )


def test_a_feature_that_is_allowed_by_name_passes() -> None:
    allowed = Leakage(allow={"contract.ends": "the end of a contract is known when it is signed"})
    refuse_leaks([("contract.ends", "it is a time")], allowed)
    with pytest.raises(PlanError, match=r"1 feature seems to leak the label: account\.closed: "):
        refuse_leaks([("contract.ends", "it is a time"), ("account.closed", "it is a time")], allowed)


def test_a_name_that_is_no_feature_of_the_service_cannot_be_allowed(tmp_path: Path) -> None:
    def allow(plan: dict[str, Any]) -> None:
        plan["training_set"]["leakage"] = {"allow": {"purchase_history.order": "a slip"}}

    with pytest.raises(PlanError, match=r"training_set\.leakage\.allow.*did you mean 'purchase_history\.orders'"):
        changed(tmp_path, allow)


def test_what_was_found_is_written_strongest_first() -> None:
    told = [LeakScore("v.weak", 0.6, float("nan"), 0), LeakScore("v.strong", 0.8, 0.99, 40)]
    section = Leakage(allow={"v.strong": "because"})
    content = json.loads(to_json(told, [("v.strong", "alone")], section))
    assert [(one["feature"], one["surest"]) for one in content["alone"]] == [("v.strong", 0.99), ("v.weak", None)]
    assert content["found"] == [["v.strong", "alone"]]
    assert content["allowed"] == {"v.strong": "because"}
