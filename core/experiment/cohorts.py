"""Cohorts: what became of the entities that met each arm, and whether the arms differ.

Both the service and the command line answer with `Comparison`. The counts are exact aggregates, by phase of the experiment:
each phase is held against its own weights, and the difference is made of the differences within phases
(`core.experiment.strata`).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from core.experiment.phases import ARMS, CONTROL, TREATMENT, PhaseTerms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    import psycopg

    from core.roles import Role

_FETCH_ARMS = """
SELECT exposure.phase_id, exposure.arm,
    count(*) AS exposed,
    count(*) FILTER (WHERE exposure.exposed_at + %(horizon)s <= %(as_of)s) AS mature,
    count(outcome.value) AS with_outcome,
    coalesce(sum(outcome.value), 0) AS outcome_sum,
    coalesce(sum(outcome.value * outcome.value), 0) AS outcome_sum_of_squares,
    count(exposure.import_id) AS imported,
    array_agg(DISTINCT exposure.release_id) AS releases,
    max(exposure.exposed_at) AS last_exposed_at
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
GROUP BY exposure.phase_id, exposure.arm
"""

_FETCH_PHASES = """
SELECT phase_id, experiment, salt, champion_weight, challenger_weight, champion, challenger, since
FROM panthera.experiment_phase WHERE experiment = %s
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


def added(counts: Iterable[ArmCounts], arm: Role) -> ArmCounts:
    """Add up the counts of an arm."""
    listed = [astuple(each)[1:] for each in counts]
    return ArmCounts(arm, *(sum(column) for column in zip(*listed, strict=True))) if listed else ArmCounts(arm)


@dataclass(frozen=True, kw_only=True)
class Phase(PhaseTerms):
    """A phase as it is recorded."""

    phase_id: int
    since: datetime

    @property
    def weights(self) -> dict[Role, int]:
        """The weights of the arms."""
        return {CONTROL: self.champion_weight, TREATMENT: self.challenger_weight}


@dataclass(frozen=True)
class PhaseArms:
    """The two arms in one phase; an arm that nobody met has zeros.

    Attributes
    ----------
    phase : None for the exposures from before phases were recorded.
    champion_releases, challenger_releases : those that answered when the units met their arm.
    imported : how many of the exposures are replays that somebody counted.

    """

    phase: Phase | None
    champion: ArmCounts
    challenger: ArmCounts
    champion_releases: tuple[str, ...] = ()
    challenger_releases: tuple[str, ...] = ()
    imported: int = 0
    last_exposed_at: datetime | None = None

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"phase {self.phase.phase_id}" if self.phase else "the time before phases were recorded"


@dataclass(frozen=True)
class ExperimentArms:
    """The two arms of an experiment as of an instant, by phase, the earliest one first."""

    experiment: str
    as_of: datetime
    phases: tuple[PhaseArms, ...] = ()

    @property
    def champion(self) -> ArmCounts:
        """The champion's units of all phases."""
        return added((phase.champion for phase in self.phases), CONTROL)

    @property
    def challenger(self) -> ArmCounts:
        """The challenger's units of all phases."""
        return added((phase.challenger for phase in self.phases), TREATMENT)


@dataclass(frozen=True)
class PhaseResult:
    """What was found in one phase.

    Attributes
    ----------
    weights : against which its sample ratio was tested.
    sample_ratio_p, sample_ratio_p_joined : p-values of the weights, given its exposed units and those with an outcome; NaN
        where they were not tested.
    left_out : why the comparison does without it; None if it is part of it.

    """

    arms: PhaseArms
    weights: Mapping[Role, int]
    sample_ratio_p: float
    sample_ratio_p_joined: float
    left_out: str | None

    def to_dict(self) -> dict[str, object]:
        """Return what JSON can hold."""
        phase = self.arms.phase
        releases = {CONTROL: self.arms.champion_releases, TREATMENT: self.arms.challenger_releases}
        return {
            "phase": phase.phase_id if phase else None,
            "since": phase.since.isoformat() if phase else None,
            "weights": {arm: self.weights.get(arm, 0) for arm in ARMS},
            "releases": {arm: list(found) for arm, found in releases.items()},
            "arms": {arm.arm: _arm_dict(arm, arm.rate) for arm in (self.arms.champion, self.arms.challenger)},
            "imported": self.arms.imported,
            "sample_ratio_p": _or_none(self.sample_ratio_p),
            "sample_ratio_p_joined": _or_none(self.sample_ratio_p_joined),
            "left_out": self.left_out,
        }


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion, over mature units.

    Attributes
    ----------
    champion_rate, challenger_rate : mean outcome, of each phase in the comparison weighted by its units with an outcome;
        over all units where no phase can be compared.
    difference : rate of the challenger minus rate of the champion.
    ci_lower, ci_upper : its interval, at `confidence`.
    p_value : two-sided, of no difference.
    sample_ratio_p, sample_ratio_p_joined : p-values of the weights, given the exposed units and those with an outcome: the
        smallest one of a phase, times the number of phases tested.
    verdict : "challenger higher", "challenger lower", "no difference shown" or "withheld". Whether higher is better is
        for the outcome's owner to say.
    withheld_because : one sentence; None unless withheld.
    phases : what was found in each phase, the earliest one first.

    Numbers that the data do not define are NaN.

    """

    arms: ExperimentArms
    confidence: float
    champion_rate: float
    challenger_rate: float
    difference: float
    ci_lower: float
    ci_upper: float
    p_value: float
    sample_ratio_p: float
    sample_ratio_p_joined: float
    verdict: str
    withheld_because: str | None
    phases: tuple[PhaseResult, ...]

    def to_dict(self) -> dict[str, object]:
        """Give what JSON can hold: instants as ISO 8601, NaN as None."""
        return {
            "experiment": self.arms.experiment,
            "as_of": self.arms.as_of.isoformat(),
            "arms": {
                CONTROL: _arm_dict(self.arms.champion, self.champion_rate),
                TREATMENT: _arm_dict(self.arms.challenger, self.challenger_rate),
            },
            "confidence": self.confidence,
            "difference": _or_none(self.difference),
            "ci_lower": _or_none(self.ci_lower),
            "ci_upper": _or_none(self.ci_upper),
            "p_value": _or_none(self.p_value),
            "sample_ratio_p": _or_none(self.sample_ratio_p),
            "sample_ratio_p_joined": _or_none(self.sample_ratio_p_joined),
            "verdict": self.verdict,
            "withheld_because": self.withheld_because,
            "phases": [phase.to_dict() for phase in self.phases],
        }


def _arm_dict(arm: ArmCounts, rate: float) -> dict[str, float | None]:
    return {
        "exposed": arm.exposed,
        "mature": arm.mature,
        "censored": arm.censored,
        "with_outcome": arm.with_outcome,
        "unmatched": arm.unmatched,
        "rate": _or_none(rate),
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def fetch_arms(connection: psycopg.Connection, experiment: str, horizon: timedelta, as_of: datetime) -> ExperimentArms:
    """Count the units of each arm of `experiment` as of `as_of`, by phase.

    A unit counts from its exposure on, in the phase of its exposure. It is mature when exposed_at + horizon <= as_of; its
    outcome is then the earliest one with exposed_at < observed_at <= exposed_at + horizon.
    """
    parameters = {"experiment": experiment, "horizon": horizon, "as_of": as_of}
    with connection.cursor(row_factory=class_row(Phase)) as cursor:
        phases = {phase.phase_id: phase for phase in cursor.execute(_FETCH_PHASES, [experiment])}
    with connection.cursor(row_factory=class_row(_ArmRow)) as rows:
        found = rows.execute(_FETCH_ARMS, parameters).fetchall()
    ids = sorted({row.phase_id for row in found}, key=lambda phase_id: phase_id or 0)
    return ExperimentArms(experiment, as_of, tuple(_phase_arms(phases.get(each or 0), each, found) for each in ids))


@dataclass(frozen=True)
class _ArmRow:
    """What the query tells of one arm in one phase."""

    phase_id: int | None
    arm: str
    exposed: int
    mature: int
    with_outcome: int
    outcome_sum: float
    outcome_sum_of_squares: float
    imported: int
    releases: list[str]
    last_exposed_at: datetime

    @property
    def counts(self) -> ArmCounts:
        return ArmCounts(
            self.arm, self.exposed, self.mature, self.with_outcome, self.outcome_sum, self.outcome_sum_of_squares
        )


def _phase_arms(phase: Phase | None, phase_id: int | None, found: Iterable[_ArmRow]) -> PhaseArms:
    rows = {row.arm: row for row in found if row.phase_id == phase_id}
    control, treatment = rows.get(CONTROL), rows.get(TREATMENT)
    return PhaseArms(
        phase,
        control.counts if control else ArmCounts(CONTROL),
        treatment.counts if treatment else ArmCounts(TREATMENT),
        tuple(control.releases) if control else (),
        tuple(treatment.releases) if treatment else (),
        sum(row.imported for row in rows.values()),
        max(row.last_exposed_at for row in rows.values()),
    )
