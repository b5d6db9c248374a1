"""Cohorts: what became of the entities that met each arm, and whether the arms differ.

Both the service and the command line answer with `Comparison`. The counts are exact aggregates from one query;
tea-tasting turns them into the difference, its interval and the sample-ratio check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    import psycopg
    from tea_tasting.aggr import Aggregates

Arm: TypeAlias = Literal["champion", "challenger"]
CONTROL: Final[Arm] = "champion"
TREATMENT: Final[Arm] = "challenger"
ARMS: Final[tuple[Arm, ...]] = (CONTROL, TREATMENT)
#: Below it the t interval of a mean is not to be trusted, least of all for a rate near 0 or 1.
MINIMUM_UNITS = 30

_FETCH_ARMS = """
SELECT exposure.arm,
    count(*) AS exposed,
    count(*) FILTER (WHERE exposure.exposed_at + %(horizon)s <= %(as_of)s) AS mature,
    count(outcome.value) AS with_outcome,
    coalesce(sum(outcome.value), 0) AS outcome_sum,
    coalesce(sum(outcome.value * outcome.value), 0) AS outcome_sum_of_squares
FROM panthera.exposure
LEFT JOIN LATERAL (
    SELECT value FROM panthera.outcome
    WHERE outcome.entity = exposure.entity
        AND outcome.observed_at > exposure.exposed_at
        AND outcome.observed_at <= exposure.exposed_at + %(horizon)s
    ORDER BY outcome.observed_at, outcome.outcome_id COLLATE "C"
    LIMIT 1
) AS outcome ON exposure.exposed_at + %(horizon)s <= %(as_of)s
WHERE exposure.experiment = %(experiment)s AND exposure.exposed_at <= %(as_of)s
GROUP BY exposure.arm
"""


@dataclass(frozen=True)
class ArmCounts:
    """The units of one arm.

    Attributes
    ----------
    exposed : units that met the arm.
    mature : those whose label window has closed; the others are censored: not known yet, and counted as nothing else.
    with_outcome : mature units with an outcome inside their window; the first one counts.
    outcome_sum, outcome_sum_of_squares : over the values of those outcomes.

    """

    arm: str
    exposed: int = 0
    mature: int = 0
    with_outcome: int = 0
    outcome_sum: float = 0.0
    outcome_sum_of_squares: float = 0.0

    @property
    def censored(self) -> int:
        """Units whose label window is still open."""
        return self.exposed - self.mature

    @property
    def unmatched(self) -> int:
        """Mature units of which nothing was reported; unknown, never a negative."""
        return self.mature - self.with_outcome

    @property
    def rate(self) -> float:
        """Mean outcome of the mature units with one: of 0/1 outcomes, the share of ones. NaN without any."""
        return self.outcome_sum / self.with_outcome if self.with_outcome else math.nan

    @property
    def variance(self) -> float:
        """Sample variance (n - 1) of those outcomes; NaN below two."""
        n = self.with_outcome
        return max(self.outcome_sum_of_squares - self.outcome_sum**2 / n, 0.0) / (n - 1) if n > 1 else math.nan


@dataclass(frozen=True)
class ExperimentArms:
    """The two arms of an experiment as of an instant; an arm that nobody met has zeros."""

    experiment: str
    as_of: datetime
    champion: ArmCounts
    challenger: ArmCounts


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion, over mature units.

    Attributes
    ----------
    difference : rate of the challenger minus rate of the champion.
    ci_lower, ci_upper : its interval, at `confidence`.
    p_value : two-sided, of no difference.
    sample_ratio_p, sample_ratio_p_joined : p-values of the weights, given the exposed units and those with an outcome.
    verdict : "challenger higher", "challenger lower", "no difference shown" or "withheld". Whether higher is better is
        for the outcome's owner to say.
    withheld_because : one sentence; None unless withheld.

    Numbers that the data do not define are NaN.

    """

    arms: ExperimentArms
    confidence: float
    difference: float
    ci_lower: float
    ci_upper: float
    p_value: float
    sample_ratio_p: float
    sample_ratio_p_joined: float
    verdict: str
    withheld_because: str | None

    def to_dict(self) -> dict[str, object]:
        """Give what JSON can hold: instants as ISO 8601, NaN as None."""
        return {
            "experiment": self.arms.experiment,
            "as_of": self.arms.as_of.isoformat(),
            "arms": {arm.arm: _arm_dict(arm) for arm in (self.arms.champion, self.arms.challenger)},
            "confidence": self.confidence,
            "difference": _or_none(self.difference),
            "ci_lower": _or_none(self.ci_lower),
            "ci_upper": _or_none(self.ci_upper),
            "p_value": _or_none(self.p_value),
            "sample_ratio_p": _or_none(self.sample_ratio_p),
            "sample_ratio_p_joined": _or_none(self.sample_ratio_p_joined),
            "verdict": self.verdict,
            "withheld_because": self.withheld_because,
        }


@dataclass(frozen=True)
class _Effect:
    difference: float
    ci_lower: float
    ci_upper: float
    p_value: float


def _arm_dict(arm: ArmCounts) -> dict[str, float | None]:
    return {
        "exposed": arm.exposed,
        "mature": arm.mature,
        "censored": arm.censored,
        "with_outcome": arm.with_outcome,
        "unmatched": arm.unmatched,
        "rate": _or_none(arm.rate),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def fetch_arms(connection: psycopg.Connection, experiment: str, horizon: timedelta, as_of: datetime) -> ExperimentArms:
    """Count the units of each arm of `experiment` as of `as_of`, from one query.

    A unit counts from its exposure on. It is mature when exposed_at + horizon <= as_of; its outcome is then the
    earliest one with exposed_at < observed_at <= exposed_at + horizon.
    """
    parameters = {"experiment": experiment, "horizon": horizon, "as_of": as_of}
    with connection.cursor(row_factory=class_row(ArmCounts)) as cursor:
        found = {counts.arm: counts for counts in cursor.execute(_FETCH_ARMS, parameters)}
    return ExperimentArms(
        experiment=experiment,
        as_of=as_of,
        champion=found.get(CONTROL, ArmCounts(CONTROL)),
        challenger=found.get(TREATMENT, ArmCounts(TREATMENT)),
    )


def compare(
    arms: ExperimentArms, weights: Mapping[Arm, int], confidence: float, sample_ratio_alarm: float
) -> Comparison:
    """Compare the mean outcome of the mature units of the two arms.

    The difference is mean(challenger) - mean(champion); interval and p-value are Welch's:
    d +- t(df) sqrt(s1^2/n1 + s2^2/n2) with the degrees of freedom of Welch and Satterthwaite, from the sums alone. For
    0/1 outcomes that is the Wald interval (tea-tasting 1.14 has no score-type interval: its `Proportion` is Wald with a
    pooled variance, and outcomes need not be 0/1). With no true difference the interval misses 0 in 1 - confidence of
    the experiments looked at once; looking again and again misses more often.

    The sample ratio is tested against `weights` twice, on exposed units and on mature units with an outcome: exact
    binomial below 1,000 units, else chi-square. At a p-value below `sample_ratio_alarm` the arms are not comparable.

    The verdict is withheld on such a mismatch, with fewer than `MINIMUM_UNITS` mature units with an outcome in an arm,
    if no outcome differs from another, or if an arm has no weight.

    References
    ----------
    Welch, B. L. (1947). The generalization of "Student's" problem when several different population variances are
    involved. Biometrika, 34(1/2). Fabijan, A., et al. (2019). Diagnosing sample ratio mismatch in online controlled
    experiments. KDD.

    """
    effect = _effect(arms, confidence)
    exposed = _sample_ratio_p(arms.champion.exposed, arms.challenger.exposed, weights)
    joined = _sample_ratio_p(arms.champion.with_outcome, arms.challenger.with_outcome, weights)
    doubt = _doubt(arms, weights, {"exposed": exposed, "mature with an outcome": joined}, sample_ratio_alarm)
    return Comparison(
        arms=arms,
        confidence=confidence,
        difference=effect.difference,
        ci_lower=effect.ci_lower,
        ci_upper=effect.ci_upper,
        p_value=effect.p_value,
        sample_ratio_p=exposed,
        sample_ratio_p_joined=joined,
        verdict="withheld" if doubt else _verdict(effect),
        withheld_because=doubt,
    )


def _effect(arms: ExperimentArms, confidence: float) -> _Effect:
    import tea_tasting as tt

    difference = arms.challenger.rate - arms.champion.rate
    if not arms.champion.variance + arms.challenger.variance > 0:
        return _Effect(difference, math.nan, math.nan, math.nan)
    metric = tt.Mean("outcome", alternative="two-sided", confidence_level=confidence, equal_var=False, use_t=True)
    found = metric.analyze_aggregates(control=_aggregates(arms.champion), treatment=_aggregates(arms.challenger))
    return _Effect(
        difference=float(found.effect_size),
        ci_lower=float(found.effect_size_ci_lower),
        ci_upper=float(found.effect_size_ci_upper),
        p_value=float(found.pvalue),
    )


def _aggregates(arm: ArmCounts) -> Aggregates:
    from tea_tasting.aggr import Aggregates

    return Aggregates(count_=arm.with_outcome, mean_={"outcome": arm.rate}, var_={"outcome": arm.variance})


def _sample_ratio_p(control: int, treatment: int, weights: Mapping[Arm, int]) -> float:
    import tea_tasting as tt
    from tea_tasting.aggr import Aggregates

    control_weight, treatment_weight = weights.get(CONTROL, 0), weights.get(TREATMENT, 0)
    if not (control_weight and treatment_weight and control + treatment):
        return math.nan
    units = {CONTROL: Aggregates(count_=control), TREATMENT: Aggregates(count_=treatment)}
    check = tt.SampleRatio(treatment_weight / control_weight, correction=False)
    return float(check.analyze(units, control=CONTROL, treatment=TREATMENT).pvalue)


def _doubt(arms: ExperimentArms, weights: Mapping[Arm, int], ratio_p: Mapping[str, float], alarm: float) -> str | None:
    """Say in a sentence why the arms cannot be compared, or None if they can."""
    for arm in ARMS:
        if not weights.get(arm, 0):
            return f"The arm {arm!r} has no weight, so there is nothing to compare; give it one under serve.arms."
    for units, p in ratio_p.items():
        if p < alarm:
            return (
                f"The units {units} do not split as the weights {weights[CONTROL]}:{weights[TREATMENT]} say "
                f"(p = {p:.2g}, below {alarm:g}), so the arms are not comparable; find out which units are lost."
            )
    for counts in (arms.champion, arms.challenger):
        if counts.with_outcome < MINIMUM_UNITS:
            return (
                f"The arm {counts.arm!r} has {counts.with_outcome} mature units with an outcome, {MINIMUM_UNITS} are "
                f"needed; {counts.censored} are not mature yet and {counts.unmatched} have no outcome."
            )
    if not arms.champion.variance + arms.challenger.variance > 0:
        return "No outcome differs from another within its arm, so the difference has no interval."
    return None


def _verdict(effect: _Effect) -> str:
    if effect.ci_lower > 0:
        return "challenger higher"
    if effect.ci_upper < 0:
        return "challenger lower"
    return "no difference shown"
