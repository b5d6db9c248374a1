"""The routing of entities to experiment arms and releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.experiment.assignment import arm_of, bucket
from core.roles import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.active_releases import ActiveReleases, Release
    from serving.features import EntityFacts
    from serving.live_experiments import LiveExperiment


@dataclass(frozen=True)
class Experiment:
    """The experiment that assigns entities to arms by a salted hash, in proportion to the weights.

    `phase_id` is the recorded phase with these weights and the active releases; None while no release is active.
    `running` are the experiments that take entities out of it.
    """

    name: str
    salt: str
    weights: Mapping[str, int]
    phase_id: int | None = None
    running: tuple[LiveExperiment, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """The experiment, phase and arm of an entity, and the release that scores it.

    `bucket` is its hash bucket; None if it was exposed before, since nothing needs it then.
    """

    arm: str
    bucket: int | None
    release: Release
    experiment: str
    phase_id: int | None


def route(entity: str, facts: EntityFacts, experiment: Experiment, active: ActiveReleases) -> Route:
    """Return the route of `entity`: by the running experiment that it is in, or else by the plan's experiment.

    It is in the experiment that it was exposed in, or else in the first one that it enters. One answer is thus of one
    experiment, whatever their layers.
    """
    for live in experiment.running:
        if arm := facts.exposed_arms.get(live.name):
            return Route(arm, None, live.release_of(arm), live.name, live.state.phase_id)
    for live in experiment.running:
        if arm := live.new_arm(entity, facts):
            hash_bucket = live.terms.bucket_of(entity)
            return Route(arm, hash_bucket, live.release_of(arm), live.name, live.state.phase_id)
    return _plan_route(entity, facts.arm_in(experiment.name), experiment, active)


def _plan_route(entity: str, exposed_arm: str | None, experiment: Experiment, active: ActiveReleases) -> Route:
    """Return the route by the plan's experiment: the arm of the entity's first exposure, or else the arm of its bucket.

    Without a challenger, an entity without an exposure is routed to the champion. One exposed to the challenger's arm keeps
    that arm, since its outcome counts for the assigned arm, but the champion scores it.
    """
    hash_bucket = None
    arm = exposed_arm
    if arm is None:
        hash_bucket = bucket(experiment.salt, entity)
        arm = arm_of(hash_bucket, experiment.weights) if active.challenger else CHAMPION
    release = active.challenger if arm == CHALLENGER and active.challenger else active.champion
    return Route(arm, hash_bucket, release, experiment.name, experiment.phase_id)
