"""Decide before training: horizon, threshold, capacity, money and the length of the A/B test, from the plan and its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.errors import PlanError
from planner.decide.label_rates import Arrivals, arrivals, label_rates, labelled_rows
from planner.decide.length import (
    LONGEST_DAYS,
    ErrorRates,
    ExperimentLength,
    experiment_length,
    smallest_fall,
    units_within,
)
from planner.decide.money import ProfitBounds, profit_bounds

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan
    from planner.decide.label_rates import LabelRate
    from planner.document.parts import Basis

#: Relative changes of the base rate that are looked at, and the one of the verdict, unless one is given.
EFFECTS, DEFAULT_EFFECT = (0.05, 0.1, 0.2), 0.1


@dataclass(frozen=True)
class HorizonDecision:
    """What one horizon of the label means for the A/B test and for money.

    Attributes
    ----------
    lengths : of the test, by effect.
    smallest_effect : least relative change that a test of a year can find; NaN where that is unknown.
    bounds : the profit per 1,000 units; None without money in the plan.

    """

    rate: LabelRate
    lengths: tuple[ExperimentLength, ...]
    smallest_effect: float
    bounds: ProfitBounds | None


@dataclass(frozen=True)
class Decision:
    """What can be decided before training.

    Attributes
    ----------
    why_not : why no test can be planned; empty if it can.
    effect : relative change of the base rate that the verdict is about.
    arm_share : share of the units in the smaller arm.
    errors : accepted errors of the test, and its looks.
    effect_basis, arrivals_basis, arm_basis, errors_basis : whether they are stated, measured or assumed.
    horizons : the plan's horizon and its alternatives, from the shortest.

    """

    why_not: str
    effect: float
    effect_basis: Basis
    arrivals: Arrivals
    arrivals_basis: Basis
    arm_share: float
    arm_basis: Basis
    errors: ErrorRates
    errors_basis: Basis
    horizons: tuple[HorizonDecision, ...] = ()

    @property
    def planned(self) -> HorizonDecision | None:
        """The decision for the horizon of the plan; None if no test can be planned."""
        return next((one for one in self.horizons if one.rate.is_planned), None)

    @property
    def length(self) -> ExperimentLength | None:
        """The length of the test of the verdict; None if no test can be planned."""
        planned = self.planned
        return next((one for one in planned.lengths if one.effect == self.effect), None) if planned else None

    @property
    def can_be_decided(self) -> bool:
        """Whether a test of the plan's horizon ends within a year."""
        return self.length is not None and self.length.within_a_year


def decide(
    plan: Plan,
    accepted: Path,
    traffic: int | None = None,
    effect: float | None = None,
    *,
    alternatives: bool = True,
) -> Decision:
    """Return what can be decided from the accepted rows of the plan.

    Parameters
    ----------
    traffic : new units a day; by default measured.
    effect : relative change of the base rate to find; by default 10 %.
    alternatives : whether other horizons are looked at too, each of which labels all rows again.

    """
    arm, errors = _arm_share(plan), ErrorRates.of(plan.monitor)
    basis: Basis = "measured" if traffic is None else "stated"
    came = Arrivals(0, None if traffic is None else float(traffic))
    empty = Decision(
        "", *_wanted(effect), came, basis, *arm, errors, "stated" if plan.monitor.experiment else "assumed"
    )
    if why_not := _why_not(plan):
        return replace(empty, why_not=why_not)
    try:
        planned = labelled_rows(plan, accepted)
    except PlanError as error:
        return replace(empty, why_not=str(error))
    found = empty.arrivals if traffic is not None else arrivals(plan, planned)
    rates = label_rates(plan, accepted, planned, alternatives=alternatives)
    if why_not := _why_no_rate(next(rate for rate in rates if rate.is_planned)):
        return replace(empty, arrivals=found, why_not=why_not)
    effects = EFFECTS if effect is None else (effect,)
    usable = [rate for rate in rates if not _why_no_rate(rate)]
    horizons = tuple(_horizon(plan, rate, replace(empty, arrivals=found), effects) for rate in usable)
    return replace(empty, arrivals=found, horizons=horizons)


def _wanted(effect: float | None) -> tuple[float, Basis]:
    return (DEFAULT_EFFECT, "assumed") if effect is None else (effect, "stated")


def _arm_share(plan: Plan) -> tuple[float, Basis]:
    """Return the share of the smaller arm of the plan's experiment; half if the plan has one arm."""
    weights = [weight for weight in plan.serve.arms.values() if weight]
    return (min(weights) / sum(weights), "stated") if len(weights) > 1 else (0.5, "assumed")


def _why_not(plan: Plan) -> str:
    problem = plan.project.problem
    if problem == "binary":
        return ""
    kind = "a number" if problem == "regression" else "one of several classes"
    return (
        f"the label of a {problem} problem is {kind}, and the length of a test is computed for the rate of a label that is 0 "
        "or 1: compare arms by a binary outcome"
    )


def _why_no_rate(rate: LabelRate) -> str:
    if not rate.rows:
        return "there is no labelled row: check label.population and the instants of training_set.as_of"
    if rate.positives in {0, rate.rows}:
        only = "1" if rate.positives else "0"
        return f"all {rate.rows:,} labels are {only}, so there is no rate that could change: check label.value"
    return ""


def _horizon(plan: Plan, rate: LabelRate, test: Decision, effects: tuple[float, ...]) -> HorizonDecision:
    money = plan.evaluate.money
    lengths = tuple(
        experiment_length(rate.base_rate, effect, test.arm_share, test.arrivals, rate.known_after, test.errors)
        for effect in effects
    )
    return HorizonDecision(
        rate,
        lengths,
        _smallest_effect(rate, test),
        profit_bounds(money, rate.base_rate) if money else None,
    )


def _smallest_effect(rate: LabelRate, test: Decision) -> float:
    if rate.known_after is None:
        return math.nan
    units = units_within(LONGEST_DAYS - rate.known_after.total_seconds() / 86_400, test.arrivals)
    in_arm = int(units * test.arm_share)
    return smallest_fall(rate.base_rate, in_arm, test.errors) if in_arm > 1 else math.nan
