"""The group-sequential decision about an experiment, from the differences at the ends of its days.

Looks are not stored. They are found again from the units that matured before the end of each day, so that the decision is
the same at whatever times, and however often, one reads it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from core.experiment.power import drift
from core.experiment.sequential import sequential_bounds
from core.json_text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from core.experiment.metrics import MetricResult
    from core.plan.plan import Monitor

Outcome = Literal["ship the challenger", "keep the champion", "go on", "withheld"]

#: Information fractions are compared with a tolerance for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ExperimentTerms:
    """What was planned before the start.

    Attributes
    ----------
    better : which mean outcome is better.
    minimum_effect : smallest difference of the means, absolute, that is shown with the probability `power`.
    looks : number of looks, after equal parts of the planned information.
    alpha : two-sided error of all looks together.

    """

    better: Literal["higher", "lower"]
    minimum_effect: float
    looks: int
    alpha: float
    power: float

    @staticmethod
    def of(monitor: Monitor) -> ExperimentTerms | None:
        """Return the terms of `monitor.experiment`; None without that section."""
        stated, better = monitor.experiment, monitor.decide.better
        if stated is None or better is None:
            return None
        return ExperimentTerms(better, stated.minimum_effect, stated.looks, 1 - monitor.confidence, stated.power)

    @property
    def planned_information(self) -> float:
        """Information, 1 / variance of the difference, at which `minimum_effect` is shown with the probability `power`."""
        return (drift(self.alpha, self.power, self.looks) / self.minimum_effect) ** 2


@dataclass(frozen=True)
class DayEnd:
    """The difference challenger - champion and its variance, over the `units` of both arms that matured before `as_of`."""

    as_of: datetime
    difference: float
    variance: float
    units: int = 0


@dataclass(frozen=True)
class Look:
    """A look.

    Attributes
    ----------
    number : of the planned looks; numbers are left out if one day brings the information of several.
    as_of : end of the day of the look.
    information : fraction of the planned information.
    z : difference / standard error.
    bound : |z| from which the look ends the experiment.

    """

    number: int
    as_of: datetime
    information: float
    difference: float
    z: float
    bound: float

    @property
    def ends(self) -> bool:
        """Whether the look shows a difference."""
        return abs(self.z) >= self.bound


@dataclass(frozen=True)
class ExperimentDecision:
    """The decision about an experiment.

    Attributes
    ----------
    reason : one sentence with the numbers that led to the decision.
    information : fraction of the planned information at the end of the last whole day.
    looks : looks up to the one that ended the experiment, earliest first.
    planned_looks : number of looks in the plan.

    """

    decision: Outcome
    reason: str
    information: float
    looks: tuple[Look, ...]
    planned_looks: int

    def to_dict(self) -> dict[str, object]:
        """Return the decision as JSON types."""
        return {
            "decision": self.decision,
            "reason": self.reason,
            "information": plain(self.information),
            "planned_looks": self.planned_looks,
            "looks": [{name: plain(value) for name, value in asdict(look).items()} for look in self.looks],
        }


def decide_experiment(
    days: Iterable[DayEnd],
    terms: ExperimentTerms,
    withheld_because: str | None = None,
    guardrails: Sequence[MetricResult] = (),
) -> ExperimentDecision:
    """Return the decision about an experiment from the ends of its days, earliest first.

    With the information 1 / variance and the planned information (drift / minimum_effect)^2, t is their ratio. Look k is
    the first day end with t >= k / looks; a look with t >= 1 is the last. The bounds spend alpha t^3. The first look with
    |z| beyond its bound ends the experiment, and so does the last look. Looks are chosen by the information alone, which
    does not depend on the difference. No look ends the experiment for futility.

    A guardrail that became worse by its margin ends the experiment at once, even while the label's outcomes are too few. A
    challenger that is better is shipped once each guardrail is shown not to be worse. Guardrails are judged by confidence
    sequences, which need no looks.

    References
    ----------
    Lan, K. K. G., DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika, 70(3). Mehta, C. R.,
    Tsiatis, A. A. (2001). Flexible sample size considerations using information-based interim monitoring. Drug Information
    Journal, 35(4).

    """
    ends = [day for day in days if day.variance > 0]
    looks = _looks(ends, terms)
    information = 1 / ends[-1].variance / terms.planned_information if ends else 0.0
    decided: tuple[Outcome, str] = (
        ("withheld", withheld_because) if withheld_because else _decided(looks, terms, information)
    )
    decided = _guarded(decided, guardrails)
    return ExperimentDecision(*decided, information, looks, terms.looks)


def _looks(days: Iterable[DayEnd], terms: ExperimentTerms) -> tuple[Look, ...]:
    """Return the looks with their bounds, up to the first one that ends the experiment."""
    due = _due(days, terms)
    bounds = sequential_bounds([fraction for _, fraction, _ in due], terms.alpha)
    looks: list[Look] = []
    for (number, fraction, day), bound in zip(due, bounds, strict=True):
        z = day.difference / math.sqrt(day.variance)
        looks.append(Look(number, day.as_of, fraction, day.difference, z, bound))
        if looks[-1].ends:
            break
    return tuple(looks)


def _due(days: Iterable[DayEnd], terms: ExperimentTerms) -> list[tuple[int, float, DayEnd]]:
    """Return number, information fraction and day of each look.

    Two looks are half a step of the fraction apart at least; the density between closer ones could not be integrated.
    """
    due: list[tuple[int, float, DayEnd]] = []
    last, earlier = 0, -math.inf
    for day in days:
        fraction = 1 / day.variance / terms.planned_information
        number = min(math.floor(fraction * terms.looks + _ROUNDING), terms.looks)
        if number > last and fraction >= earlier + 0.5 / terms.looks:
            due.append((number, fraction, day))
            last, earlier = number, fraction
    return due


def _decided(looks: Sequence[Look], terms: ExperimentTerms, information: float) -> tuple[Outcome, str]:
    if not looks:
        return "go on", f"look 1 of {terms.looks} {_comes(1, terms, information)}"
    look = looks[-1]
    seen = (
        f"look {look.number} of {terms.looks} (before {look.as_of:%Y-%m-%d}) needs z {look.bound:.3f}, has {look.z:.3f}"
    )
    if look.ends:
        is_better = (look.difference > 0) == (terms.better == "higher")
        words = f"the means differ by {look.difference:+.4f}, and {terms.better} is better"
        return ("ship the challenger" if is_better else "keep the champion"), f"{seen}: {words}"
    if look.number == terms.looks:
        missed = f"a true difference of {terms.minimum_effect:g} would have been shown with probability {terms.power:g}"
        return "keep the champion", f"{seen}: no difference is shown, and {missed}"
    return "go on", f"{seen}; look {look.number + 1} {_comes(look.number + 1, terms, information)}"


def _guarded(decided: tuple[Outcome, str], guardrails: Sequence[MetricResult]) -> tuple[Outcome, str]:
    """Return the decision with the guardrails: one that is worse ends the experiment, and all must hold to ship."""
    decision, reason = decided
    worse = [each for each in guardrails if each.verdict == "worse"]
    if worse and decision != "keep the champion":
        return "keep the champion", f"{_guardrail_words(worse[0])}; {reason}"
    open_ = [each for each in guardrails if each.verdict != "not worse"]
    if open_ and decision == "ship the challenger":
        return "go on", f"{reason}; but {_guardrail_words(open_[0])}"
    return decision, reason


def _guardrail_words(guardrail: MetricResult) -> str:
    bounds = f"the confidence sequence of its difference is [{guardrail.sequence_lower:+.4f}, {guardrail.sequence_upper:+.4f}]"
    limit = f"the margin {guardrail.margin:g}, {guardrail.better} is better"
    if guardrail.verdict == "withheld":
        return f"the guardrail {guardrail.name} has too few units with a value"
    known = "is worse by its margin" if guardrail.verdict == "worse" else "is not shown to hold yet"
    return f"the guardrail {guardrail.name} {known}: {bounds}, {limit}"


def _comes(number: int, terms: ExperimentTerms, information: float) -> str:
    share = number / terms.looks
    return f"comes with {share:.0%} of the planned information, {information:.0%} is there"
