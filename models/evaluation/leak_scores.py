"""Features that tell the label by themselves, better than an honest one can be expected to.

A small tree is fitted on one feature, on half of the entities, and judged on the other half, and the other way round. It
takes any order of the values, and missing ones, so a feature also tells by not being there.
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

#: Entities of each label below which nothing is said: a few may be told apart by chance.
MINIMUM_ENTITIES = 30
#: A label that more rows than this have may well be sure for some values.
_RARE = 0.2
_MOST_ROWS = 100_000
_LEAVES = 32


@dataclass(frozen=True)
class Alone:
    """What one feature tells by itself.

    Attributes
    ----------
    feature : `view.feature`.
    reached : the area under the ROC curve, of several classes the best told one's, or R2 of a regression.
    surest : the largest share that a rare label has where the feature tells it; NaN where none is rare or told.
    surest_rows : the rows that this is a share of.

    """

    feature: str
    reached: float
    surest: float
    surest_rows: int


@dataclass(frozen=True)
class _Target:
    """What is told: whether a row has a label, or the number that is its label."""

    values: NDArray[np.float64]
    rare: bool


def tell_alone(
    features: tuple[ContractFeature, ...],
    rows: Rows,
    entity: NDArray[np.int64],
    task: Task,
    surely: float,
    seed: int = 0,
) -> list[Alone]:
    """Say what each feature tells by itself; free text is left out, and of many rows those of some entities are taken.

    Nothing is said of labels that fewer than 30 entities have.

    Parameters
    ----------
    entity : the number of each row's entity, shape (rows,).
    surely : the share of a rare label from which on some values are looked at as telling it.

    """
    kept = _some(entity, seed)
    rows, entity = rows.take(kept), entity[kept]
    targets = list(_targets(rows, entity, task))
    if not targets:
        return []
    folds = grouped_folds(entity, rows.label, 2, task, seed)
    found = []
    for place, feature in enumerate(features):
        if feature.dtype != "text":
            column = rows.inputs.matrix[:, [place]]
            told = [_out_of_fold(column, target.values, folds, task) for target in targets]
            found.append(_alone(f"{feature.view}.{feature.name}", told, targets, entity, folds, task, surely))
    return found


def _some(entity: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Choose whole entities with about as many rows as are looked at in all."""
    if len(entity) <= _MOST_ROWS:
        return np.arange(len(entity))
    every = np.unique(entity)
    chance = np.random.default_rng(seed)
    chosen = chance.choice(every, int(len(every) * _MOST_ROWS / len(entity)), replace=False)
    return np.flatnonzero(np.isin(entity, chosen))


def _targets(rows: Rows, entity: NDArray[np.int64], task: Task) -> Iterator[_Target]:
    if task.problem == "regression":
        if len(np.unique(entity)) >= 2 * MINIMUM_ENTITIES:
            yield _Target(rows.label.astype(np.float64), rare=False)
        return
    # Of two classes the rarer one says all.
    codes = range(len(task.names)) if task.problem == "multiclass" else [int(rows.label.mean() < 1 / 2)]
    for code in codes:
        has = rows.label == code
        if min(len(np.unique(entity[has])), len(np.unique(entity[~has]))) >= MINIMUM_ENTITIES:
            yield _Target(has.astype(np.float64), rare=float(has.mean()) <= _RARE)


def _alone(
    name: str,
    told: Sequence[NDArray[np.float64]],
    targets: Sequence[_Target],
    entity: NDArray[np.int64],
    folds: Sequence[Fold],
    task: Task,
    surely: float,
) -> Alone:
    from sklearn.metrics import r2_score, roc_auc_score

    score = r2_score if task.problem == "regression" else roc_auc_score
    reached = [
        float(np.mean([score(target.values[fold.check], said[fold.check]) for fold in folds]))
        for said, target in zip(told, targets, strict=True)
    ]
    surest = [_surest(said, target, entity, surely) for said, target in zip(told, targets, strict=True)]
    return Alone(name, max(reached), *max(surest, key=lambda one: np.nan_to_num(one[0], nan=-1.0)))


def _out_of_fold(
    column: NDArray[np.float64],
    label: NDArray[np.float64],
    folds: Sequence[Fold],
    task: Task,
) -> NDArray[np.float64]:
    """Predict each row by a tree that did not see its entity: the share of the label, or the mean."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task.problem == "regression" else DecisionTreeClassifier
    told = np.empty(len(label))
    for fold in folds:
        tree = kind(max_leaf_nodes=_LEAVES, min_samples_leaf=MINIMUM_ENTITIES, random_state=0)
        tree.fit(column[fold.fit], label[fold.fit])
        judged = column[fold.check]
        told[fold.check] = tree.predict(judged) if task.problem == "regression" else tree.predict_proba(judged)[:, 1]
    return told


def _surest(told: NDArray[np.float64], target: _Target, entity: NDArray[np.int64], surely: float) -> tuple[float, int]:
    """Give the share of a rare label among the rows that are told to have it nearly surely, and their number."""
    chosen = told >= surely
    if not target.rare or len(np.unique(entity[chosen])) < MINIMUM_ENTITIES:
        return np.nan, 0
    return float(target.values[chosen].mean()), int(chosen.sum())


def suspicion(found: Alone, section: Leakage, task: Task) -> str | None:
    """Say why a feature seems to know the label, or None."""
    measure = "R2" if task.problem == "regression" else "area under the ROC curve"
    if found.reached > section.alone:
        return f"alone it reaches {found.reached:.3f} ({measure}) on the training rows, above {section.alone:g}"
    if found.surest >= section.surely:
        return (
            f"in {found.surest_rows:,} training rows it tells a rare label with {found.surest:.1%} certainty, "
            f"at or above {section.surely:.1%}"
        )
    return None
