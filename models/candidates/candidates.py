"""Fit each model family on training rows, and serialise it without pickle."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from core.errors import PlanError
from core.files import require
from core.plan.steps import Impute, Scale
from core.plan.train import (
    BoostedCandidate,
    Candidate,
    FeatureValueCandidate,
    LinearSvmCandidate,
    MajorityCandidate,
    OfNumbersCandidate,
    SingleFeatureCandidate,
)
from models.candidates.boosted_trees import PreparedRows
from models.candidates.boosting import boosting_data, fit_trees
from models.candidates.estimators import estimator_of
from models.candidates.prepare import is_plain, prepare
from models.candidates.steps import Fitting, scikit_step
from models.data.folds import refuse_few_rows
from models.data.rows import BINARY, Rows, Task, row_weights
from models.scoring.model_file import ESTIMATOR, PARTS, PREPARATION, PREPARED, SKOPS
from models.scoring.parts_file import write_parts
from models.scoring.preparation import ColumnGroup, Preparation
from models.scoring.skops_file import write_skops
from models.scoring.trees import LIGHTGBM_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.contracts import ContractFeature
    from core.plan.train import PreparedCandidate


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate: the format of its bytes, the bytes, and facts about the fit such as the number of trees."""

    model_format: str
    content: bytes
    facts: dict[str, float]


@singledispatch
def fit(
    candidate: Candidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    """Return `candidate` fitted on `train`; only early stopping uses `validation`.

    Raises
    ------
    PlanError
        If the library refuses the plan's parameters.

    """
    raise NotImplementedError(type(candidate), features, train, validation, seed, task)


@fit.register(MajorityCandidate)
def _(
    candidate: MajorityCandidate,  # noqa: ARG001
    features: Sequence[ContractFeature],  # noqa: ARG001
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,  # noqa: ARG001
    task: Task = BINARY,
) -> Fitted:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    rule = DummyRegressor() if task.problem == "regression" else DummyClassifier(strategy="prior")
    return _scikit(None, rule.fit(train.inputs.matrix, train.label, train.weight), task, {})


@fit.register(SingleFeatureCandidate)
def _(
    candidate: SingleFeatureCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline

    index = _index(candidate.feature, features)
    fitting = Fitting((features[index],), task, seed)
    steps = make_pipeline(
        scikit_step(Impute(step="impute_median"), fitting), scikit_step(Scale(step="standard_scale"), fitting)
    )
    columns = steps.fit_transform(train.inputs.matrix[:, [index]])
    curve = LinearRegression() if task.problem == "regression" else LogisticRegression(random_state=seed)
    curve.fit(columns, train.label, train.weight)
    return _scikit(Preparation((ColumnGroup("numeric", (index,), steps),)), curve, task, {})


@fit.register(FeatureValueCandidate)
def _(
    candidate: FeatureValueCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    index = _index(candidate.feature, features)
    step = scikit_step(Impute(step="impute_median"), Fitting((features[index],), task, seed))
    step.fit(train.inputs.matrix[:, [index]])
    # The line through these two points is the identity.
    line = LinearRegression().fit(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))
    line.coef_, line.intercept_ = np.array([1.0]), 0.0
    return _scikit(Preparation((ColumnGroup("numeric", (index,), step),)), line, task, {})


def _index(name: str, features: Sequence[ContractFeature]) -> int:
    """Return the index of the feature `view.feature`."""
    return [f"{feature.view}.{feature.name}" for feature in features].index(name)


@fit.register(OfNumbersCandidate)
def _(
    candidate: OfNumbersCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    preparation, rows = prepared_rows(candidate, features, train, task, seed)
    estimator, facts = fit_estimator(candidate, rows, task, seed)
    return _scikit(preparation, estimator, task, facts)


def prepared_rows(
    candidate: PreparedCandidate, features: Sequence[ContractFeature], train: Rows, task: Task, seed: int
) -> tuple[Preparation | None, PreparedRows]:
    """Return the candidate's fitted steps (None without steps), and the prepared training columns, labels and weights."""
    weights = row_weights(candidate.class_weight, train.label, task, train.weight)
    if is_plain(candidate):
        return None, PreparedRows(train.inputs.matrix, train.label, weights)
    preparation, columns = prepare(candidate, features, train, task, seed)
    return preparation, PreparedRows(columns, train.label, weights)


def fit_estimator(
    candidate: OfNumbersCandidate, part: PreparedRows, task: Task, seed: int
) -> tuple[Any, dict[str, float]]:
    """Return a fitted scikit-learn estimator, and facts about the fit.

    Raises
    ------
    PlanError
        If the estimator refuses the columns, or there are fewer rows than its folds.

    """
    from sklearn.exceptions import ConvergenceWarning

    if isinstance(candidate, LinearSvmCandidate) and task.problem != "regression":
        refuse_few_rows(part.label, candidate.folds, task)
    estimator = estimator_of(candidate, task, seed)
    facts = {"columns": float(part.columns.shape[1])}
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", ConvergenceWarning)
        try:
            estimator.fit(part.columns, part.label, **({} if part.weights is None else {"sample_weight": part.weights}))
        except ValueError as error:
            raise PlanError(f"{candidate.estimator} cannot be fitted: {_reason(error)}") from None
    if any(issubclass(warning.category, ConvergenceWarning) for warning in raised):
        facts["converged"] = 0.0
    return estimator, facts


def _reason(error: ValueError) -> str:
    reason = str(error).splitlines()[0]
    return f"{reason} (add the step impute_median)" if "NaN" in reason else reason


@fit.register(BoostedCandidate)
def _(
    candidate: BoostedCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    preparation, rows = prepared_rows(candidate, features, train, task, seed)
    data = boosting_data(
        candidate, rows, transformed_rows(preparation, validation), categories_of(preparation, features)
    )
    trees = fit_trees(candidate, data, task, seed)
    facts = {"trees": float(trees.rounds)}
    if preparation is None and trees.model_format == LIGHTGBM_TEXT:
        return Fitted(LIGHTGBM_TEXT, trees.content, facts)
    return _prepared(preparation, trees.model_format, trees.content, task, facts)


def transformed_rows(preparation: Preparation | None, rows: Rows) -> PreparedRows:
    """Return the prepared columns, labels and own weights of rows that the steps were not fitted on."""
    columns = rows.inputs.matrix if preparation is None else preparation.transform(rows.inputs)
    return PreparedRows(columns, rows.label, rows.weight)


def categories_of(preparation: Preparation | None, features: Sequence[ContractFeature]) -> tuple[int, ...]:
    """Return the indices of the prepared columns that are codes of levels."""
    if preparation is not None:
        return preparation.categories
    return tuple(index for index, feature in enumerate(features) if feature.dtype == "string")


def _scikit(preparation: Preparation | None, estimator: Any, task: Task, facts: dict[str, float]) -> Fitted:
    return _prepared(preparation, SKOPS, write_skops(estimator), task, facts)


def _prepared(
    preparation: Preparation | None, model_format: str, content: bytes, task: Task, facts: dict[str, float]
) -> Fitted:
    outline = {
        "kind": PREPARED,
        "problem": task.problem,
        PREPARATION: None if preparation is None else preparation.outline(),
        ESTIMATOR: model_format,
    }
    members = {ESTIMATOR: content}
    if preparation is not None:
        members[PREPARATION] = write_skops(preparation.fitted())
    return Fitted(PARTS, write_parts(outline, members), facts)


def write_candidate(folder: Path, fitted: Fitted) -> None:
    """Write a fitted candidate to `folder`, for `read_candidate`."""
    (folder / "model").write_bytes(fitted.content)
    facts = {"estimator": fitted.model_format, "facts": fitted.facts}
    (folder / "candidate.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def read_candidate(folder: Path) -> tuple[str, bytes]:
    """Read the model format and the bytes of a candidate that the stage `train` wrote."""
    facts = json.loads(require(folder / "candidate.json", "train").read_text())
    return str(facts["estimator"]), (folder / "model").read_bytes()
