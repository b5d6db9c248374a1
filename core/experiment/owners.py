"""The model that an experiment and its outcomes belong to: plans that share a database never share experiments or outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import Composable, Composed

_OF_RELEASE = sql.SQL("(SELECT release.model FROM panthera.release WHERE release.release_id = {release})")
#: The model for which it was planned by `panthera experiment`, or that of its first phase.
#: Exposures from before phases were recorded have none, which counts every outcome.
_OF_EXPERIMENT = sql.SQL("""coalesce(
    (SELECT model FROM panthera.experiment AS started WHERE started.experiment = {experiment}),
    (SELECT release.model FROM panthera.experiment_phase AS phase JOIN panthera.release ON release.release_id = phase.champion
    WHERE phase.experiment = {experiment} ORDER BY phase.phase_id LIMIT 1)
)""")


def model_of_release(release: Composable) -> Composed:
    """Compose the model of a release."""
    return _OF_RELEASE.format(release=release)


def model_of_experiment(experiment: Composable) -> Composed:
    """Compose the model that an experiment belongs to; NULL if none is recorded."""
    return _OF_EXPERIMENT.format(experiment=experiment)


def outcome_of(model: Composable) -> Composed:
    """Compose the condition that `outcome` is one of `model`, or from before outcomes had a model; true for NULL."""
    return sql.SQL("coalesce(outcome.model IN ('', {model}), true)").format(model=model)


#: The latest challenger that is one now, or was one while the service ran; and the experiment of its first phase.
_LATEST_CHALLENGER = """
WITH challenger AS (
    SELECT change_id, release_id, change_id = max(change_id) OVER () AS is_present, (
        SELECT phase.experiment FROM panthera.experiment_phase AS phase
        WHERE phase.challenger = changed.release_id
            AND phase.experiment IN (%(first)s, %(first)s || '@' || changed.release_id)
        ORDER BY phase.phase_id LIMIT 1
    ) AS entered
    FROM panthera.release_role AS changed WHERE model = %(model)s AND role = 'challenger'
)
SELECT release_id, entered FROM challenger
WHERE release_id IS NOT NULL AND (is_present OR entered IS NOT NULL) ORDER BY change_id DESC LIMIT 1
"""


def stored_name(connection: psycopg.Connection, experiment: str, model: str) -> str:
    """Return the name of a plan's experiment in the database, with the model's latest challenger.

    It is the plan's name, or `model/experiment` if another model has that one. An entity is exposed to an experiment once, so a
    challenger that comes when entities are exposed already has an experiment of its own, `experiment@release`: otherwise nobody
    would be left to be assigned to it. No plan's name has a slash or an @.
    """
    query = sql.SQL("SELECT {}").format(model_of_experiment(sql.Literal(experiment)))
    ((owner,),) = connection.execute(query)
    first = experiment if owner in {None, model} else f"{model}/{experiment}"
    latest = connection.execute(_LATEST_CHALLENGER, {"model": model, "first": first}).fetchone()
    if latest is None:
        return first
    challenger, entered = latest
    if entered:
        return str(entered)
    exposed = connection.execute("SELECT true FROM panthera.exposure WHERE experiment = %s LIMIT 1", [first]).fetchone()
    return f"{first}@{challenger}" if exposed else first


def stored_salt(salt: str, name: str) -> str:
    """Return the salt of the experiment with this stored name: each challenger's own experiment assigns anew.

    >>> stored_salt("s", "trial"), stored_salt("s", "trial@r3")
    ('s', 's@r3')
    """
    _, at, challenger = name.partition("@")
    return f"{salt}{at}{challenger}"
