"""Cohorts: outcome counts of the entities exposed to each arm, and the result type of the comparison of arms.

Both the service and the command line return a `Comparison`. The counts are exact aggregates for each phase of the
experiment; `core.experiment.strata` compares the arms within each phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from core.experiment.means import ArmMean, sample_variance
from core.experiment.phases import ARMS, CONTROL, TREATMENT, PhaseTerms
from core.json_text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from core.experiment.covariate import CovariateUse
    from core.experiment.decision import ExperimentDecision
    from core.experiment.means import Pair
    from core.experiment.metrics import MetricResult
    from core.experiment.money import MoneyResult
    from core.roles import Role


@dataclass(frozen=True)
class ArmCounts:
    """Counts of the units (exposed entities) of one arm.

    Attributes
    ----------
    exposed : units exposed to the arm.
    mature : units whose label window has closed; without a label window, units whose outcome is known. All others are censored.
    with_outcome : mature units with an outcome inside their window; the first outcome counts.
    outcome_sum, outcome_sum_of_squares : sums over the values of those outcomes.
    covariate_known : units with an outcome whose covariate is known; `covariate_sum`, `covariate_sum_of_squares`,
        `covariate_product` (with the outcome) and `covariate_outcome_sum` are sums over them.

    """

    arm: str
    exposed: int = 0
    mature: int = 0
    with_outcome: int = 0
    outcome_sum: float = 0.0
    outcome_sum_of_squares: float = 0.0
    covariate_known: int = 0
    covariate_sum: float = 0.0
    covariate_sum_of_squares: float = 0.0
    covariate_product: float = 0.0
    covariate_outcome_sum: float = 0.0

    @property
    def censored(self) -> int:
        """Units whose label window is still open."""
        return self.exposed - self.mature

    @property
    def unmatched(self) -> int:
        """Mature units without a reported outcome; unknown, never counted as negative."""
        return self.mature - self.with_outcome

    @property
    def rate(self) -> float:
        """Mean outcome of the mature units that have one (for 0/1 outcomes, the share of ones); NaN if there are none."""
        return self.outcome_sum / self.with_outcome if self.with_outcome else math.nan

    @property
    def variance(self) -> float:
        """Sample variance (divisor n - 1) of those outcomes; NaN for fewer than two."""
        return sample_variance(self.with_outcome, self.outcome_sum, self.outcome_sum_of_squares)

    @property
    def mean(self) -> ArmMean:
        """The mean outcome."""
        return ArmMean(self.with_outcome, self.rate, self.variance)


_sums_of = attrgetter(*(field.name for field in fields(ArmCounts) if field.name != "arm"))


def added(counts: Iterable[ArmCounts], arm: Role) -> ArmCounts:
    """Return the sum of `counts` as the counts of `arm`."""
    rows = list(map(_sums_of, counts))
    return ArmCounts(arm, *map(sum, zip(*rows, strict=True))) if rows else ArmCounts(arm)


@dataclass(frozen=True, kw_only=True)
class Phase(PhaseTerms):
    """A recorded phase: its terms, its id and its start."""

    phase_id: int
    since: datetime

    @property
    def weights(self) -> dict[Role, int]:
        """The weights of the arms."""
        return {CONTROL: self.champion_weight, TREATMENT: self.challenger_weight}


@dataclass(frozen=True)
class PhaseArms:
    """The two arms in one phase; an arm without exposures has zeros.

    Attributes
    ----------
    phase : None for exposures from before phases were recorded.
    champion_releases, challenger_releases : the releases that answered when the units were exposed.
    imported : number of exposures imported from replayed predictions.

    """

    phase: Phase | None
    champion: ArmCounts
    challenger: ArmCounts
    champion_releases: tuple[str, ...] = ()
    challenger_releases: tuple[str, ...] = ()
    imported: int = 0
    last_exposed_at: datetime | None = None

    @property
    def means(self) -> Pair:
        """The mean outcomes of the two arms."""
        return self.champion.mean, self.challenger.mean

    @property
    def name(self) -> str:
        """Name of the phase in messages."""
        return f"phase {self.phase.phase_id}" if self.phase else "the time before phases were recorded"


@dataclass(frozen=True)
class DayCounts:
    """The units of one arm in one phase whose maturity falls into the day before `day_end`."""

    phase_id: int | None
    day_end: datetime
    counts: ArmCounts


@dataclass(frozen=True)
class ExperimentArms:
    """The two arms of an experiment as of an instant, by phase, earliest first; if counted by day, also the whole days."""

    experiment: str
    as_of: datetime
    phases: tuple[PhaseArms, ...] = ()
    days: tuple[DayCounts, ...] = ()

    @property
    def champion(self) -> ArmCounts:
        """Counts of the champion arm over all phases."""
        return added((phase.champion for phase in self.phases), CONTROL)

    @property
    def challenger(self) -> ArmCounts:
        """Counts of the challenger arm over all phases."""
        return added((phase.challenger for phase in self.phases), TREATMENT)


@dataclass(frozen=True)
class PhaseResult:
    """The result of one phase.

    Attributes
    ----------
    weights : the expected weights in the sample ratio test.
    sample_ratio_p, sample_ratio_p_joined : p-values of the sample ratio test on exposed units and on units with an outcome;
        NaN if not tested.
    left_out : why the phase is not part of the comparison; None if it is.

    """

    arms: PhaseArms
    weights: Mapping[Role, int]
    sample_ratio_p: float
    sample_ratio_p_joined: float
    left_out: str | None

    @property
    def phase_id(self) -> int | None:
        """Id of the phase; None for exposures from before phases were recorded."""
        return self.arms.phase.phase_id if self.arms.phase else None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types: instants as ISO 8601, NaN as None."""
        phase = self.arms.phase
        releases = {CONTROL: self.arms.champion_releases, TREATMENT: self.arms.challenger_releases}
        return {
            "phase": self.phase_id,
            "since": plain(phase.since) if phase else None,
            "weights": {arm: self.weights.get(arm, 0) for arm in ARMS},
            "releases": {arm: list(names) for arm, names in releases.items()},
            "arms": {arm.arm: _arm_dict(arm, arm.rate) for arm in (self.arms.champion, self.arms.challenger)},
            "imported": self.arms.imported,
            "sample_ratio_p": plain(self.sample_ratio_p),
            "sample_ratio_p_joined": plain(self.sample_ratio_p_joined),
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class Comparison:
    """The comparison of the challenger with the champion over mature units.

    Attributes
    ----------
    champion_rate, challenger_rate : mean outcome over the compared phases, each weighted by its units with an outcome; over
        all units if no phase can be compared.
    difference : challenger_rate - champion_rate.
    ci_lower, ci_upper : confidence interval of the difference, at the level `confidence`.
    p_value : two-sided p-value of the hypothesis of no difference.
    sequence_lower, sequence_upper : confidence sequence of the difference: it may be read every week, whereas the interval
        holds for one look.
    sample_ratio_p, sample_ratio_p_joined : p-values of the sample ratio test on exposed units and on units with an outcome:
        the smallest over the tested phases, times their number (Bonferroni).
    verdict : "challenger higher", "challenger lower", "no difference shown" or "withheld"; whether higher is better depends
        on the outcome.
    withheld_because : the reason in one sentence; None unless withheld.
    phases : the result of each phase, earliest first.
    decision : the decision by looks, if the plan has terms for it.
    metrics : guardrails and secondary metrics, if the plan has any.
    covariate : whether the difference, its intervals and the two rates are adjusted by it, if the plan has one.
    money : of a unit in each arm, if the plan has `evaluate.money`.
    has_comparable_arms : whether the sample ratios match the weights; if not, guardrails decide nothing.

    Undefined numbers are NaN.

    """

    arms: ExperimentArms
    confidence: float
    champion_rate: float
    challenger_rate: float
    difference: float
    ci_lower: float
    ci_upper: float
    p_value: float
    sequence_lower: float
    sequence_upper: float
    sample_ratio_p: float
    sample_ratio_p_joined: float
    verdict: str
    withheld_because: str | None
    phases: tuple[PhaseResult, ...]
    decision: ExperimentDecision | None = None
    metrics: tuple[MetricResult, ...] = ()
    covariate: CovariateUse | None = None
    money: MoneyResult | None = None
    has_comparable_arms: bool = True

    @property
    def is_adjusted(self) -> bool:
        """Whether the difference is adjusted by a covariate."""
        return self.covariate is not None and self.covariate.is_used

    @property
    def tested(self) -> set[int | None]:
        """The phases of the compared releases, by id; they may have too few units with the label's outcome."""
        return {phase.phase_id for phase in self.phases if not math.isnan(phase.sample_ratio_p)}

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as JSON types: instants as ISO 8601, NaN as None; without a decision, no such key."""
        return {
            "experiment": self.arms.experiment,
            "as_of": plain(self.arms.as_of),
            "arms": {
                CONTROL: _arm_dict(self.arms.champion, self.champion_rate),
                TREATMENT: _arm_dict(self.arms.challenger, self.challenger_rate),
            },
            "confidence": self.confidence,
            "difference": plain(self.difference),
            "ci_lower": plain(self.ci_lower),
            "ci_upper": plain(self.ci_upper),
            "p_value": plain(self.p_value),
            "sequence_lower": plain(self.sequence_lower),
            "sequence_upper": plain(self.sequence_upper),
            "sample_ratio_p": plain(self.sample_ratio_p),
            "sample_ratio_p_joined": plain(self.sample_ratio_p_joined),
            "verdict": self.verdict,
            "withheld_because": self.withheld_because,
            "phases": [phase.to_dict() for phase in self.phases],
            **({"decision": self.decision.to_dict()} if self.decision else {}),
            **({"covariate": self.covariate.to_dict()} if self.covariate else {}),
            **({"money": self.money.to_dict()} if self.money else {}),
            **({"metrics": [metric.to_dict() for metric in self.metrics]} if self.metrics else {}),
        }


def _arm_dict(arm: ArmCounts, rate: float) -> dict[str, float | None]:
    return {
        "exposed": arm.exposed,
        "mature": arm.mature,
        "censored": arm.censored,
        "with_outcome": arm.with_outcome,
        "unmatched": arm.unmatched,
        "rate": plain(rate),
    }
