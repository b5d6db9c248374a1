"""A forecast holds the score of the test rows without reading their labels, and says when it can say nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from core.plan.file import parse_plan
from models.measures.metrics import Observed, metric_value
from planner.decide.forecast import forecast
from planner.decide.learning_curve import fit_curve
from planner.decide.trials import measure, pool_of, without_test_labels
from planner.decide.units import with_units
from planner.verbs import forecast_score
from tests.planner.prove.test_proof import PLAN

if TYPE_CHECKING:
    from core.plan.plan import Plan

#: As-of instants of the parts, by the plan's split; a part has 400 buyers, each with a row at each instant.
INSTANTS = {
    "train": [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC)],
    "validation": [datetime(2024, 1, 22, tzinfo=UTC)],
    "test": [datetime(2024, 2, 5, tzinfo=UTC)],
}
BUYERS = 400


def plan(baseline: str = "majority", problem: str = "binary") -> Plan:
    text = PLAN.replace("baseline: rule", f"baseline: {baseline}")
    if problem == "regression":
        text = (
            text.replace("problem: binary", "problem: regression")
            .replace("value: count(*) = 0", "value: count(*)")
            .replace(
                "primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}", "primary: rmse, metrics: [rmse]"
            )
            .replace(", decisions: {above: call, below: wait}", "")
        )
    return parse_plan(text)


def world(seed: int, slope: float = 1.0, problem: str = "binary") -> pa.Table:
    """Labels that depend on `spending.orders` alone, with the log odds `slope` times it."""
    rng = np.random.default_rng(seed)
    rows = [
        (part, instant, buyer) for part, several in INSTANTS.items() for instant in several for buyer in range(BUYERS)
    ]
    x = rng.integers(-3, 4, len(rows)).astype(np.float64)
    noise = rng.random(len(rows))
    label = (noise < 1 / (1 + np.exp(-slope * x))).astype(np.int32) if problem == "binary" else slope * x + noise
    return pa.table(
        {
            "buyer_id": [f"b{buyer:03d}" for _, _, buyer in rows],
            "as_of": [instant for _, instant, _ in rows],
            "label": label,
            "split": [part for part, _, _ in rows],
            "spending__orders": pa.array(x, pa.int64()),
            "spending__spend_10d": x * 0,
            "spending__mean": x * 0,
        }
    )


def score_on_test(table: pa.Table) -> float:
    """Return the ROC AUC of the feature on the test rows, which is that of the rule."""
    test = table.filter(pa.array([part == "test" for part in table.column("split").to_pylist()]))
    label, x = (test.column(name).to_numpy() for name in ("label", "spending__orders"))
    return metric_value("roc_auc", Observed("binary", label.astype(np.int32), x.astype(float), np.arange(len(x)), 0.5))


def test_the_interval_holds_the_score_of_the_test_rows_in_most_of_several_worlds() -> None:
    held = 0
    for seed in range(8):
        table = world(seed, slope=0.3 + 0.1 * seed)
        found = forecast(plan(), table).interval
        assert found is not None
        held += found.lower <= score_on_test(table) <= found.upper
    assert held >= 7


def test_few_entities_are_forecast_by_blocks_of_time() -> None:
    table = world(2)
    few = pa.array([f"b{number % 3}" for number in range(len(table))])
    days = np.tile(np.arange(BUYERS) / BUYERS * 7, len(table) // BUYERS)
    as_of = [start + timedelta(days=day) for start, day in zip(table.column("as_of").to_pylist(), days, strict=True)]
    found = forecast(plan(), table.set_column(0, "buyer_id", few).set_column(1, "as_of", pa.array(as_of))).interval
    assert found is not None
    # A unit is one of three buyers in a twentieth of the two weeks of the validation part, which has rows in one of them.
    assert found.deviations.entities == 3 * 10
    assert found.lower <= score_on_test(table) <= found.upper


def test_labels_of_test_rows_are_not_read() -> None:
    table = world(1)
    is_test = np.array([part == "test" for part in table.column("split").to_pylist()])
    changed = np.where(is_test, 0, table.column("label").to_numpy()).astype(np.int32)
    assert forecast(plan(), table) == forecast(plan(), table.set_column(2, "label", pa.array(changed)))


@pytest.mark.parametrize("seed", [3, 4])
def test_a_feature_that_tells_nothing_differs_from_the_baseline_by_no_more_than_chance(seed: int) -> None:
    interval = forecast(plan(), world(seed, slope=0.0)).interval
    assert interval is not None
    assert interval.baseline is not None
    gate = interval.baseline.gate
    assert gate is None or abs(gate.difference) < 3 * gate.deviation


def test_a_margin_that_no_score_reaches_is_not_passed_within_ten_times_the_rows() -> None:
    asked = parse_plan(PLAN.replace("baseline: rule", "baseline: majority").replace("kiosk}", "kiosk, win_by: 0.9}"))
    said = " ".join(one.text for one in forecast_score(asked, world(3)).statements)
    assert "wins in roc_auc by 0.9 not within 10 x the 400 test rows" in said


def test_a_feature_that_tells_much_passes_the_gate_with_few_test_rows() -> None:
    interval = forecast(plan(), world(3, slope=2.0)).interval
    assert interval is not None
    assert interval.baseline is not None
    assert interval.baseline.gate is not None
    assert interval.baseline.score == pytest.approx(0.5)
    assert interval.baseline.gate.test_rows < BUYERS
    assert interval.baseline.rows_to_beat <= 2 * BUYERS


def test_a_regression_is_forecast_too() -> None:
    found = forecast(plan(problem="regression"), world(4, problem="regression")).interval
    assert found is not None
    # The noise is uniform from 0 to 1, so its standard deviation is 12^-0.5.
    assert found.lower < 12**-0.5 < found.upper


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("train", "the train part has only the label 0"),
        ("validation", "the validation part has only the label 0"),
    ],
)
def test_one_class_is_a_line(part: str, said: str) -> None:
    table = world(1)
    chosen = np.array([name == part for name in table.column("split").to_pylist()])
    label = pa.array(np.where(chosen, 0, table.column("label").to_numpy()).astype(np.int32))
    found = forecast_score(plan(), table.set_column(2, "label", label))
    assert not found.found
    assert said in found.verdict


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (0, "the train part has 0 rows, and a forecast needs 50"),
        (12, "the train part has 12 rows, and a forecast needs 50"),
        (2 * BUYERS, "the validation part has rows of 0 entities or times"),
        (3 * BUYERS, "the test part has no row"),
    ],
)
def test_too_few_rows_are_a_line(rows: int, said: str) -> None:
    assert said in forecast_score(plan(), world(1).slice(0, rows)).verdict


def test_rows_without_a_class_give_no_score() -> None:
    known, _ = without_test_labels(with_units(plan(), world(1)))
    pool, rule = pool_of(plan(), known, ("roc_auc",)), plan().train.candidates["rule"]
    fitted, checked = np.arange(2 * BUYERS), np.arange(2 * BUYERS, 3 * BUYERS)
    label = pool.rows.label
    assert measure(pool, "rule", rule, fitted, checked) is not None
    assert measure(pool, "rule", rule, fitted[label[fitted] == 0], checked) is None
    assert measure(pool, "rule", rule, fitted, checked[label[checked] == 1]) is None
    assert measure(pool, "rule", rule, fitted, checked[:1]) is None


def test_a_power_law_is_found_again() -> None:
    rows = (100, 400, 1600, 6400)
    curve = fit_curve(rows, [0.9 - 2 * n**-0.5 for n in rows])
    assert (curve.limit, curve.gain, curve.exponent) == pytest.approx((0.9, 2, 0.5))
    assert curve.rows_for(0.8) == pytest.approx(400)
    assert curve.rows_for(0.9) == math.inf


def test_a_score_that_falls_with_the_rows_is_not_extrapolated() -> None:
    curve = fit_curve((100, 200, 400), (0.8, 0.7, 0.6))
    assert curve.at(1_000_000) == pytest.approx(0.6)


def test_the_interval_is_wider_than_each_of_its_reasons() -> None:
    found = forecast(plan(), world(5)).interval
    assert found is not None
    one = found.deviations
    assert one.total == pytest.approx(math.sqrt(one.checked**2 + one.tested**2 + one.periods**2))
    assert replace(one, candidates=1.0).reach > one.reach
