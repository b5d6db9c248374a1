"""The exposures of the arms of a running experiment, and the check of their ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from core.experiment.strata import sample_ratio_p

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
    """Return the p-value of the test of the units of the present phase against the weights of the arms.

    Below 0.001 the arms are not comparable: units of one were lost. None without a unit.
    """
    weights = state.terms.weights
    units = {row.arm: row.units for row in found if row.phase_id == state.phase_id}
    p = sample_ratio_p([units.get(arm, 0) for arm, _ in weights], [weight for _, weight in weights])
    return None if math.isnan(p) else p
