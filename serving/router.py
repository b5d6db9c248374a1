"""The routing of entities to experiment arms and releases."""

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
    """The experiment that assigns entities to arms by a salted hash, in proportion to the weights.

    `phase_id` is the recorded phase with these weights and the active releases; None while no release is active.
    """

    name: str
    salt: str
    weights: Mapping[str, int]
    phase_id: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The arm and hash bucket of an entity, and the release that scores it."""

    arm: str
    bucket: int
    release: Release


def route(entity: str, exposed_arm: str | None, experiment: Experiment, active: ActiveReleases) -> Route:
    """Return the route of `entity`: the arm of its first exposure, or else the arm of its bucket.

    Without a challenger, an entity without an exposure is routed to the champion. One exposed to the challenger's arm keeps
    that arm, since its outcome counts for the assigned arm, but the champion scores it.
    """
    hash_bucket = bucket(experiment.salt, entity)
    if exposed_arm is None and active.challenger is None:
        return Route(CHAMPION, hash_bucket, active.champion)
    arm = exposed_arm or arm_of(hash_bucket, experiment.weights)
    challenged = arm == CHALLENGER and active.challenger is not None
    return Route(arm, hash_bucket, active.challenger if challenged and active.challenger else active.champion)
