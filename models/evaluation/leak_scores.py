"""Leak scores: how well each feature predicts the label alone.

A small tree is fitted to one feature with two-fold cross-validation over entities. A tree handles any relation to the
label and missing values, so missingness counts as a signal too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.folds import grouped_folds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.leakage import Leakage
    from models.data.folds import Fold
    from models.data.rows import Rows, Task

#: With fewer entities of a label there is no score: a few can be separated by chance.
MINIMUM_ENTITIES = 30
#: Only a label with at most this share of rows has a `surest`: a common one may be certain for some values.
_RARE = 0.2
_MOST_ROWS = 100_000
_LEAVES = 32


@dataclass(frozen=True)
class LeakScore:
    """How well one feature predicts the label alone.

    Attributes
    ----------
    feature : `view.feature`.
    reached : the area under the ROC curve, of the best class if there are several, or R2 in a regression.
    surest : the precision for a rare label among rows where the tree's probability is near 1; NaN where there are none.
    surest_rows : the number of these rows.

    """

    feature: str
    reached: float
    surest: float
    surest_rows: int


@dataclass(frozen=True)
class _Target:
    """What the tree predicts: whether a row has one label, as 0 or 1, or the number that is its label."""

    values: NDArray[np.float64]
    rare: bool


def leak_scores(
    features: tuple[ContractFeature, ...],
    rows: Rows,
    entity: NDArray[np.int64],
    task: Task,
    surely: float,
    seed: int = 0,
) -> list[LeakScore]:
    """Return the leak score of each feature except free text, from at most about 100,000 rows.

    Labels with fewer than 30 entities are not scored. Rows are sampled by entity.

    Parameters
    ----------
    entity : the number of each row's entity, shape (rows,).
    surely : the predicted probability of a rare label from which on rows count for `surest`.

    """
    kept = _sample(entity, seed)
    rows, entity = rows.take(kept), entity[kept]
    targets = list(_targets(rows, entity, task))
    if not targets:
        return []
    folds = grouped_folds(entity, rows.label, 2, task, seed)
    scores = []
    for index, feature in enumerate(features):
        if feature.dtype != "text":
            column = rows.inputs.matrix[:, [index]]
            predictions = [_out_of_fold(column, target.values, folds, task) for target in targets]
            name = f"{feature.view}.{feature.name}"
            scores.append(_leak_score(name, predictions, targets, entity, folds, task, surely))
    return scores


def _sample(entity: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the indices of all rows of sampled entities, about 100,000 rows."""
    if len(entity) <= _MOST_ROWS:
        return np.arange(len(entity))
    every = np.unique(entity)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(every, int(len(every) * _MOST_ROWS / len(entity)), replace=False)
    return np.flatnonzero(np.isin(entity, chosen))


def _targets(rows: Rows, entity: NDArray[np.int64], task: Task) -> Iterator[_Target]:
    if task.problem == "regression":
        if len(np.unique(entity)) >= 2 * MINIMUM_ENTITIES:
            yield _Target(rows.label.astype(np.float64), rare=False)
        return
    # For two classes the rarer one suffices.
    codes = range(len(task.names)) if task.problem == "multiclass" else [int(rows.label.mean() < 1 / 2)]
    for code in codes:
        has = rows.label == code
        if min(len(np.unique(entity[has])), len(np.unique(entity[~has]))) >= MINIMUM_ENTITIES:
            yield _Target(has.astype(np.float64), rare=float(has.mean()) <= _RARE)


def _leak_score(
    name: str,
    predictions: Sequence[NDArray[np.float64]],
    targets: Sequence[_Target],
    entity: NDArray[np.int64],
    folds: Sequence[Fold],
    task: Task,
    surely: float,
) -> LeakScore:
    from sklearn.metrics import r2_score, roc_auc_score

    score = r2_score if task.problem == "regression" else roc_auc_score
    reached = [
        float(np.mean([score(target.values[fold.check], predicted[fold.check]) for fold in folds]))
        for predicted, target in zip(predictions, targets, strict=True)
    ]
    surest = [
        _surest(predicted, target, entity, surely) for predicted, target in zip(predictions, targets, strict=True)
    ]
    return LeakScore(name, max(reached), *max(surest, key=lambda one: np.nan_to_num(one[0], nan=-1.0)))


def _out_of_fold(
    column: NDArray[np.float64],
    label: NDArray[np.float64],
    folds: Sequence[Fold],
    task: Task,
) -> NDArray[np.float64]:
    """Return out-of-fold predictions of a tree: the probability of the label, or the predicted number."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task.problem == "regression" else DecisionTreeClassifier
    predictions = np.empty(len(label))
    for fold in folds:
        tree = kind(max_leaf_nodes=_LEAVES, min_samples_leaf=MINIMUM_ENTITIES, random_state=0)
        tree.fit(column[fold.fit], label[fold.fit])
        checked = column[fold.check]
        predictions[fold.check] = (
            tree.predict(checked) if task.problem == "regression" else tree.predict_proba(checked)[:, 1]
        )
    return predictions


def _surest(
    predictions: NDArray[np.float64], target: _Target, entity: NDArray[np.int64], surely: float
) -> tuple[float, int]:
    """Return the share of a rare label among the rows predicted to have it with probability >= `surely`, and their number."""
    chosen = predictions >= surely
    if not target.rare or len(np.unique(entity[chosen])) < MINIMUM_ENTITIES:
        return np.nan, 0
    return float(target.values[chosen].mean()), int(chosen.sum())


def suspicion(found: LeakScore, section: Leakage, task: Task) -> str | None:
    """Return why a feature seems to leak the label, or None."""
    measure = "R2" if task.problem == "regression" else "area under the ROC curve"
    if found.reached > section.alone:
        return f"alone it reaches {found.reached:.3f} ({measure}) on the training rows, above {section.alone:g}"
    if found.surest >= section.surely:
        return (
            f"in {found.surest_rows:,} training rows it predicts a rare label with {found.surest:.1%} precision, "
            f"at or above {section.surely:.1%}"
        )
    return None
