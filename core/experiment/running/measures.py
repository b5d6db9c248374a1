"""What the workers of the service measured of the releases, in PostgreSQL; and the judgement of a running experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.experiment.running.changes import Author, stop
from core.experiment.running.limits import Measured, broken_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.experiment.running.changes import ExperimentState

#: A limit is judged from the counts of this time, and since the last change.
_WINDOW = "10 minutes"
_RETENTION = "1 day"
#: The newest scores of an arm that are compared.
_MOST_SCORES = 2_000
_SCORES = """
SELECT score FROM panthera.prediction
WHERE experiment = %s AND phase_id = %s AND arm = %s AND logged_at >= greatest(%s, now() - %s::interval)
ORDER BY logged_at DESC LIMIT %s
"""


def write_measures(connection: psycopg.Connection, worker: str, measured: Mapping[str, Measured]) -> None:
    """Write what `worker` counted since its last write, by release; drop counts of which no limit is judged any more."""
    connection.cursor().executemany(
        "INSERT INTO panthera.release_measure (worker, release_id, scored, failed, calls) VALUES (%s, %s, %s, %s, %s)",
        [
            (worker, release, counts.scored, counts.failed, list(counts.calls))
            for release, counts in measured.items()
            if counts.total
        ],
    )
    connection.execute("DELETE FROM panthera.release_measure WHERE measured_at < now() - %s::interval", [_RETENTION])


def measures_since(connection: psycopg.Connection, release_ids: Sequence[str], since: datetime) -> dict[str, Measured]:
    """Return the counts of all workers since an instant, of the last ten minutes at most, by release."""
    rows = connection.execute(
        """
        SELECT release_id, sum(scored)::bigint, sum(failed)::bigint, array_agg(total ORDER BY bin)
        FROM (
            SELECT release_id, bin, sum(count)::bigint AS total,
                sum(scored) FILTER (WHERE bin = 1) AS scored, sum(failed) FILTER (WHERE bin = 1) AS failed
            FROM panthera.release_measure CROSS JOIN unnest(calls) WITH ORDINALITY AS call (count, bin)
            WHERE release_id = ANY(%s) AND measured_at >= greatest(%s, now() - %s::interval)
            GROUP BY release_id, bin
        ) AS counted GROUP BY release_id
        """,
        [list(release_ids), since, _WINDOW],
    ).fetchall()
    found = {release: Measured(scored, failed, tuple(calls)) for release, scored, failed, calls in rows}
    return {release: found.get(release, Measured()) for release in release_ids}


def broken_limits(connection: psycopg.Connection, state: ExperimentState) -> dict[str, str]:
    """Return which limit each arm breaks by what was measured since the last change, in words; without arms that break none."""
    terms = state.terms
    measured = measures_since(connection, terms.releases, state.changed_at)
    control = terms.control
    known = [] if terms.limits.shift is None else _scores(connection, state, control.name)
    found = {}
    for arm in terms.arms[1:]:
        if arm.release == control.release:
            continue
        scores = ([], []) if terms.limits.shift is None else (known, _scores(connection, state, arm.name))
        found[arm.name] = broken_limit(terms.limits, measured[control.release], measured[arm.release], scores)
    return {arm: reason for arm, reason in found.items() if reason}


def roll_back_if_broken(connection: psycopg.Connection, state: ExperimentState, actor: str) -> str | None:
    """Roll an experiment back if an arm breaks a limit; return which limits are broken, in words, or None.

    Raises
    ------
    ExperimentError
        If it breaks one, but was changed since `state`.

    """
    broken = broken_limits(connection, state)
    if not broken:
        return None
    reason = "; ".join(f"arm {arm}: {limit}" for arm, limit in broken.items())
    stop(connection, state.model, state.experiment, Author(actor, reason), "rollback", state.change_id)
    return reason


def _scores(connection: psycopg.Connection, state: ExperimentState, arm: str) -> list[float]:
    rows = connection.execute(_SCORES, [state.experiment, state.phase_id, arm, state.changed_at, _WINDOW, _MOST_SCORES])
    return [score for (score,) in rows]
