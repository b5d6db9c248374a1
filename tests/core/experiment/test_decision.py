"""The decision about an experiment, by hand and on simulated experiments that are looked at every week."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binom

from core.experiment.decision import DayEnd, ExperimentDecision, ExperimentTerms, decide_experiment
from core.experiment.power import units_per_arm

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

START = datetime(1998, 4, 6, tzinfo=UTC)
TERMS = ExperimentTerms("higher", minimum_effect=0.01, looks=5, alpha=0.05, power=0.8)
FIVE_BOUNDS = [3.540, 2.974, 2.605, 2.306, 2.045]


def days(*fractions_and_z: tuple[float, float]) -> list[DayEnd]:
    """Return a day end for each fraction of the planned information and z."""
    errors = [1 / math.sqrt(fraction * TERMS.planned_information) for fraction, _ in fractions_and_z]
    return [
        DayEnd(START + timedelta(days=day), z * error, error**2)
        for day, ((_, z), error) in enumerate(zip(fractions_and_z, errors, strict=True))
    ]


def numbers(decision: ExperimentDecision) -> list[int]:
    return [look.number for look in decision.looks]


def test_five_equal_looks_have_the_published_bounds() -> None:
    found = decide_experiment(days((0.2, 0), (0.4, 0), (0.6, 0), (0.8, 0), (1.0, 0)), TERMS)
    assert [round(look.bound, 3) for look in found.looks] == FIVE_BOUNDS
    assert found.decision == "keep the champion"
    assert "a true difference of 0.01 would have been shown with probability 0.8" in found.reason


@pytest.mark.parametrize(
    ("better", "z", "decision"),
    [
        ("higher", 2.98, "ship the challenger"),
        ("higher", -2.98, "keep the champion"),
        ("lower", -2.98, "ship the challenger"),
        ("lower", 2.98, "keep the champion"),
        ("higher", 2.97, "go on"),
        ("higher", -2.97, "go on"),
    ],
)
def test_a_look_ends_the_experiment_beyond_its_bound(
    better: Literal["higher", "lower"], z: float, decision: str
) -> None:
    terms = ExperimentTerms(better, 0.01, 5, 0.05, 0.8)
    found = decide_experiment(days((0.2, 1.0), (0.4, z), (0.45, 0.5)), terms)
    assert (found.decision, numbers(found)) == (decision, [1, 2])
    assert f"look 2 of 5 (before 1998-04-07) needs z 2.974, has {z:.3f}" in found.reason


def test_a_decision_stands_whatever_comes_later() -> None:
    found = decide_experiment(days((0.2, 3.6), (0.6, 0.0), (1.0, -3.0)), TERMS)
    assert (found.decision, numbers(found)) == ("ship the challenger", [1])


def test_days_between_looks_do_not_count() -> None:
    between = days((0.1, 9.0), (0.2, 0.0), (0.3, 9.0), (0.39, -9.0))
    found = decide_experiment(between, TERMS)
    assert (found.decision, numbers(found)) == ("go on", [1])
    assert "look 2 comes with 40% of the planned information, 39% is there" in found.reason


def test_a_day_that_brings_the_information_of_several_looks_is_one_look() -> None:
    assert numbers(decide_experiment(days((0.1, 0), (0.7, 0), (0.9, 0), (1.4, 0), (1.6, 9)), TERMS)) == [3, 4, 5]


def test_looks_are_half_a_step_apart_and_never_more_than_planned() -> None:
    found = decide_experiment(days((0.399, 0), (0.401, 0), (0.498, 0), (0.5, 0)), TERMS)
    assert [round(look.information, 3) for look in found.looks] == [0.399, 0.5]


def test_a_single_day_with_all_information_is_the_fixed_horizon() -> None:
    (look,) = decide_experiment(days((3.0, 1.9)), TERMS).looks
    assert (look.number, round(look.bound, 6)) == (5, 1.959964)


def test_a_comparison_that_is_withheld_withholds_the_decision() -> None:
    found = decide_experiment(days((0.2, 9.0)), TERMS, "The arms are not comparable.")
    assert (found.decision, found.reason) == ("withheld", "The arms are not comparable.")


@pytest.mark.parametrize("days_without", [[], [DayEnd(START, 0.0, 0.0)]])
def test_no_information_is_no_look(days_without: list[DayEnd]) -> None:
    found = decide_experiment(days_without, TERMS)
    assert (found.decision, found.information) == ("go on", 0.0)
    assert found.reason == "look 1 of 5 comes with 20% of the planned information, 0% is there"


EXPERIMENTS, WEEKS, BASE_RATE, EFFECT = 500, 14, 0.2, 0.04


def simulated(effect: float) -> list[ExperimentDecision]:
    """Return the decisions about simulated experiments with `effect`, each with weeks enough for its last look."""
    terms = ExperimentTerms("higher", EFFECT, 5, 0.05, 0.8)
    weekly = units_per_arm(BASE_RATE, EFFECT, looks=5) // 12
    rng = np.random.default_rng(17)
    units = weekly * np.arange(1, WEEKS + 1)

    def rates(rate: float) -> NDArray[np.float64]:
        return np.cumsum(rng.binomial(weekly, rate, (EXPERIMENTS, WEEKS)), axis=1) / units

    champion, challenger = rates(BASE_RATE), rates(BASE_RATE + effect)
    variances = (champion * (1 - champion) + challenger * (1 - challenger)) / (units - 1)
    ends = [START + timedelta(weeks=week) for week in range(1, WEEKS + 1)]
    return [
        decide_experiment(map(DayEnd, ends, differences, variance), terms)
        for differences, variance in zip((challenger - champion).tolist(), variances.tolist(), strict=True)
    ]


def test_experiments_without_an_effect_find_one_within_alpha_under_weekly_looks() -> None:
    found = simulated(0.0)
    assert {decision.decision for decision in found} == {"ship the challenger", "keep the champion"}
    assert min(len(decision.looks) for decision in found if not decision.looks[-1].ends) >= 4
    false = sum(decision.looks[-1].ends for decision in found)
    assert binom.ppf(0.001, EXPERIMENTS, 0.05) <= false <= binom.ppf(0.999, EXPERIMENTS, 0.05)


def test_experiments_with_the_planned_effect_show_it_as_often_as_promised() -> None:
    found = simulated(EFFECT)
    assert abs(sum(decision.decision == "ship the challenger" for decision in found) / EXPERIMENTS - 0.8) <= 0.05
    assert not any(decision.looks[-1].ends and decision.decision == "keep the champion" for decision in found)
