"""The loss of a trial on rows that it was not fitted on; trials share prepared columns and datasets where they can."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.plan.train import BoostedCandidate, LightGbmCandidate
from models.candidates.boosted_trees import BoostingData, PreparedRows, TrialPruned
from models.candidates.boosting import boosting_data, fit_trees
from models.candidates.candidates import categories_of, fit_estimator, prepared_rows, transformed_rows
from models.candidates.lightgbm_fit import DATASET_PARAMS
from models.scoring.model_file import ScikitEstimator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.train import PreparedCandidate
    from models.candidates.boosted_trees import PruneCallback
    from models.data.rows import Labels, Rows, Task

#: Steps that report whole folds are numbered from here on, after every round of the first fold.
_AFTER_ROUNDS = 1_000_000
_SMALLEST = 1e-15


@dataclass
class _Shared:
    """The prepared columns of one fold, for trials with the same steps; the dataset, for the same dataset parameters too."""

    steps: str
    train: PreparedRows
    check: PreparedRows
    categories: tuple[int, ...]
    dataset_params: str = ""
    data: BoostingData | None = None


class TrialLoss:
    """The mean loss over folds of (rows to fit on, rows to check on)."""

    def __init__(
        self, features: Sequence[ContractFeature], folds: Sequence[tuple[Rows, Rows]], task: Task, seed: int
    ) -> None:
        self._features = features
        self._folds = folds
        self._task = task
        self._seed = seed
        self._shared: dict[int, _Shared] = {}

    def __call__(self, candidate: PreparedCandidate, pruner: PruneCallback) -> float:
        """Return the loss of `candidate`; NaN if `pruner` stopped the trial."""
        losses: list[float] = []
        for number in range(len(self._folds)):
            try:
                losses.append(self._loss(candidate, number, None if number else pruner))
            except TrialPruned:
                return math.nan
            if number + 1 < len(self._folds) and pruner(_AFTER_ROUNDS + number, float(np.mean(losses))):
                return math.nan
        return float(np.mean(losses))

    def _loss(self, candidate: PreparedCandidate, number: int, pruner: PruneCallback | None) -> float:
        shared = self._share(candidate, number)
        if isinstance(candidate, BoostedCandidate):
            return fit_trees(candidate, _data(candidate, shared), self._task, self._seed, pruner).loss
        estimator, _ = fit_estimator(candidate, shared.train, self._task, self._seed)
        outputs = ScikitEstimator(estimator, self._task.problem).outputs(shared.check.columns)
        return loss_of(outputs, shared.check.label, shared.check.weights)

    def _share(self, candidate: PreparedCandidate, number: int) -> _Shared:
        steps = candidate.model_dump_json(
            include={"numeric", "categorical", "text", "joined", "select", "class_weight"}
        )
        shared = self._shared.get(number)
        if shared is None or shared.steps != steps:
            fitting, checking = self._folds[number]
            preparation, part = prepared_rows(candidate, self._features, fitting, self._task, self._seed)
            categories = categories_of(preparation, self._features)
            shared = _Shared(steps, part, transformed_rows(preparation, checking), categories)
            self._shared[number] = shared
        return shared


def _data(candidate: BoostedCandidate, shared: _Shared) -> BoostingData:
    params = candidate.params if isinstance(candidate, LightGbmCandidate) else {}
    dataset_params = json.dumps(
        {name: value for name, value in params.items() if name in DATASET_PARAMS}, sort_keys=True
    )
    if shared.data is None or shared.dataset_params != dataset_params:
        shared.data = boosting_data(candidate, shared.train, shared.check, shared.categories)
        shared.dataset_params = dataset_params
    return shared.data


def loss_of(outputs: NDArray[np.float64], label: Labels, weights: NDArray[np.float64] | None = None) -> float:
    """Return the RMSE of numbers, or the log loss of probabilities.

    Parameters
    ----------
    outputs : of a model, of shape (rows, outputs).
    label : floats are numbers, integers are codes of classes.
    weights : of the rows, of the shape (rows,).

    """
    if label.dtype.kind == "f":
        return float(np.sqrt(np.average((outputs[:, 0] - label) ** 2, weights=weights)))
    by_class = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
    likelihood = by_class[np.arange(len(label)), label]
    return float(np.average(-np.log(np.clip(likelihood, _SMALLEST, 1)), weights=weights))
