"""The length of an A/B test holds what it states, and what cannot be decided is one line that says why."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from core.experiment.power import units_per_arm
from core.plan.file import parse_plan
from panthera.plan_rows import accepted_rows
from planner.decide.accepted import has_accepted_rows
from planner.decide.label_rates import Arrivals
from planner.decide.length import ErrorRates, experiment_length, smallest_fall
from planner.verbs import decide_plan, document_plan
from tests.feature_repo.accepted_rows import write_accepted
from tests.planner.prove.test_proof import PLAN

if TYPE_CHECKING:
    from pathlib import Path

    from planner.decide.report import Report
    from tests.planner.drafted import Drafted

MONEY = "evaluate: {money: {currency: EUR, kept_value: 30, offer_cost: 10, contact_cost: 1, acceptance: 0.2, capacity: 0.5},"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
#: The buyers of the first week buy each week, two more come in the second and third; half of all never buy again.
FIRST_WEEK, LATER = 40, 20


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders: 40 buyers on the first day, 20 more each week; those with an even number buy once, the others every day."""
    buyers = [(number, 0) for number in range(FIRST_WEEK)]
    buyers += [(FIRST_WEEK + LATER * week + number, 7 * week + 1) for week in range(7) for number in range(LATER)]
    orders = [
        (number, BEGIN + timedelta(days=day) - timedelta(hours=1))
        for number, first in buyers
        for day in (range(first, 60) if number % 2 else [first])
    ]
    rows = pa.table(
        {
            "source_row": list(range(len(orders))),
            "buyer_id": [f"b{number:03d}" for number, _ in orders],
            "bought": [time for _, time in orders],
            "told": [time for _, time in orders],
            "price": [1.0] * len(orders),
            "event_timestamp": [time for _, time in orders],
            "created_timestamp": [time for _, time in orders],
        }
    )
    folder = tmp_path_factory.mktemp("decide") / "accepted"
    write_accepted(folder, "orders", "buyer_id", rows)
    return folder


def decided(accepted: Path, plan: str = PLAN, traffic: int | None = None, effect: float | None = None) -> Report:
    return decide_plan(parse_plan(plan), accepted, traffic, effect)


def test_base_rate_and_arrivals_are_counted(accepted: Path) -> None:
    found = decided(accepted).result
    # Eight Mondays; 40 buyers wait on the first, 20 more on each of the seven after it; half of them stay away.
    assert [(one.rate.horizon, one.rate.rows, one.rate.positives) for one in found.horizons] == [
        (timedelta(days=5), 880, 440),
        (timedelta(days=10), 880, 440),
        (timedelta(days=20), 540, 270),
    ]
    assert found.planned.rate.horizon == timedelta(days=10)
    assert found.arrivals == Arrivals(180, 20 / 7)


@pytest.mark.parametrize(("base_rate", "effect"), [(0.05, 0.2), (0.3, 0.1), (0.825, 0.1)])
def test_the_stated_power_holds_in_simulation(base_rate: float, effect: float) -> None:
    rng, units, draws = np.random.default_rng(5), units_per_arm(base_rate, -effect * base_rate), 20_000

    def found(changed: float) -> float:
        one, two = rng.binomial(units, base_rate, draws) / units, rng.binomial(units, changed, draws) / units
        pooled = (one + two) / 2
        z = (one - two) / np.sqrt(2 * pooled * (1 - pooled) / units)
        return float((np.abs(z) > 1.96).mean())

    assert found(base_rate * (1 - effect)) == pytest.approx(0.8, abs=0.05)
    assert found(base_rate) == pytest.approx(0.05, abs=0.01)


def test_a_test_ends_when_its_units_have_come_and_their_outcomes_are_known() -> None:
    needed = units_per_arm(0.05, -0.01)
    found = experiment_length(0.05, 0.2, 0.25, Arrivals(1000, 100), timedelta(days=30))
    assert found.units == 4 * needed
    assert found.enrolment_days == pytest.approx((4 * needed - 1000) / 100)
    assert found.days == found.enrolment_days + 30
    assert found.smallest_arm_share == pytest.approx(needed / (1000 + 335 * 100))


def test_looks_of_the_plan_take_more_units_and_are_stated(accepted: Path) -> None:
    looks = PLAN.replace(
        "monitor: {", "monitor: {decide: {better: lower}, experiment: {minimum_effect: 0.1, looks: 5},"
    )
    assert looks != PLAN
    one, five = (decided(accepted, plan, traffic=2, effect=0.05) for plan in (PLAN, looks))
    ratio = five.result.length.units_per_arm / one.result.length.units_per_arm
    assert 1.0 < ratio < 1.1
    assert "the test has one look" in " ".join(text.text for text in one.statements if text.basis == "assumed")
    assert "the test has 5 looks" in " ".join(text.text for text in five.statements if text.basis == "stated")


def test_the_smallest_fall_is_the_one_whose_units_there_are() -> None:
    for looks in (1, 5):
        errors = ErrorRates(looks=looks)
        assert smallest_fall(0.05, units_per_arm(0.05, -0.01, looks=looks), errors) == pytest.approx(0.2, rel=1e-3)
    assert math.isnan(smallest_fall(0.05, 50, ErrorRates()))


def test_nobody_who_arrives_is_a_test_that_never_ends() -> None:
    assert experiment_length(0.05, 0.2, 0.5, Arrivals(10, 0), timedelta(days=30)).days == math.inf


def test_a_test_that_takes_more_than_a_year_says_what_it_needs_and_what_arrives(accepted: Path) -> None:
    found = decided(accepted, traffic=2, effect=0.05)
    assert not found.found
    needed = f"{units_per_arm(0.5, -0.025):,} units per arm, 14 a week arrive"
    assert found.verdict == (
        f"A relative change of 5 % in the base rate cannot be decided within a year at this traffic: needs {needed}."
    )
    assert {one.basis for one in found.statements} == {"stated", "measured", "assumed"}


def test_money_gives_the_break_even_and_the_bounds_of_profit(accepted: Path) -> None:
    # 0.2 x (30 - 10) - 1 = 3 for label 1, -11 for label 0: 11 / 14; half of 1,000 at random 500 x (3 - 11) / 2, exactly 1,500.
    found = decided(accepted, PLAN.replace("evaluate: {", MONEY))
    bounds = found.result.planned.bounds
    assert (bounds.break_even, bounds.contact_all, bounds.perfect) == pytest.approx((11 / 14, -2000, 1500))
    assert bounds.best_effect == pytest.approx(0.2)
    said = " ".join(one.text for one in found.statements)
    assert "from a probability of 78.6 % on" in said
    assert "-2,000 EUR" in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("evaluate: {", "evaluate: {", "states no evaluate.money"),
        ("evaluate: {", MONEY.replace("0.2", "0.01"), "never earns"),
        ("evaluate: {", MONEY.replace("30", "spending.spend_10d"), "differ by row"),
        ("horizon: 10d,", "horizon: 10d, population: count(*) > 1000,", "no labelled row"),
        ("value: count(*) = 0", "value: count(*) >= 0", "all 880 labels are 1"),
        ("value: count(*) = 0", "value: count(*) / 0", "cannot be said"),
    ],
)
def test_what_cannot_be_said_is_a_line_that_says_why(accepted: Path, old: str, new: str, said: str) -> None:
    found = decided(accepted, PLAN.replace(old, new))
    assert said in " ".join(one.text for one in found.statements)
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict


def test_rows_of_an_earlier_plan_are_not_used(accepted: Path) -> None:
    assert has_accepted_rows(parse_plan(PLAN), accepted)
    later = PLAN.replace(
        "price: {dtype: float64, unit: EUR}", "price: {dtype: float64, unit: EUR}\n      shop: {dtype: string}"
    )
    assert not has_accepted_rows(parse_plan(later), accepted)
    assert not has_accepted_rows(parse_plan(PLAN), accepted / "nowhere")


def test_a_table_without_times_shows_neither_arrivals_nor_when_an_outcome_is_known(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{n},{n * 7 % 11},{'yes' if n % 4 else 'no'}\n" for n in range(400))
    plan, _ = drafted({"t.csv": "id,x,y\n" + rows}, "y = 'yes'")
    with accepted_rows(plan, tmp_path / "nothing", tmp_path / "downloads") as made:
        measured, stated = decide_plan(plan, made), decide_plan(plan, made, traffic=10)
    assert (measured.found, stated.found) == (False, False)
    assert measured.result.planned.rate.base_rate == pytest.approx(0.75)
    needed = units_per_arm(0.75, -0.075)
    assert measured.verdict.endswith(
        f"{needed:,} units per arm, 400 wait and how many arrive is unknown (give --traffic)."
    )
    assert f"its units are enrolled in {math.ceil(2 * needed / 10)} days" in stated.verdict
    assert "the tables have no times" in " ".join(one.text for one in stated.statements)


def test_the_document_has_the_test_once_rows_are_accepted(accepted: Path, tmp_path: Path) -> None:
    def titles(data: Path) -> list[str]:
        return [chapter.title for chapter in document_plan(parse_plan(PLAN), PLAN, data).chapters]

    assert "A/B test" not in titles(tmp_path)
    assert "A/B test" in titles(accepted.parent)


def test_the_label_of_a_regression_has_no_rate(accepted: Path) -> None:
    plan = (
        PLAN.replace("problem: binary", "problem: regression")
        .replace("value: count(*) = 0", "value: count(*)")
        .replace("primary: roc_auc, metrics: [roc_auc], threshold: {maximise: f1}", "primary: rmse, metrics: [rmse]")
        .replace(", decisions: {above: call, below: wait}", "")
    )
    assert "regression" in decided(accepted, plan).verdict
