"""The differences of two arms at the ends of the days of an experiment, counted by the day in which a unit matured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from core.experiment.cohorts import UNITS, ArmCounts, PhaseArms, added
from core.experiment.decision import DayEnd, decide_experiment
from core.experiment.phases import ARMS, CONTROL, TREATMENT
from core.experiment.strata import has_enough_units, mean_difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    import psycopg

    from core.experiment.cohorts import Comparison
    from core.experiment.decision import ExperimentTerms
    from core.roles import Role

#: A unit counts in the day (UTC) in which its window closed; without a horizon, in the day of its outcome.
_FETCH_DAYS = f"""
SELECT exposure.phase_id, exposure.arm,
    date_trunc('day', coalesce(exposure.exposed_at + %(horizon)s, outcome.observed_at), 'UTC') + interval '24 hours'
        AS day_end,
    count(*) AS units,
    sum(outcome.value) AS outcome_sum,
    sum(outcome.value * outcome.value) AS outcome_sum_of_squares
{UNITS}
    AND outcome.value IS NOT NULL
GROUP BY exposure.phase_id, exposure.arm, day_end
ORDER BY day_end
"""


@dataclass(frozen=True)
class _DayRow:
    """A row of `_FETCH_DAYS`: the units of one arm and phase that matured in one day."""

    phase_id: int | None
    arm: Role
    day_end: datetime
    units: int
    outcome_sum: float
    outcome_sum_of_squares: float

    @property
    def counts(self) -> ArmCounts:
        return ArmCounts(self.arm, self.units, self.units, self.units, self.outcome_sum, self.outcome_sum_of_squares)


def decided(
    connection: psycopg.Connection,
    comparison: Comparison,
    terms: ExperimentTerms | None,
    horizon: timedelta | None,
    lead: timedelta,
) -> Comparison:
    """Return the comparison with its decision by `terms`; without terms as it is.

    `horizon` and `lead` are those of the comparison's `fetch_arms`. The phases that it compares are looked at.
    """
    if terms is None:
        return comparison
    arms = comparison.arms
    parameters = {"experiment": arms.experiment, "horizon": horizon, "as_of": arms.as_of, "lead": lead}
    with connection.cursor(row_factory=class_row(_DayRow)) as cursor:
        rows = cursor.execute(_FETCH_DAYS, parameters).fetchall()
    phases = [result.arms.phase for result in comparison.phases if result.left_out is None]
    compared = {phase.phase_id if phase else None for phase in phases}
    whole = [row for row in rows if row.phase_id in compared and row.day_end <= arms.as_of]
    return replace(comparison, decision=decide_experiment(_day_ends(whole), terms, comparison.withheld_because))


def _day_ends(rows: Iterable[_DayRow]) -> Iterator[DayEnd]:
    """Yield the difference over all units so far, for each day at whose end a phase has enough units."""
    so_far: dict[int | None, dict[Role, ArmCounts]] = {}
    for day_end, day in groupby(rows, key=lambda row: row.day_end):
        for row in day:
            arms = so_far.setdefault(row.phase_id, {arm: ArmCounts(arm) for arm in ARMS})
            arms[row.arm] = added([arms[row.arm], row.counts], row.arm)
        pairs = (PhaseArms(None, arms[CONTROL], arms[TREATMENT]) for arms in so_far.values())
        phases = [pair for pair in pairs if has_enough_units(pair)]
        if phases:
            found = mean_difference(phases)
            yield DayEnd(day_end, found.difference, found.variance)
