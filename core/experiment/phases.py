"""The phases of an experiment, and the import of replayed predictions as exposures.

All units of a phase share the salt, the weights of the arms and the releases that answer. A change of any of these starts a
new phase, or continues an earlier one with the same terms. Arms are compared within a phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.experiment.assignment import bucket
from core.roles import CHALLENGER, CHAMPION, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import psycopg

#: The arms by their names in experiment statistics: control, then treatment.
CONTROL, TREATMENT, ARMS = CHAMPION, CHALLENGER, ROLES


@dataclass(frozen=True)
class PhaseTerms:
    """The terms that all units of a phase share.

    Attributes
    ----------
    champion_weight, challenger_weight : weights of the arms, in lowest terms.
    champion, challenger : ids of the releases that answer; without a challenger None, with the weight 0.

    """

    experiment: str
    salt: str
    champion_weight: int
    challenger_weight: int
    champion: str
    challenger: str | None


def phase_terms(
    experiment: str, salt: str, weights: Mapping[str, int], champion: str, challenger: str | None
) -> PhaseTerms:
    """Return the terms of a phase, with weights in lowest terms: 50 and 50 become 1 and 1.

    >>> phase_terms("trial", "s", {"champion": 50, "challenger": 50}, "r1", "r2").champion_weight
    1
    """
    if challenger is None:
        return PhaseTerms(experiment, salt, 1, 0, champion, None)
    control, treatment = weights.get(CONTROL, 0), weights.get(TREATMENT, 0)
    common = gcd(control, treatment)
    return PhaseTerms(experiment, salt, control // common, treatment // common, champion, challenger)


def enter_phase(connection: psycopg.Connection, terms: PhaseTerms) -> int:
    """Write the phase with these terms to the database unless it exists; return its id.

    Raises
    ------
    PantheraError
        If the name belongs to an experiment that is started and stopped by `panthera experiment`.

    """
    if connection.execute("SELECT true FROM panthera.experiment WHERE experiment = %s", [terms.experiment]).fetchone():
        raise PantheraError(
            f"serve.experiment is {terms.experiment!r}, which `panthera experiment plan` has named in this database; expected "
            "another name in the plan"
        )
    values = [terms.experiment, terms.salt, terms.champion_weight, terms.challenger_weight, terms.champion]
    connection.execute(
        "INSERT INTO panthera.experiment_phase (experiment, salt, champion_weight, challenger_weight, champion, challenger) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [*values, terms.challenger],
    )
    row = connection.execute(
        "SELECT phase_id FROM panthera.experiment_phase WHERE experiment = %s AND salt = %s AND champion_weight = %s "
        "AND challenger_weight = %s AND champion = %s AND challenger IS NOT DISTINCT FROM %s",
        [*values, terms.challenger],
    ).fetchone()
    assert row is not None, "the INSERT above wrote the row or found it"
    return int(row[0])


_REPLAYS = """
SELECT DISTINCT ON (entity) entity, arm, salt, release_id, prediction_id, as_of, phase_id
FROM panthera.prediction JOIN panthera.experiment_phase AS phase USING (experiment, phase_id)
WHERE experiment = %(experiment)s AND replay
    AND as_of > coalesce(%(after)s, '-infinity'::timestamptz) AND as_of <= coalesce(%(until)s, 'infinity'::timestamptz)
ORDER BY entity, as_of, logged_at, prediction_id
"""

_EXPOSE = """
INSERT INTO panthera.exposure
    (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at, phase_id, import_id)
SELECT %s, *, %s FROM unnest(%s::text[], %s::text[], %s::int[], %s::text[], %s::uuid[], %s::timestamptz[], %s::int[])
ON CONFLICT (experiment, entity) DO NOTHING
"""


def expose_replays(
    connection: psycopg.Connection,
    experiment: str,
    after: datetime | None,
    until: datetime | None,
    *,
    actor: str,
    reason: str,
) -> int:
    """Write replayed predictions with after < as_of <= until as exposures at their as_of; return the number of new exposures.

    The earliest prediction of each entity counts. An entity with an exposure keeps it and its arm. `actor` and `reason` are
    recorded with the import.
    """
    import_row = connection.execute(
        "INSERT INTO panthera.exposure_import (experiment, after, until, actor, reason) VALUES (%s, %s, %s, %s, %s) "
        "RETURNING import_id",
        [experiment, after, until, actor, reason],
    ).fetchone()
    bounds = {"experiment": experiment, "after": after, "until": until}
    rows = connection.execute(_REPLAYS, bounds).fetchall()
    columns = [
        [row[0] for row in rows],
        [row[1] for row in rows],
        [bucket(row[2], row[0]) for row in rows],
        *([row[index] for row in rows] for index in range(3, 7)),
    ]
    return connection.execute(_EXPOSE, [experiment, import_row[0] if import_row else None, *columns]).rowcount
