"""Cohorts: counts in a hand-made world in PostgreSQL, and the comparison against formulas worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
import tea_tasting as tt
from scipy.stats import binom

from core.experiment.cohorts import (
    ArmCounts,
    Comparison,
    DayCounts,
    ExperimentArms,
    Phase,
    PhaseArms,
)
from core.experiment.day_ends import decided
from core.experiment.decision import ExperimentTerms
from core.experiment.fetched_arms import fetch_arms
from core.experiment.phases import enter_phase, phase_terms
from core.experiment.strata import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import psycopg

    from core.roles import Role

START = datetime(1998, 4, 1, tzinfo=UTC)
HORIZON = timedelta(days=90)
LATER = START + timedelta(days=100)
EVEN: dict[Role, int] = {"champion": 50, "challenger": 50}


def expose(connection: psycopg.Connection, entity: str, arm: str, day: int = 0, experiment: str = "trial") -> None:
    connection.execute(
        "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at) "
        "VALUES (%s, %s, %s, 0, 'r1', %s, %s)",
        [experiment, entity, arm, uuid4(), START + timedelta(days=day)],
    )


def observe(connection: psycopg.Connection, entity: str, value: float, after: timedelta, name: str = "") -> None:
    connection.execute(
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value, name) VALUES (%s, %s, %s, %s, %s)",
        [str(uuid4()), entity, START + after, value, name],
    )


def days(number: int) -> timedelta:
    return timedelta(days=number)


def test_each_unit_is_counted_once_as_what_is_known_of_it(connection: psycopg.Connection) -> None:
    for entity in ("bought", "churned", "silent"):
        expose(connection, entity, "champion")
    expose(connection, "censored", "champion", day=50)
    expose(connection, "rich", "challenger")
    observe(connection, "bought", 0, days(10))
    observe(connection, "churned", 1, days(90))
    observe(connection, "censored", 1, days(60))
    observe(connection, "rich", 3, days(5))
    arms = fetch_arms(connection, "trial", HORIZON, LATER)
    assert arms.champion == ArmCounts(
        "champion", exposed=4, mature=3, with_outcome=2, outcome_sum=1.0, outcome_sum_of_squares=1.0
    )
    assert (arms.champion.censored, arms.champion.unmatched, arms.champion.rate) == (1, 1, 0.5)
    assert arms.challenger == ArmCounts("challenger", 1, 1, 1, 3.0, 9.0)


def test_a_censored_exposure_is_never_a_negative(connection: psycopg.Connection) -> None:
    expose(connection, "known", "champion")
    observe(connection, "known", 1, days(3))
    before = fetch_arms(connection, "trial", HORIZON, LATER).champion
    for number in range(20):
        expose(connection, f"open{number}", "champion", day=30)
    after = fetch_arms(connection, "trial", HORIZON, LATER).champion
    assert (after.exposed, after.censored) == (21, 20)
    assert (after.rate, after.with_outcome, after.variance) == pytest.approx(
        (before.rate, 1, before.variance), nan_ok=True
    )


def test_an_outcome_outside_the_window_is_ignored(connection: psycopg.Connection) -> None:
    for entity in ("before", "at_exposure", "after"):
        expose(connection, entity, "champion")
    observe(connection, "before", 1, days(-1))
    observe(connection, "at_exposure", 1, days(0))
    observe(connection, "after", 1, days(90) + timedelta(microseconds=1))
    champion = fetch_arms(connection, "trial", HORIZON, LATER).champion
    assert (champion.mature, champion.with_outcome, champion.unmatched) == (3, 0, 3)
    assert math.isnan(champion.rate)


def test_an_outcome_within_the_lead_of_the_label_is_ignored(connection: psycopg.Connection) -> None:
    for entity, day in (("at_its_end", 7), ("after_it", 8)):
        expose(connection, entity, "champion")
        observe(connection, entity, 1, days(day))
    champion = fetch_arms(connection, "trial", HORIZON, LATER, lead=days(7)).champion
    assert (champion.mature, champion.with_outcome) == (2, 1)


def test_of_three_outcomes_the_earliest_in_the_window_counts(connection: psycopg.Connection) -> None:
    expose(connection, "often", "champion")
    observe(connection, "often", 9, days(-2))
    observe(connection, "often", 5, days(40))
    observe(connection, "often", 2, days(7))
    observe(connection, "often", 7, days(80))
    assert fetch_arms(connection, "trial", HORIZON, LATER).champion.outcome_sum == 2.0


def test_a_unit_matures_at_the_very_end_of_its_window(connection: psycopg.Connection) -> None:
    expose(connection, "unit", "champion")
    just_before = fetch_arms(connection, "trial", HORIZON, START + HORIZON - timedelta(microseconds=1))
    assert (just_before.champion.mature, just_before.champion.censored) == (0, 1)
    assert fetch_arms(connection, "trial", HORIZON, START + HORIZON).champion.mature == 1


def test_without_a_label_window_a_unit_matures_with_its_first_outcome(connection: psycopg.Connection) -> None:
    for entity in ("known", "open", "known_before", "known_later"):
        expose(connection, entity, "champion")
    observe(connection, "known", 1, days(10))
    observe(connection, "known", 0, days(20))
    observe(connection, "known_before", 1, days(-1))
    observe(connection, "known_later", 1, days(200))
    champion = fetch_arms(connection, "trial", None, LATER).champion
    assert (champion.mature, champion.censored, champion.unmatched) == (1, 3, 0)
    assert champion.rate == 1.0


def test_exposures_of_other_experiments_and_of_later_are_not_counted(connection: psycopg.Connection) -> None:
    expose(connection, "unit", "champion", experiment="another")
    expose(connection, "later", "champion", day=200)
    assert fetch_arms(connection, "trial", HORIZON, LATER) == ExperimentArms("trial", LATER)


def in_phases(*phases: tuple[ArmCounts, ArmCounts], weights: Sequence[tuple[int, int]] = ((1, 1),)) -> ExperimentArms:
    """Arms by phase, each of its own weights, all of the same two releases."""
    return ExperimentArms(
        "trial",
        LATER,
        tuple(
            PhaseArms(
                Phase("trial", "salt", *dealt, "r1", "r2", phase_id=number, since=START),
                *arms,
                ("r1",),
                ("r2",),
                last_exposed_at=START,
            )
            for number, (arms, dealt) in enumerate(zip(phases, weights, strict=True), start=1)
        ),
    )


def counted(arm: Role, units: int, ones: int) -> ArmCounts:
    """Units that are all mature and have a 0/1 outcome."""
    return ArmCounts(arm, units, units, units, ones, ones)


def of_units(
    champion: tuple[int, int], challenger: tuple[int, int], weights: tuple[int, int] = (1, 1)
) -> ExperimentArms:
    """Arms of (units, ones) in one phase, all mature and with a 0/1 outcome."""
    return in_phases((counted("champion", *champion), counted("challenger", *challenger)), weights=[weights])


def compared(arms: ExperimentArms, weights: dict[Role, int] | None = None) -> Comparison:
    return compare(arms, weights or EVEN, confidence=0.95, sample_ratio_alarm=0.001)


def test_the_interval_is_welchs() -> None:
    # Both variances are (61/60)(20/61)(41/61) = 820/3660, so the degrees of freedom are 120, where t(0.975) = 1.97993.
    found = compared(of_units((61, 20), (61, 41)))
    error = math.sqrt(2 * 820 / 3660 / 61)
    assert found.difference == pytest.approx(21 / 61, rel=1e-12)
    assert found.ci_lower == pytest.approx(21 / 61 - 1.97993 * error, abs=1e-6)
    assert found.ci_upper == pytest.approx(21 / 61 + 1.97993 * error, abs=1e-6)
    assert found.verdict == "challenger higher"
    assert found.withheld_because is None


def test_the_difference_is_challenger_minus_champion() -> None:
    assert compared(of_units((400, 200), (400, 100))).difference == -0.25
    assert compared(of_units((400, 200), (400, 100))).verdict == "challenger lower"
    assert compared(of_units((400, 200), (400, 201))).verdict == "no difference shown"


def test_the_sample_ratio_is_tested_exactly_on_few_units() -> None:
    # 2 of 10 at one half: (1 + 10 + 45) * 2 / 1024.
    found = compared(of_units((8, 4), (2, 1)))
    assert found.sample_ratio_p == pytest.approx(112 / 1024, rel=1e-12)


def test_the_sample_ratio_is_a_chi_square_on_many_units() -> None:
    # chi-square = 2 * 50^2 / 500 = 10 with one degree of freedom: p = erfc(sqrt(5)).
    assert compared(of_units((550, 55), (450, 45))).sample_ratio_p == pytest.approx(math.erfc(math.sqrt(5)), rel=1e-9)
    assert compared(of_units((550, 55), (450, 45), (11, 9))).sample_ratio_p == 1.0


def test_a_mismatched_ratio_withholds_the_verdict() -> None:
    found = compared(of_units((6_000, 3_000), (5_000, 1_000)))
    assert found.verdict == "withheld"
    assert found.withheld_because is not None
    assert "The units exposed do not match the weights 1:1" in found.withheld_because


def test_outcomes_lost_in_one_arm_withhold_the_verdict() -> None:
    whole = ArmCounts("champion", 5_000, 5_000, 4_000, 400, 400)
    lossy = ArmCounts("challenger", 5_000, 5_000, 3_000, 300, 300)
    found = compared(in_phases((whole, lossy)))
    assert found.sample_ratio_p == 1.0
    assert found.sample_ratio_p_joined < 0.001
    assert found.verdict == "withheld"
    assert found.withheld_because is not None
    assert "mature with an outcome" in found.withheld_because


def test_too_few_units_withhold_the_verdict() -> None:
    found = compared(of_units((29, 2), (29, 28)))
    assert found.verdict == "withheld"
    assert found.withheld_because is not None
    assert "has 29 mature units with an outcome, 30 are needed" in found.withheld_because


@pytest.mark.parametrize("ones", [0, 100])
def test_outcomes_that_never_differ_give_no_interval(ones: int) -> None:
    found = compared(of_units((100, ones), (100, ones)))
    assert (found.difference, found.verdict) == (0.0, "withheld")
    assert math.isnan(found.ci_lower)


def test_a_champion_without_any_positive_is_still_compared() -> None:
    found = compared(of_units((200, 0), (200, 40)))
    assert (found.difference, found.verdict) == (0.2, "challenger higher")


def test_an_arm_without_weight_withholds_the_verdict() -> None:
    found = compared(of_units((100, 10), (0, 0), (1, 0)), {"champion": 100, "challenger": 0})
    assert found.verdict == "withheld"
    assert "The arm 'challenger' has no weight" in (found.withheld_because or "")
    assert math.isnan(found.sample_ratio_p)


def test_the_answer_has_stable_keys_and_is_json_even_when_empty() -> None:
    answer = compared(ExperimentArms("trial", LATER)).to_dict()
    assert json.loads(json.dumps(answer, allow_nan=False)) == {
        "experiment": "trial",
        "as_of": "1998-07-10T00:00:00+00:00",
        "arms": {
            arm: {"exposed": 0, "mature": 0, "censored": 0, "with_outcome": 0, "unmatched": 0, "rate": None}
            for arm in ("champion", "challenger")
        },
        "confidence": 0.95,
        "difference": None,
        "ci_lower": None,
        "ci_upper": None,
        "p_value": None,
        "sequence_lower": None,
        "sequence_upper": None,
        "sample_ratio_p": None,
        "sample_ratio_p_joined": None,
        "verdict": "withheld",
        "withheld_because": "The arm 'champion' has 0 mature units with an outcome, 30 are needed; "
        "0 are not mature yet and 0 have no outcome.",
        "phases": [],
    }


def test_experiments_without_a_difference_rarely_claim_one() -> None:
    experiments, random = 200, np.random.default_rng(1_998)
    ones = random.binomial(2_000, 0.3, size=(experiments, 2))
    found = [compared(of_units((2_000, int(one)), (2_000, int(other)))) for one, other in ones]
    alarms = sum(comparison.verdict != "no difference shown" for comparison in found)
    assert alarms <= binom.ppf(0.999, experiments, 0.05)


def test_the_sums_give_what_the_units_themselves_give() -> None:
    random = np.random.default_rng(5)
    champion, challenger = random.gamma(2, 10, size=300), random.gamma(2, 11, size=320)

    def sums(arm: Role, values: npt.NDArray[np.float64]) -> ArmCounts:
        return ArmCounts(arm, values.size, values.size, values.size, float(values.sum()), float((values**2).sum()))

    arms = in_phases((sums("champion", champion), sums("challenger", challenger)))
    units = {"variant": [0] * 300 + [1] * 320, "value": [*champion, *challenger]}
    result = tt.Experiment(value=tt.Mean("value", equal_var=False)).analyze(pa.table(units), control=0)
    expected = result["value"]
    found = compared(arms)
    assert found.difference == pytest.approx(expected.effect_size, rel=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


RAMP = [(9, 1), (1, 1)]


def test_weights_that_were_changed_on_the_way_are_no_mismatch() -> None:
    """900 : 100 and then 500 : 500, in the proportions of the weights of their time."""
    found = compared(
        in_phases(
            (counted("champion", 900, 90), counted("challenger", 100, 10)),
            (counted("champion", 500, 50), counted("challenger", 500, 50)),
            weights=RAMP,
        )
    )
    assert (found.sample_ratio_p, found.sample_ratio_p_joined) == (1.0, 1.0)
    assert found.verdict == "no difference shown"
    assert (found.arms.champion.exposed, found.arms.challenger.exposed) == (1_400, 600)


def test_units_that_differ_between_phases_make_no_difference_between_arms() -> None:
    """No unit responds: 10 % in the first phase, 50 % in the second. Pooled rates would be 24 % and 43 %."""
    found = compared(
        in_phases(
            (counted("champion", 900, 90), counted("challenger", 100, 10)),
            (counted("champion", 500, 250), counted("challenger", 500, 250)),
            weights=RAMP,
        )
    )
    assert found.difference == pytest.approx(0.0, abs=1e-12)
    assert [found.champion_rate, found.challenger_rate] == pytest.approx([0.3, 0.3])
    assert found.verdict == "no difference shown"


def test_the_difference_is_the_mean_of_the_phases_by_their_units() -> None:
    """1,000 units differ by +0.1 and 3,000 by +0.2: (1 * 0.1 + 3 * 0.2) / 4; errors add as squares, by squared shares."""
    found = compared(
        in_phases(
            (counted("champion", 500, 100), counted("challenger", 500, 150)),
            (counted("champion", 1_500, 150), counted("challenger", 1_500, 450)),
            weights=[(1, 1), (1, 1)],
        )
    )
    terms = [(1 / 4, 0.2, 500), (1 / 4, 0.3, 500), (3 / 4, 0.1, 1_500), (3 / 4, 0.3, 1_500)]
    error = math.sqrt(sum(share**2 * rate * (1 - rate) / (units - 1) for share, rate, units in terms))
    assert found.difference == pytest.approx(0.175, rel=1e-12)
    # With some 2,600 degrees of freedom, t(0.975) is 1.9608.
    assert found.ci_upper - found.difference == pytest.approx(1.9608 * error, rel=1e-3)
    assert found.verdict == "challenger higher"


def test_units_lost_in_one_phase_withhold_the_verdict_and_name_the_phase() -> None:
    found = compared(
        in_phases(
            (counted("champion", 900, 90), counted("challenger", 40, 4)),
            (counted("champion", 500, 50), counted("challenger", 500, 50)),
            weights=RAMP,
        )
    )
    assert found.verdict == "withheld"
    assert "The units exposed in phase 1 do not match the weights 9:1" in (found.withheld_because or "")


def test_a_phase_with_few_units_is_left_out_and_named() -> None:
    found = compared(
        in_phases(
            (counted("champion", 90, 90), counted("challenger", 10, 0)),
            (counted("champion", 500, 50), counted("challenger", 500, 50)),
            weights=RAMP,
        )
    )
    assert [phase.left_out for phase in found.phases] == ["too few mature units with an outcome", None]
    assert (found.difference, found.verdict) == (0.0, "no difference shown")


def test_looks_are_at_the_mean_of_the_compared_phases_so_far() -> None:
    """The first day differs by 0.1; with the second one (1 * 0.1 + 3 * 0.2) / 4; the third phase has too few units."""
    pairs = [
        (counted("champion", 500, 100), counted("challenger", 500, 150)),
        (counted("champion", 1_500, 150), counted("challenger", 1_500, 450)),
        (counted("champion", 20, 20), counted("challenger", 20, 0)),
    ]
    days = tuple(
        DayCounts(number, START + timedelta(days=number), arm)
        for number, pair in enumerate(pairs, start=1)
        for arm in pair
    )
    comparison = compared(replace(in_phases(*pairs, weights=[(1, 1)] * 3), days=days))
    terms = ExperimentTerms("lower", minimum_effect=0.1, looks=10, alpha=1e-9, power=0.9)
    found = decided(comparison, terms).decision
    assert found is not None
    assert [look.difference for look in found.looks] == pytest.approx([0.1, 0.175])
    assert found.decision == "keep the champion"
    assert decided(comparison, None) == comparison


def test_a_phase_in_which_other_releases_answered_is_left_out() -> None:
    """The challenger became champion: what the arms met in each phase is the opposite, and would cancel out."""
    before = in_phases((counted("champion", 500, 50), counted("challenger", 500, 250))).phases[0]
    swapped = Phase("trial", "salt", 1, 1, "r2", "r1", phase_id=2, since=LATER)
    after = PhaseArms(
        swapped, counted("champion", 500, 250), counted("challenger", 500, 50), ("r2",), ("r1",), 0, LATER
    )
    found = compared(ExperimentArms("trial", LATER, (before, after)))
    assert found.phases[0].left_out == "other releases answered than those that are compared"
    assert (found.difference, found.verdict) == (-0.4, "challenger lower")


def test_exposures_from_before_phases_were_recorded_are_taken_if_they_fit_the_present_weights() -> None:
    def unrecorded(champion: int, challenger: int) -> Comparison:
        pair = counted("champion", champion, champion // 2), counted("challenger", challenger, challenger // 2)
        return compared(ExperimentArms("trial", LATER, (PhaseArms(None, *pair, ("r1",), ("r2",), 0, START),)))

    assert unrecorded(500, 500).verdict == "no difference shown"
    changed = unrecorded(900, 100)
    assert changed.verdict == "withheld"
    assert "find out which units are lost" not in (changed.withheld_because or "")


def test_equal_weights_are_one_phase_however_they_are_written(connection: psycopg.Connection) -> None:
    connection.execute(
        'INSERT INTO panthera.release SELECT (jsonb_populate_record(r, \'{"release_id": "r2"}\')).* FROM panthera.release r'
    )

    def entered(champion: int, challenger: int, salt: str = "s", other: str | None = "r2") -> int:
        return enter_phase(
            connection, phase_terms("trial", salt, {"champion": champion, "challenger": challenger}, "r1", other)
        )

    first = entered(90, 10)
    assert entered(9, 1) == first
    others = [entered(1, 1), entered(90, 10, salt="t"), entered(90, 10, other=None), entered(10, 90)]
    assert len({first, *others}) == 5
    assert entered(1, 1, other=None) == others[2]
    assert entered(90, 10) == first


def test_units_are_counted_in_the_phase_of_their_exposure(connection: psycopg.Connection) -> None:
    phase = enter_phase(connection, phase_terms("trial", "s", {"champion": 1}, "r1", None))
    expose(connection, "before", "champion")
    expose(connection, "since", "champion")
    connection.execute("UPDATE panthera.exposure SET phase_id = %s WHERE entity = 'since'", [phase])
    arms = fetch_arms(connection, "trial", HORIZON, LATER)
    assert [(each.phase.phase_id if each.phase else None, each.champion.exposed) for each in arms.phases] == [
        (None, 1),
        (phase, 1),
    ]
    assert arms.champion.exposed == 2
