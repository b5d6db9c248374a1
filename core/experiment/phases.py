"""Experiments: the phases that their units belong to, and replayed predictions that somebody counts as exposures.

In one phase the arms are dealt by one salt and the same weights, and are answered by the same releases. A change of any of
them begins another phase, or goes on with an earlier one that was alike. Arms are compared within a phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from core.experiment.assignment import bucket
from core.roles import CHALLENGER, CHAMPION, ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import psycopg

#: The arms as the field calls them, and in this order.
CONTROL, TREATMENT, ARMS = CHAMPION, CHALLENGER, ROLES


@dataclass(frozen=True)
class PhaseTerms:
    """What the units of a phase have in common.

    Attributes
    ----------
    champion_weight, challenger_weight : in lowest terms.
    champion, challenger : the releases that answer; no challenger is None, and its weight is 0.

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
    """Return the terms of a phase: 50 and 50 are the same weights as 1 and 1.

    >>> phase_terms("trial", "s", {"champion": 50, "challenger": 50}, "r1", "r2").champion_weight
    1
    """
    if challenger is None:
        return PhaseTerms(experiment, salt, 1, 0, champion, None)
    control, treatment = weights.get(CONTROL, 0), weights.get(TREATMENT, 0)
    common = gcd(control, treatment)
    return PhaseTerms(experiment, salt, control // common, treatment // common, champion, challenger)


def enter_phase(connection: psycopg.Connection, terms: PhaseTerms) -> int:
    """Write the phase of these terms, unless it is recorded; return its id."""
    values = [terms.experiment, terms.salt, terms.champion_weight, terms.challenger_weight, terms.champion]
    connection.execute(
        "INSERT INTO panthera.experiment_phase (experiment, salt, champion_weight, challenger_weight, champion, challenger) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [*values, terms.challenger],
    )
    found = connection.execute(
        "SELECT phase_id FROM panthera.experiment_phase WHERE experiment = %s AND salt = %s AND champion_weight = %s "
        "AND challenger_weight = %s AND champion = %s AND challenger IS NOT DISTINCT FROM %s",
        [*values, terms.challenger],
    ).fetchone()
    assert found is not None, "the statement before wrote it, or found it"
    return int(found[0])


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
    """Count replayed predictions with after < as_of <= until as exposures, dated by their as_of; return how many are new.

    Of each entity the earliest one counts. An entity that was exposed keeps its exposure and its arm. Who did it, and why, is
    written down.
    """
    entered = connection.execute(
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
        *([row[number] for row in rows] for number in range(3, 7)),
    ]
    return connection.execute(_EXPOSE, [experiment, entered[0] if entered else None, *columns]).rowcount
