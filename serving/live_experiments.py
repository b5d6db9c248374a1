"""A running experiment with its loaded releases: which arm an entity has, and which release scores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from core.experiment.running.changes import ExperimentState
    from core.experiment.running.terms import RunningTerms
    from serving.active_releases import ActiveReleases, Input, Release
    from serving.features import EntityFacts


@dataclass(frozen=True)
class LiveExperiment:
    """A running experiment.

    Attributes
    ----------
    releases : the release of each arm.
    target_input : the position of the target's feature in the rows of an entity. It is None if the target is on no feature,
        or if no active release reads the feature; no entity meets the target in the second case.

    """

    state: ExperimentState
    releases: Mapping[str, Release]
    target_input: Input | None = None

    @property
    def name(self) -> str:
        """The name under which its predictions and exposures are logged."""
        return self.state.experiment

    @property
    def terms(self) -> RunningTerms:
        """Its terms."""
        return self.state.terms

    def new_arm(self, entity: str, facts: EntityFacts) -> str | None:
        """Return the arm of an entity that has no exposure in this experiment; None if it does not enter."""
        return self.terms.arm_of(entity) if self._is_target(facts) else None

    def _is_target(self, facts: EntityFacts) -> bool:
        target, position = self.terms.target, self.target_input
        if target is None:
            return True
        if target.attribute is not None:
            return target.matches(facts.attributes.get(target.attribute))
        return position is not None and target.matches(facts.reads[position.table].values[position.position])

    def release_of(self, arm: str) -> Release:
        """Return the release that scores an arm; that of the control arm if the arm is of an earlier phase."""
        return self.releases.get(arm) or self.releases[self.terms.control.name]


def live_experiments(active: ActiveReleases) -> tuple[LiveExperiment, ...]:
    """Return the running experiments with the loaded releases of their arms."""
    releases = {release.release_id: release for release in active.releases}
    inputs = {entry.column: entry for release in active.releases for entry in release.logged}

    def live(state: ExperimentState) -> LiveExperiment:
        target = state.terms.target
        return LiveExperiment(
            state,
            {arm.name: releases[arm.release] for arm in state.terms.arms},
            inputs.get(target.feature) if target else None,
        )

    return tuple(map(live, active.experiments))


def listed(experiments: Iterable[LiveExperiment]) -> str:
    """Return the experiments, their phases and coverage for the log; empty without any."""
    return "".join(
        f"; experiment {live.name}, phase {live.terms.phase}, coverage {live.terms.coverage / 100:g} %"
        for live in experiments
    )
