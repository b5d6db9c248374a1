"""The counts of the arms of an experiment, fetched as exact aggregates by phase and, for looks, by day."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row

from core.experiment.cohorts import ArmCounts, DayCounts, ExperimentArms, Phase, PhaseArms, added
from core.experiment.covariate import before_exposure
from core.experiment.label_window import first_outcome
from core.experiment.owners import model_of_experiment
from core.experiment.phases import CONTROL, TREATMENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import psycopg

    from core.roles import Role

_NO_LEAD = timedelta()

#: Without a horizon, which is then null, a unit is mature from its first outcome on.
_FETCH_ARMS = sql.SQL("""
SELECT exposure.phase_id, exposure.arm, {day_end} AS day_end,
    count(*) AS exposed,
    count(*) FILTER (WHERE coalesce(exposure.exposed_at + %(horizon)s <= %(as_of)s, outcome.value IS NOT NULL)) AS mature,
    count(outcome.value) AS with_outcome,
    coalesce(sum(outcome.value), 0) AS outcome_sum,
    coalesce(sum(outcome.value * outcome.value), 0) AS outcome_sum_of_squares,
    count(before.x) FILTER (WHERE outcome.value IS NOT NULL) AS covariate_known,
    coalesce(sum(before.x) FILTER (WHERE outcome.value IS NOT NULL), 0) AS covariate_sum,
    coalesce(sum(before.x * before.x) FILTER (WHERE outcome.value IS NOT NULL), 0) AS covariate_sum_of_squares,
    coalesce(sum(before.x * outcome.value), 0) AS covariate_product,
    coalesce(sum(outcome.value) FILTER (WHERE before.x IS NOT NULL), 0) AS covariate_outcome_sum,
    count(exposure.import_id) AS imported,
    array_agg(DISTINCT exposure.release_id) AS releases,
    max(exposure.exposed_at) AS last_exposed_at
FROM panthera.exposure
{first_outcome}
{before_exposure}
WHERE exposure.experiment = %(experiment)s AND exposure.exposed_at <= %(as_of)s
GROUP BY exposure.phase_id, exposure.arm, day_end
ORDER BY day_end
""")
_NO_DAYS = sql.SQL("NULL::timestamptz")
#: End of the day (UTC) in which the window of a unit closes; without a horizon, of the day of its outcome.
_DAY_END = sql.SQL("""
    date_trunc('day', coalesce(exposure.exposed_at + %(horizon)s, outcome.observed_at), 'UTC') + interval '24 hours'
""")
_MODEL = model_of_experiment(sql.Placeholder("experiment"))
_WINDOW = [sql.Placeholder(name) for name in ("lead", "horizon", "as_of")]

_FETCH_PHASES = """
SELECT phase_id, experiment, salt, champion_weight, challenger_weight, champion, challenger, since
FROM panthera.experiment_phase WHERE experiment = %s
"""


def fetch_arms(
    connection: psycopg.Connection,
    experiment: str,
    horizon: timedelta | None,
    as_of: datetime,
    lead: timedelta = _NO_LEAD,
    *,
    by_day: bool = False,
    covariate: str | None = None,
) -> ExperimentArms:
    """Fetch the counts of each arm of `experiment` as of `as_of`, by phase.

    A unit belongs to the phase of its exposure. It is mature when exposed_at + horizon <= as_of; its outcome is then the
    earliest one with exposed_at + lead < observed_at <= exposed_at + horizon, which contains the lead and the label's delay.

    Without a `horizon` nothing says when an outcome must be known: a unit is mature once one is, with
    exposed_at + lead < observed_at <= as_of.

    `by_day` adds the counts of each day that has ended, earliest first, by the day in which a unit matured.
    `covariate` adds its sums, see `before_exposure`.
    """
    parameters = {"experiment": experiment, "horizon": horizon, "as_of": as_of, "lead": lead}
    with connection.cursor(row_factory=class_row(Phase)) as cursor:
        phases = {phase.phase_id: phase for phase in cursor.execute(_FETCH_PHASES, [experiment])}
    with connection.cursor(row_factory=class_row(_ArmRow)) as cursor:
        query = _FETCH_ARMS.format(
            day_end=_DAY_END if by_day else _NO_DAYS,
            first_outcome=first_outcome("exposure", "exposed_at", _MODEL, *_WINDOW),
            before_exposure=before_exposure(covariate, experiment),
        )
        rows = cursor.execute(query, parameters).fetchall()
    ids = sorted({row.phase_id for row in rows}, key=lambda phase_id: phase_id or 0)
    return ExperimentArms(
        experiment,
        as_of,
        tuple(_phase_arms(phases.get(phase_id or 0), phase_id, rows) for phase_id in ids),
        tuple(DayCounts(row.phase_id, row.day_end, row.counts) for row in rows if row.day_end and row.day_end <= as_of),
    )


@dataclass(frozen=True)
class _ArmRow:
    """A row of `_FETCH_ARMS`: one arm in one phase, of one day if counted by day."""

    phase_id: int | None
    arm: Role
    day_end: datetime | None
    exposed: int
    mature: int
    with_outcome: int
    outcome_sum: float
    outcome_sum_of_squares: float
    covariate_known: int
    covariate_sum: float
    covariate_sum_of_squares: float
    covariate_product: float
    covariate_outcome_sum: float
    imported: int
    releases: list[str]
    last_exposed_at: datetime

    @property
    def counts(self) -> ArmCounts:
        return ArmCounts(**{field.name: getattr(self, field.name) for field in fields(ArmCounts)})


def _phase_arms(phase: Phase | None, phase_id: int | None, rows: Iterable[_ArmRow]) -> PhaseArms:
    of_phase = [row for row in rows if row.phase_id == phase_id]
    control, treatment = ([row for row in of_phase if row.arm == arm] for arm in (CONTROL, TREATMENT))
    return PhaseArms(
        phase,
        added((row.counts for row in control), CONTROL),
        added((row.counts for row in treatment), TREATMENT),
        _releases(control),
        _releases(treatment),
        sum(row.imported for row in of_phase),
        max(row.last_exposed_at for row in of_phase),
    )


def _releases(rows: Iterable[_ArmRow]) -> tuple[str, ...]:
    return tuple(sorted({release for row in rows for release in row.releases}))
