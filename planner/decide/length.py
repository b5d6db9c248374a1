"""How long an A/B test takes: from the units that it needs, those that arrive, and the time until an outcome is known."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from core.experiment.power import detectable_effect, units_per_arm

if TYPE_CHECKING:
    from datetime import timedelta

    from core.plan.plan import Monitor
    from planner.decide.label_rates import Arrivals

#: Days after which a test is not worth waiting for.
LONGEST_DAYS = 365.0


@dataclass(frozen=True)
class ErrorRates:
    """The accepted errors of a test: `alpha` without a change, 1 - `power` with it, over all `looks`."""

    alpha: float = 0.05
    power: float = 0.8
    looks: int = 1

    @staticmethod
    def of(monitor: Monitor) -> ErrorRates:
        """Return the error rates of `monitor.experiment`; without that section, those of a test with one look."""
        terms = monitor.experiment
        return ErrorRates(1 - monitor.confidence, terms.power, terms.looks) if terms else ErrorRates()


@dataclass(frozen=True)
class ExperimentLength:
    """How long a test takes that can find a relative change of the base rate.

    Attributes
    ----------
    effect : relative change of the base rate.
    units_per_arm : units that the smaller arm needs.
    units : units of both arms together.
    enrolment_days : days until they have arrived; infinite if they never do, NaN where the arrivals are unknown.
    days : enrolment and the time until the last outcome is known; NaN where one of them is unknown.
    smallest_arm_share : least share of the units in the smaller arm with which the test would end within a year; NaN where
        none is enough, or it is unknown.

    """

    effect: float
    units_per_arm: int
    units: int
    enrolment_days: float
    days: float
    smallest_arm_share: float

    @property
    def within_a_year(self) -> bool:
        """Whether the test ends within a year; False where that is unknown."""
        return self.days <= LONGEST_DAYS


_ONE_LOOK = ErrorRates()


def experiment_length(
    base_rate: float,
    effect: float,
    arm_share: float,
    arrivals: Arrivals,
    known_after: timedelta | None,
    errors: ErrorRates = _ONE_LOOK,
) -> ExperimentLength:
    """Return how long a test takes whose smaller arm has `arm_share` of the units, and that finds a fall by `effect`."""
    needed = units_per_arm(base_rate, -effect * base_rate, **asdict(errors))
    units = math.ceil(needed / arm_share)
    enrolment = enrolment_days(units, arrivals)
    maturity = known_after.total_seconds() / 86_400 if known_after is not None else math.nan
    within_year = units_within(LONGEST_DAYS - maturity, arrivals)
    share = needed / within_year if within_year >= 2 * needed else math.nan
    return ExperimentLength(effect, needed, units, enrolment, enrolment + maturity, share)


def smallest_fall(base_rate: float, units_per_arm: int, errors: ErrorRates) -> float:
    """Return the smallest relative fall of the base rate that such arms show; NaN if they do not even show the largest, 1.

    A fall of a rate is a rise of its complement.
    """
    fall = detectable_effect(1 - base_rate, units_per_arm, **asdict(errors)) / base_rate
    return fall if fall <= 1 else math.nan


def enrolment_days(units: int, arrivals: Arrivals) -> float:
    """Return the days until so many units have arrived; NaN where that is unknown."""
    missing = units - arrivals.waiting
    if missing <= 0:
        return 0.0
    if arrivals.daily is None:
        return math.nan
    return missing / arrivals.daily if arrivals.daily > 0 else math.inf


def units_within(days: float, arrivals: Arrivals) -> float:
    """Return the units that wait or arrive within `days`; 0 if there is no day, NaN if their number is unknown."""
    if math.isnan(days):
        return math.nan
    return arrivals.waiting + (arrivals.daily or 0.0) * days if days >= 0 else 0.0
