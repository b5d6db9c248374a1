"""What a trial is judged by: a candidate's loss on rows that it was not fitted on, with what can be shared made once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.plan.train import BoostedCandidate, LightGbmCandidate
from models.candidates.boosting import LIGHTGBM_DATASET, Data, GivenUp, Part, data_for, grow
from models.candidates.candidates import categories_of, checked_part, fit_estimator, prepared_part
from models.scoring.model_file import ScikitEstimator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.train import PreparedCandidate
    from models.candidates.boosting import Watch
    from models.data.rows import Labels, Rows, Task

#: The step at which a watch is told of whole folds: after every round of the first one.
_AFTER_ROUNDS = 1_000_000
_SMALLEST = 1e-15


@dataclass
class _Shared:
    """What trials with the same steps share on one fold, and, of trees, those with the same parameters of the data."""

    steps: str
    train: Part
    check: Part
    categories: tuple[int, ...]
    made_with: str = ""
    data: Data | None = None


class TrialLoss:
    """The mean loss over folds of (rows to fit on, rows to judge on)."""

    def __init__(
        self, features: Sequence[ContractFeature], folds: Sequence[tuple[Rows, Rows]], task: Task, seed: int
    ) -> None:
        self._features = features
        self._folds = folds
        self._task = task
        self._seed = seed
        self._shared: dict[int, _Shared] = {}

    def __call__(self, candidate: PreparedCandidate, watch: Watch) -> float:
        """Give the loss of `candidate`; NaN if `watch` gave it up."""
        losses: list[float] = []
        for place in range(len(self._folds)):
            try:
                losses.append(self._loss(candidate, place, None if place else watch))
            except GivenUp:
                return math.nan
            if place + 1 < len(self._folds) and watch(_AFTER_ROUNDS + place, float(np.mean(losses))):
                return math.nan
        return float(np.mean(losses))

    def _loss(self, candidate: PreparedCandidate, place: int, watch: Watch | None) -> float:
        shared = self._share(candidate, place)
        if isinstance(candidate, BoostedCandidate):
            return grow(candidate, _data(candidate, shared), self._task, self._seed, watch).loss
        estimator, _ = fit_estimator(candidate, shared.train, self._task, self._seed)
        return loss_of(ScikitEstimator(estimator, self._task.problem).outputs(shared.check.columns), shared.check.label)

    def _share(self, candidate: PreparedCandidate, place: int) -> _Shared:
        steps = candidate.model_dump_json(
            include={"numeric", "categorical", "text", "joined", "select", "class_weight"}
        )
        shared = self._shared.get(place)
        if shared is None or shared.steps != steps:
            fitting, checking = self._folds[place]
            preparation, part = prepared_part(candidate, self._features, fitting, self._task, self._seed)
            categories = categories_of(preparation, self._features)
            shared = _Shared(steps, part, checked_part(preparation, checking), categories)
            self._shared[place] = shared
        return shared


def _data(candidate: BoostedCandidate, shared: _Shared) -> Data:
    params = candidate.params if isinstance(candidate, LightGbmCandidate) else {}
    made_with = json.dumps({name: value for name, value in params.items() if name in LIGHTGBM_DATASET}, sort_keys=True)
    if shared.data is None or shared.made_with != made_with:
        shared.data = data_for(candidate, shared.train, shared.check, shared.categories)
        shared.made_with = made_with
    return shared.data


def loss_of(outputs: NDArray[np.float64], label: Labels) -> float:
    """Give the RMSE of numbers, or the mean of -log p, where p is the probability that a row's class was given.

    Parameters
    ----------
    outputs : as a model gives them, of the shape (rows, outputs).
    label : floats are numbers, whole ones codes of classes.

    """
    if label.dtype.kind == "f":
        return float(np.sqrt(np.mean((outputs[:, 0] - label) ** 2)))
    given = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
    chosen = given[np.arange(len(label)), label]
    return float(-np.log(np.clip(chosen, _SMALLEST, 1)).mean())
