"""CUPED: the difference of means adjusted by a covariate from before the exposure, which narrows its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from core.experiment.logged_numbers import logged_number
from core.experiment.means import ArmMean, has_enough_units, mean_difference, sample_variance
from core.json_text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.experiment.cohorts import ArmCounts, PhaseArms
    from core.experiment.means import MeanDifference, Pair

#: The covariate that is the score of the phase's champion before the experiment.
SCORE = "score"

_NONE = sql.SQL("CROSS JOIN (SELECT NULL::float8 AS x) AS before")
_FEATURE = sql.SQL("""
LEFT JOIN LATERAL (
    SELECT {number} AS x FROM panthera.prediction AS exposing WHERE exposing.prediction_id = exposure.prediction_id
) AS before ON true
""")
# The predictions of the experiment itself are left out: in the challenger's arm another release answered them.
_SCORE = sql.SQL("""
LEFT JOIN (
    SELECT DISTINCT ON (unit.entity) unit.entity, earlier.score AS x
    FROM panthera.exposure AS unit
    JOIN panthera.experiment_phase AS phase ON phase.phase_id = unit.phase_id
    JOIN panthera.prediction AS earlier
        ON earlier.entity = unit.entity AND earlier.release_id = phase.champion AND earlier.as_of <= unit.exposed_at
    WHERE unit.experiment = {experiment} AND earlier.experiment <> {experiment}
        AND earlier.as_of > {first_score}
    ORDER BY unit.entity, earlier.as_of DESC, earlier.prediction_id
) AS before ON before.entity = exposure.entity
""")


def first_score(experiment: str) -> sql.Composable:
    """Compose the instant from which on scores before the exposure count: 90 days before the experiment's first exposure."""
    return sql.SQL(
        "(SELECT min(exposed_at) - interval '2160 hours' FROM panthera.exposure WHERE experiment = {})"
    ).format(experiment)


def before_exposure(covariate: str | None, experiment: str) -> sql.Composable:
    """Compose the join of `exposure` with `before`, whose `x` is the covariate from before the exposure, or NULL.

    A feature (`view__feature`) is that of the vector which exposed the unit: it was read before the arm's release answered.
    `SCORE` is the last score that the phase's champion gave the unit before the exposure and outside the experiment, from
    `first_score` on.
    """
    if covariate is None:
        return _NONE
    if covariate == SCORE:
        return _SCORE.format(experiment=experiment, first_score=first_score(experiment))
    return _FEATURE.format(number=logged_number("exposing", covariate))


@dataclass(frozen=True)
class CovariateUse:
    """Whether the difference was adjusted by the covariate, and what that did.

    Attributes
    ----------
    known : share of the units with an outcome whose covariate is known; the others count as average.
    unadjusted : the difference of the means without the adjustment; an estimate of the same effect.
    narrowed_by : standard error with the adjustment divided by that without, sqrt(1 - correlation^2).
    correlation : of outcome and covariate within the phases, absolute.
    not_used_because : why the difference is not adjusted; None if it is.

    """

    covariate: str
    known: float = math.nan
    unadjusted: float = math.nan
    narrowed_by: float = math.nan
    correlation: float = math.nan
    not_used_because: str | None = None

    @property
    def is_used(self) -> bool:
        """Whether the difference is adjusted."""
        return self.not_used_because is None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return dict(plain(self))


def phase_means(phase: PhaseArms, *, adjusted: bool) -> Pair:
    """Return the mean outcomes of the two arms in a phase, adjusted by the covariate if asked for.

    With x the covariate, theta = cov(y, x) / var(x) over both arms and X its mean over both arms, an arm's mean is that of
    y - theta (x - X). A unit without x counts with x = X. The expected difference is that without the adjustment, since
    nothing before the exposure depends on the arm; its variance is smaller by the factor 1 - correlation^2.

    References
    ----------
    Deng, A., Xu, Y., Kohavi, R., Walker, T. (2013). Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data. WSDM.

    """
    known = phase.champion.covariate_known + phase.challenger.covariate_known
    if not adjusted or not known:
        return phase.means
    center = (phase.champion.covariate_sum + phase.challenger.covariate_sum) / known
    champion, challenger = (_Joint.of(arm, center) for arm in (phase.champion, phase.challenger))
    both = champion.with_units_of(challenger)
    theta = both.covariance / both.x_variance if both.x_variance > 0 else 0.0
    return champion.adjusted(theta), challenger.adjusted(theta)


@dataclass(frozen=True)
class _Joint:
    """Sums over units of the outcome y and the centred covariate x, which is 0 where it is not known."""

    units: int
    y: float
    x: float
    yy: float
    xx: float
    yx: float

    @staticmethod
    def of(arm: ArmCounts, center: float) -> _Joint:
        known, total = arm.covariate_known, arm.covariate_sum
        return _Joint(
            arm.with_outcome,
            arm.outcome_sum,
            total - known * center,
            arm.outcome_sum_of_squares,
            arm.covariate_sum_of_squares - 2 * center * total + known * center**2,
            arm.covariate_product - center * arm.covariate_outcome_sum,
        )

    def with_units_of(self, arm: _Joint) -> _Joint:
        return _Joint(
            self.units + arm.units,
            self.y + arm.y,
            self.x + arm.x,
            self.yy + arm.yy,
            self.xx + arm.xx,
            self.yx + arm.yx,
        )

    @property
    def covariance(self) -> float:
        return (self.yx - self.y * self.x / self.units) / (self.units - 1)

    @property
    def x_variance(self) -> float:
        return sample_variance(self.units, self.x, self.xx)

    def adjusted(self, theta: float) -> ArmMean:
        variance = sample_variance(self.units, self.y, self.yy)
        left = variance - 2 * theta * self.covariance + theta**2 * self.x_variance
        return ArmMean(self.units, (self.y - theta * self.x) / self.units, max(left, 0.0))


def covariate_use(covariate: str | None, phases: Sequence[PhaseArms], alarm: float) -> CovariateUse | None:
    """Return whether the difference over `phases`, each with enough units, can be adjusted; None if the plan has no covariate.

    What is from before the exposure cannot differ between the arms. If the share of units that have it, or its mean, differs
    with a p-value below `alarm`, it is not used.
    """
    if covariate is None or not phases:
        return None
    units = sum(arm.with_outcome for phase in phases for arm in (phase.champion, phase.challenger))
    known = sum(arm.covariate_known for phase in phases for arm in (phase.champion, phase.challenger)) / units
    plainly = mean_difference([phase.means for phase in phases])
    reason = _why_not(covariate, phases, known, alarm)
    if reason:
        return CovariateUse(covariate, known, plainly.difference, not_used_because=reason)
    adjusted = mean_difference([phase_means(phase, adjusted=True) for phase in phases])
    factor = math.sqrt(adjusted.variance / plainly.variance) if plainly.variance > 0 else math.nan
    return CovariateUse(covariate, known, plainly.difference, factor, math.sqrt(max(0.0, 1 - factor**2)))


def _why_not(covariate: str, phases: Sequence[PhaseArms], known: float, alarm: float) -> str | None:
    if not known:
        source = (
            "no score of the champion from before the experiment"
            if covariate == SCORE
            else "no such number in its vector"
        )
        return f"every unit has {source}"
    shares = [(_share(phase.champion), _share(phase.challenger)) for phase in phases]
    p = _p_value(mean_difference(shares))
    if p < alarm:
        return f"the arms differ in the share of units that have it (p = {p:.2g}), so it depends on the arm"
    values = [pair for phase in phases if has_enough_units(pair := _known_means(phase))]
    if not values or not mean_difference(values).variance > 0:
        return "it does not differ between the units"
    p = _p_value(mean_difference(values))
    return f"its means differ between the arms (p = {p:.2g}), so it depends on the arm" if p < alarm else None


def _share(arm: ArmCounts) -> ArmMean:
    share = arm.covariate_known / arm.with_outcome
    return ArmMean(arm.with_outcome, share, share * (1 - share))


def _known_means(phase: PhaseArms) -> Pair:
    return _known_mean(phase.champion), _known_mean(phase.challenger)


def _known_mean(arm: ArmCounts) -> ArmMean:
    known = arm.covariate_known
    if known < 2:  # noqa: PLR2004 - a variance needs two
        return ArmMean(known, math.nan, math.nan)
    variance = sample_variance(known, arm.covariate_sum, arm.covariate_sum_of_squares)
    return ArmMean(known, arm.covariate_sum / known, variance)


def _p_value(found: MeanDifference) -> float:
    """Return the two-sided p-value of no difference, for many units; 1 for two equal constants, 0 for two different ones."""
    if not found.variance > 0:
        return 0.0 if found.difference else 1.0
    return math.erfc(abs(found.difference) / math.sqrt(2 * found.variance))
