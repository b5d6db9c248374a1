"""Named outcomes as metrics of an experiment: their values in a hand-made world, their verdicts, and what they decide."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tea_tasting as tt
from pydantic import ValidationError

from core.experiment.cohorts import ArmCounts
from core.experiment.confidence_sequence import sequence_margin
from core.experiment.day_ends import decided
from core.experiment.decision import decide_experiment
from core.experiment.fetched_arms import fetch_arms
from core.experiment.means import RatioSums, mean_difference
from core.experiment.metrics import MetricArms, MetricResult, MetricTerms, fetch_metric, holm, judge_metrics
from core.experiment.strata import compare
from core.plan.plan import Monitor
from tests.core.experiment.test_cohorts import EVEN, HORIZON, LATER, days, expose, in_phases, observe
from tests.core.experiment.test_decision import TERMS
from tests.core.experiment.test_decision import days as day_ends

if TYPE_CHECKING:
    import psycopg
    from numpy.typing import NDArray

CALLS = MetricTerms("calls", "lower", "calls", value="sum", within=days(30), margin=0.2)
SPENT = MetricTerms("spent", "higher", "spent", within=days(30))


def summed(y: NDArray[np.float64], d: NDArray[np.float64] | None = None) -> RatioSums:
    d = np.ones(len(y)) if d is None else d
    return RatioSums(len(y), *(float(values.sum()) for values in (y, d, y * y, d * d, y * d)))


def test_the_value_of_a_unit_is_its_first_outcome_or_the_sum_in_its_window(connection: psycopg.Connection) -> None:
    for entity in ("often", "never"):
        expose(connection, entity, "champion")
    for day, calls in ((0, 50), (1, 2), (30, 3), (31, 70)):
        observe(connection, "often", calls, days(day), "calls")
    observe(connection, "often", 9, days(5))
    (first,) = fetch_metric(connection, "trial", replace(CALLS, value="first"), LATER)
    (total,) = fetch_metric(connection, "trial", CALLS, LATER)
    assert (first.champion, first.unknown) == (RatioSums(1, 2, 1, 4, 1, 2), 1)
    assert (total.champion, total.unknown) == (RatioSums(2, 5, 2, 25, 2, 5), 0)
    # The label's outcome is the one without a name.
    assert fetch_arms(connection, "trial", HORIZON, LATER).champion.outcome_sum == 9.0


def test_a_ratio_takes_the_units_whose_two_values_are_known(connection: psycopg.Connection) -> None:
    for entity in ("whole", "half", "open"):
        expose(connection, entity, "challenger", day=90 if entity == "open" else 0)
        observe(connection, entity, 6, days(92 if entity == "open" else 2), "spent")
    observe(connection, "whole", 3, days(2), "orders")
    (found,) = fetch_metric(connection, "trial", replace(SPENT, per="orders"), LATER)
    assert (found.challenger, found.champion, found.unknown) == (RatioSums(1, 6, 3, 36, 9, 18), RatioSums(), 1)


def test_documented_ratio_of_tea_tasting_is_reproduced() -> None:
    """Its user guide: 0.266 and 0.289 orders per session, p = 0.0762; 5.24 and 5.73 of revenue per user, p = 0.123."""
    data = tt.make_users_data(rng=42)
    arms = [data.filter(np.array(data.column("variant").to_numpy() == arm).tolist()) for arm in (0, 1)]
    columns = [
        {name: arm.column(name).to_numpy().astype(float) for name in ("orders", "sessions", "revenue")} for arm in arms
    ]
    ratio = mean_difference([tuple(summed(arm["orders"], arm["sessions"]).ratio for arm in columns)])  # type: ignore[list-item]
    revenue = mean_difference([tuple(summed(arm["revenue"]).ratio for arm in columns)])  # type: ignore[list-item]
    assert [round(ratio.champion_rate, 3), round(ratio.challenger_rate, 3)] == [0.266, 0.289]
    assert [round(revenue.champion_rate, 2), round(revenue.challenger_rate, 2)] == [5.24, 5.73]
    expected = tt.Experiment(r=tt.RatioOfMeans("orders", "sessions"), m=tt.Mean("revenue")).analyze(data)
    for found, name, p in ((ratio, "r", 0.0762), (revenue, "m", 0.123)):
        assert float(f"{expected[name].pvalue:.3g}") == p
        z = found.difference / math.sqrt(found.variance)
        assert z == pytest.approx(expected[name].statistic, rel=1e-9)


def judged(terms: MetricTerms, difference: float, units: int = 10_000) -> MetricResult:
    """Judge two arms whose units are spread by 1 around means that differ so much."""
    spread = np.tile([-1.0, 1.0], units // 4)
    phase = MetricArms(1, summed(1 + spread), summed(1 + difference + spread))
    (result,) = judge_metrics({terms: [phase, replace(phase, phase_id=2)]}, {1}, 0.95)
    return result


def test_a_guardrail_is_judged_by_whether_the_sequence_excludes_its_margin() -> None:
    # The standard error is 0.02, and the sequence is narrowest here: 3.035 of it on each side.
    assert sequence_margin(0.02, 10_000, 0.95) == pytest.approx(0.0607, abs=1e-4)
    assert [judged(CALLS, each).verdict for each in (-0.5, 0.13, 0.15, 0.25, 0.27)] == [
        *("not worse", "not worse", "not shown", "not shown", "worse")
    ]
    higher = replace(CALLS, better="higher")
    assert [judged(higher, each).verdict for each in (0.5, -0.13, -0.15, -0.27)] == [
        *("not worse", "not worse", "not shown", "worse")
    ]
    assert judged(CALLS, 0.0, units=56).verdict == "withheld"


def test_a_secondary_metric_is_shown_by_its_corrected_p_value() -> None:
    assert [judged(SPENT, each).verdict for each in (0.05, 0.07, -0.07)] == ["not shown", "better", "worse"]
    shown = judged(SPENT, 0.061)
    phase = MetricArms(1, RatioSums(100, 0, 100, 100, 100, 0), RatioSums(100, 0, 100, 100, 100, 0))
    spread = np.tile([-1.0, 1.0], 2_500)
    alone = {SPENT: [MetricArms(1, summed(spread), summed(0.061 + spread))]}
    both = judge_metrics({**alone, replace(SPENT, name="other"): [phase]}, {1}, 0.95)
    assert [shown.verdict, both[0].verdict] == ["better", "not shown"]
    assert both[0].p_value == pytest.approx(2 * shown.p_value)


def test_holms_correction_is_that_of_tea_tasting() -> None:
    p_values = [0.005, 0.03, 0.02, 0.04, 0.01]
    assert holm(p_values) == pytest.approx([0.025, 0.06, 0.06, 0.06, 0.04])
    assert holm([math.nan, 0.02]) == pytest.approx([math.nan, 0.02], nan_ok=True)


@pytest.mark.parametrize(
    ("z", "difference", "decision"),
    [
        (2.98, 0.0, "ship the challenger"),
        (2.98, 0.2, "go on"),
        (2.98, 0.3, "keep the champion"),
        (0.0, 0.3, "keep the champion"),
        (0.0, 0.2, "go on"),
        (-2.98, 0.0, "keep the champion"),
    ],
)
def test_a_challenger_is_shipped_only_if_its_guardrails_hold(z: float, difference: float, decision: str) -> None:
    guardrail = judged(CALLS, difference)
    found = decide_experiment(day_ends((0.2, 0.0), (0.4, z)), TERMS, None, [guardrail])
    assert found.decision == decision
    assert ("the guardrail calls" in found.reason) == (difference > 0 and (z, difference) != (0.0, 0.2))


def test_harm_keeps_the_champion_before_the_outcomes_of_the_label_are_known_unless_the_arms_are_not_comparable() -> (
    None
):
    few, mismatch = ((ArmCounts("champion", 500), ArmCounts("challenger", units)) for units in (500, 300))
    for arms, decision in ((few, "keep the champion"), (mismatch, "withheld")):
        comparison = compare(in_phases(arms), EVEN, 0.95, 0.001)
        assert comparison.verdict == "withheld"
        found = decided(replace(comparison, metrics=(judged(CALLS, 0.3),)), TERMS).decision
        assert found is not None
        assert found.decision == decision
    assert decide_experiment([], TERMS, "too few", [judged(CALLS, 0.0)]).decision == "withheld"


def test_metrics_are_json_and_their_sections_are_checked() -> None:
    answer = json.loads(json.dumps(judged(CALLS, 0.0, units=56).to_dict(), allow_nan=False))
    assert (answer["verdict"], answer["sequence_lower"], answer["units"]) == ("withheld", None, 56)
    calls = {"better": "lower", "margin": 0.2, "value": "sum", "within": "30d"}
    experiment = {"minimum_effect": 0.1, "guardrails": {"calls": calls}, "secondary": {"spent": {"better": "higher"}}}
    sections = {"psi_alarm": 0.1, "parity_sample": 1.0, "decide": {"better": "lower"}}
    monitor = Monitor.model_validate({**sections, "experiment": experiment})
    assert MetricTerms.of(monitor, days(30)) == (CALLS, SPENT)
    assert monitor.outcome_names == {"calls", "spent"}
    twice = {**experiment, "secondary": {"calls": {"better": "lower"}}}
    with pytest.raises(ValidationError, match="'calls' is a guardrail and a secondary metric"):
        Monitor.model_validate({**sections, "experiment": twice})
