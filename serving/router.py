"""Which arm an entity belongs to, and which release answers for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.experiment.assignment import arm_of, bucket
from core.roles import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.releases import ActiveReleases, Release


@dataclass(frozen=True)
class Experiment:
    """The experiment that assigns entities to arms, by salted hash in proportion to the weights.

    `phase_id` is the phase of the ledger that these weights and the active releases make; None while none is active.
    """

    name: str
    salt: str
    weights: Mapping[str, int]
    phase_id: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The arm and hash bucket of an entity, and the release that answers for it."""

    arm: str
    bucket: int
    release: Release


def route(entity: str, exposed_arm: str | None, experiment: Experiment, active: ActiveReleases) -> Route:
    """Route `entity`: to the arm that it met first, else to the one of its bucket.

    Without a challenger, an entity that has met no arm goes to the champion. One that has met the challenger's keeps
    that arm and is answered by the champion: its outcome belongs to what it was assigned to.
    """
    place = bucket(experiment.salt, entity)
    if exposed_arm is None and active.challenger is None:
        return Route(CHAMPION, place, active.champion)
    arm = exposed_arm or arm_of(place, experiment.weights)
    challenged = arm == CHALLENGER and active.challenger is not None
    return Route(arm, place, active.challenger if challenged and active.challenger else active.champion)
