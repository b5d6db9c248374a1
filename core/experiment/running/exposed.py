"""The exposures of the arms of a running experiment, and the check of their ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from core.experiment.running.changes import ExperimentState


@dataclass(frozen=True)
class ArmExposures:
    """The number of units that were first exposed to an arm in a phase."""

    phase_id: int
    arm: str
    units: int


def exposures(connection: psycopg.Connection, name: str) -> list[ArmExposures]:
    """Fetch the exposures of an experiment by phase and arm."""
    with connection.cursor(row_factory=class_row(ArmExposures)) as cursor:
        cursor.execute(
            "SELECT phase_id, arm, count(*) AS units FROM panthera.exposure WHERE experiment = %s "
            "GROUP BY phase_id, arm ORDER BY phase_id, arm",
            [name],
        )
        return cursor.fetchall()


def sample_ratio_p_value(state: ExperimentState, found: Sequence[ArmExposures]) -> float | None:
    """Return the p-value of the chi-square test of the units of the present phase against the weights of the arms.

    Below 0.001 the arms are not comparable: units of one were lost. None without a unit.
    """
    from scipy.special import chdtrc

    weights = state.terms.weights
    units = {row.arm: row.units for row in found if row.phase_id == state.phase_id}
    total, all_weights = sum(units.get(arm, 0) for arm, _ in weights), sum(weight for _, weight in weights)
    if not total:
        return None
    expected = {arm: total * weight / all_weights for arm, weight in weights}
    statistic = sum((units.get(arm, 0) - count) ** 2 / count for arm, count in expected.items())
    return float(chdtrc(len(weights) - 1, statistic))
