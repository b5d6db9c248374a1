"""Ensembles of candidates: a weighted mean of their outputs (blend), or a linear model over them (stacking)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.candidates.candidates import Fitted, fit
from models.scoring.model_file import BLEND, ESTIMATOR, PARTS, SKOPS, STACKING, load_model, stacked
from models.scoring.parts_file import write_parts
from models.scoring.skops_file import write_skops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.train import BlendCandidate, Candidate, StackingCandidate
    from models.data.folds import Fold
    from models.data.rows import Rows, Task


def blend(candidate: BlendCandidate, fitted: Mapping[str, Fitted], task: Task) -> Fitted:
    """Return the blend of fitted members with the plan's weights."""
    weights = candidate.weights or (1.0,) * len(candidate.of)
    outline = {"kind": BLEND, "problem": task.problem, "weights": list(weights), **_listed(candidate.of, fitted)}
    return Fitted(PARTS, write_parts(outline, _members(candidate.of, fitted)), {"members": float(len(candidate.of))})


def stack(
    candidate: StackingCandidate,
    candidates: Mapping[str, Candidate],
    fitted: Mapping[str, Fitted],
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,
    folds: Sequence[Fold],
    seed: int,
    task: Task,
) -> Fitted:
    """Return a stack: a linear model fitted to the members' out-of-fold outputs (Wolpert, 1992).

    Each member is fitted once per fold for these outputs. The stack itself contains the members of `fitted`, which were
    fitted on all training rows.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    final = (
        Ridge(1 / candidate.penalty_inverse)
        if task.problem == "regression"
        else LogisticRegression(C=candidate.penalty_inverse, max_iter=1000, random_state=seed)
    )
    outputs = [
        out_of_fold_outputs(candidates[name], features, train, validation, folds, seed, task) for name in candidate.of
    ]
    checked = np.concatenate([fold.check for fold in folds])
    final.fit(stacked(outputs), train.label[checked], None if train.weight is None else train.weight[checked])
    outline = {"kind": STACKING, "problem": task.problem, ESTIMATOR: SKOPS, **_listed(candidate.of, fitted)}
    members = {**_members(candidate.of, fitted), ESTIMATOR: write_skops(final)}
    return Fitted(
        PARTS, write_parts(outline, members), {"members": float(len(candidate.of)), "folds": float(len(folds))}
    )


def out_of_fold_outputs(
    candidate: Candidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,
    folds: Sequence[Fold],
    seed: int,
    task: Task,
) -> NDArray[np.float64]:
    """Return a candidate's outputs for the check rows of each fold, in the folds' order, when fitted on its fit rows."""
    outputs = []
    for fold in folds:
        fitted = fit(candidate, features, train.take(fold.fit), validation, seed, task)
        outputs.append(load_model(fitted.model_format, fitted.content).outputs(train.inputs.take(fold.check)))
    return np.vstack(outputs)


def _part(index: int) -> str:
    return f"member{index}"


def _listed(names: Sequence[str], fitted: Mapping[str, Fitted]) -> dict[str, list[dict[str, str]]]:
    members = [
        {"candidate": name, "format": fitted[name].model_format, "part": _part(index)}
        for index, name in enumerate(names)
    ]
    return {"of": members}


def _members(names: Sequence[str], fitted: Mapping[str, Fitted]) -> dict[str, bytes]:
    return {_part(index): fitted[name].content for index, name in enumerate(names)}
