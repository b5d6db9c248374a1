"""The triggered analysis: arms compared over the units for which the two releases decide differently.

Where both would decide alike, the arm cannot change the outcome: such units only add noise to the comparison of all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row

from core.experiment.label_window import first_outcome
from core.experiment.means import ArmMean, has_enough_units, mean_difference, sample_variance
from core.experiment.owners import model_of_experiment
from core.experiment.phases import ARMS, CONTROL, TREATMENT
from core.experiment.strata import sample_ratio_p
from core.json_text import plain
from monitoring.paired.pairs import release_score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

    from core.experiment.cohorts import Comparison, PhaseResult
    from monitoring.paired.comparison import Contestant
    from monitoring.served_outcomes import OutcomeWindow

_FETCH = sql.SQL("""
SELECT exposure.phase_id, exposure.arm, count(outcome.value) AS mature,
    count(outcome.value) FILTER (WHERE scored.differs IS NOT NULL) AS known,
    count(outcome.value) FILTER (WHERE scored.differs) AS units,
    coalesce(sum(outcome.value) FILTER (WHERE scored.differs), 0) AS total,
    coalesce(sum(outcome.value * outcome.value) FILTER (WHERE scored.differs), 0) AS squares
FROM panthera.exposure
JOIN panthera.prediction AS exposing ON exposing.prediction_id = exposure.prediction_id
{first_outcome}
CROSS JOIN LATERAL (
    SELECT ({champion_score} >= {champion_threshold}) <> ({challenger_score} >= {challenger_threshold}) AS differs
) AS scored
WHERE exposure.experiment = {experiment} AND exposure.exposed_at <= {as_of}
GROUP BY exposure.phase_id, exposure.arm
""")
#: The least share of an arm's units for which both scores must be known: the others could be unlike them.
MINIMUM_SCORED = 0.95


@dataclass(frozen=True)
class TriggeredArm:
    """The units of an arm in a phase with a mature outcome, those with both scores, and sums over those that differ."""

    phase_id: int | None
    arm: str
    mature: int
    known: int
    units: int
    total: float
    squares: float

    @property
    def mean(self) -> ArmMean:
        """The mean outcome of the units whose decision differs."""
        value = self.total / self.units if self.units else math.nan
        return ArmMean(self.units, value, sample_variance(self.units, self.total, self.squares))


@dataclass(frozen=True)
class TriggeredResult:
    """The arms over the units whose decision differs between the releases, and what that means for all units.

    Attributes
    ----------
    units, share : units with a mature outcome whose decision differs, and their share of those with both scores.
    champion, challenger, difference, ci_lower, ci_upper : mean outcomes of these units, and their difference for one look.
    diluted, diluted_lower, diluted_upper : the effect on the mean of all units: share times the difference. The share is taken
        as known; its own error is small beside that of the difference.
    sample_ratio_p : smallest p-value over the phases of the test of the triggered units against the weights, times the number
        of phases.
    not_shown_because : why there is no difference; None if there is one.

    Undefined numbers are NaN.

    """

    units: int = 0
    share: float = math.nan
    champion: float = math.nan
    challenger: float = math.nan
    difference: float = math.nan
    ci_lower: float = math.nan
    ci_upper: float = math.nan
    sample_ratio_p: float = math.nan
    not_shown_because: str | None = None

    @property
    def diluted(self) -> float:
        """The effect on the mean of all units."""
        return self.share * self.difference

    @property
    def diluted_bounds(self) -> tuple[float, float]:
        """The interval of the effect on the mean of all units."""
        return self.share * self.ci_lower, self.share * self.ci_upper

    @property
    def words(self) -> str:
        """The result in one sentence."""
        if self.not_shown_because:
            return f"triggered analysis: not shown: {self.not_shown_because}"
        lower, upper = self.diluted_bounds
        return (
            f"triggered analysis: the decisions of {self.units:,} units ({self.share:.1%}) differ; their difference is "
            f"{self.difference:+.4f} [{self.ci_lower:+.4f}, {self.ci_upper:+.4f}], over all units {self.diluted:+.4f} "
            f"[{lower:+.4f}, {upper:+.4f}]"
        )

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        lower, upper = self.diluted_bounds
        diluted = {"diluted": self.diluted, "diluted_lower": lower, "diluted_upper": upper}
        return {**plain(self), **plain(diluted)}


def fetch_triggered(
    connection: psycopg.Connection,
    experiment: str,
    champion: Contestant,
    challenger: Contestant,
    window: OutcomeWindow,
    as_of: datetime,
) -> list[TriggeredArm]:
    """Fetch the sums of each arm by phase; a score is that of the exposing request, by the served release or its shadow."""
    label_window = map(sql.Literal, (window.lead, window.horizon, as_of))
    query = _FETCH.format(
        first_outcome=first_outcome(
            "exposure", "exposed_at", model_of_experiment(sql.Literal(experiment)), *label_window
        ),
        champion_score=release_score("exposing", champion.release_id),
        champion_threshold=champion.threshold,
        challenger_score=release_score("exposing", challenger.release_id),
        challenger_threshold=challenger.threshold,
        experiment=experiment,
        as_of=as_of,
    )
    with connection.cursor(row_factory=class_row(TriggeredArm)) as cursor:
        return cursor.execute(query).fetchall()


def triggered_result(comparison: Comparison, arms: Sequence[TriggeredArm], alarm: float) -> TriggeredResult:
    """Return the comparison over the triggered units of the compared phases; below `alarm` their ratio is a mismatch."""
    by_phase = {(arm.phase_id, arm.arm): arm for arm in arms}
    pairs = [
        (phase, by_phase[phase.phase_id, CONTROL], by_phase[phase.phase_id, TREATMENT])
        for phase in comparison.phases
        if phase.left_out is None and all((phase.phase_id, arm) in by_phase for arm in ARMS)
    ]
    if not pairs:
        return TriggeredResult(not_shown_because="no phase can be compared")
    counted = [arm for _, one, two in pairs for arm in (one, two)]
    unknown = _unknown(counted)
    if unknown:
        return TriggeredResult(not_shown_because=unknown)
    known, units = sum(arm.known for arm in counted), sum(arm.units for arm in counted)
    ratio = _ratio(pairs)
    if ratio < alarm:
        reason = (
            f"the triggered units do not match the weights (p = {ratio:.2g}), so an arm changed which units are scored"
        )
        return TriggeredResult(units, units / known, sample_ratio_p=ratio, not_shown_because=reason)
    return _difference(pairs, comparison.confidence, TriggeredResult(units, units / known, sample_ratio_p=ratio))


def _unknown(arms: Sequence[TriggeredArm]) -> str | None:
    """Compose a sentence if too few units of an arm have the scores of both releases."""
    for arm, other in ((CONTROL, TREATMENT), (TREATMENT, CONTROL)):
        mature = sum(each.mature for each in arms if each.arm == arm)
        known = sum(each.known for each in arms if each.arm == arm)
        if known < MINIMUM_SCORED * mature:
            return (
                f"{known:,} of {mature:,} units of the {arm}'s arm have a score of the {other}, expected {MINIMUM_SCORED:.0%}; "
                f"run `panthera shadow --release {other}` while the experiment runs"
            )
    return None


def _ratio(pairs: Sequence[tuple[PhaseResult, TriggeredArm, TriggeredArm]]) -> float:
    found = [sample_ratio_p([one.units, two.units], [phase.weights[arm] for arm in ARMS]) for phase, one, two in pairs]
    tested = [p for p in found if not math.isnan(p)]
    return min(1.0, min(tested) * len(tested)) if tested else math.nan


def _difference(
    pairs: Sequence[tuple[PhaseResult, TriggeredArm, TriggeredArm]], confidence: float, counts: TriggeredResult
) -> TriggeredResult:
    from scipy.stats import t

    means = [(one.mean, two.mean) for _, one, two in pairs if has_enough_units((one.mean, two.mean))]
    found = mean_difference(means) if means else None
    if found is None or not found.variance > 0:
        reason = f"{counts.units:,} units have decisions that differ, too few for an interval"
        return TriggeredResult(
            counts.units, counts.share, sample_ratio_p=counts.sample_ratio_p, not_shown_because=reason
        )
    margin = float(t.ppf((1 + confidence) / 2, found.df)) * math.sqrt(found.variance)
    bounds = found.difference - margin, found.difference + margin
    rates = found.champion_rate, found.challenger_rate
    return TriggeredResult(counts.units, counts.share, *rates, found.difference, *bounds, counts.sample_ratio_p)
