"""Fast learners in the place of a plan's candidates: its rules and linear models, and small trees for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.plan.train import (
    BoostedCandidate,
    Ensemble,
    FeatureValueCandidate,
    LightGbmCandidate,
    LinearRegressionCandidate,
    LogisticCandidate,
    MajorityCandidate,
    PreparedCandidate,
    SingleFeatureCandidate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.train import Candidate, Parameters, Train

#: Learners that fit in a moment as they are.
_FAST = (MajorityCandidate, FeatureValueCandidate, SingleFeatureCandidate, LogisticCandidate, LinearRegressionCandidate)
SMALL_TREES = "small trees"
_ROUNDS, _EARLY_STOPPING = 150, 15
_PARAMS: Parameters = {"learning_rate": 0.08, "num_leaves": 15, "min_child_samples": 20}
#: What small trees take from the plan's boosted candidate.
_KEPT = ("numeric", "categorical", "text", "joined", "select", "class_weight", "loss", "quantile", "tweedie_power")


def learners(section: Train) -> dict[str, Candidate]:
    """Return the learners by name; a candidate that would be slow, or is searched for, is replaced by small trees."""
    fast: dict[str, Candidate] = {
        name: candidate.model_copy(update={"tune": None}) if isinstance(candidate, PreparedCandidate) else candidate
        for name, candidate in section.candidates.items()
        if isinstance(candidate, _FAST)
    }
    slow = [one for one in section.candidates.values() if not isinstance(one, (*_FAST, Ensemble))]
    return {**fast, SMALL_TREES: small_trees(slow)} if slow else fast


def small_trees(slow: Sequence[Candidate]) -> LightGbmCandidate:
    """Return small trees with the steps and the loss of the first boosted candidate, if there is one."""
    boosted = next((one for one in slow if isinstance(one, BoostedCandidate)), None)
    kept = {name: getattr(boosted, name) for name in _KEPT} if boosted else {}
    found = LightGbmCandidate(estimator="lightgbm", rounds=_ROUNDS, early_stopping=_EARLY_STOPPING, params=_PARAMS)
    return found.model_copy(update=kept)
