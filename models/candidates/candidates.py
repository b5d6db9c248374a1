"""The model families: how each is fitted on training rows and kept as bytes without pickle."""

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
    LinearSvmCandidate,
    MajorityCandidate,
    OfNumbersCandidate,
    SingleFeatureCandidate,
)
from models.candidates.boosting import Part, data_for, grow
from models.candidates.estimators import estimator_of
from models.candidates.prepare import is_plain, prepare
from models.candidates.steps import Fitting, scikit_step
from models.data.folds import refuse_few_rows
from models.data.rows import BINARY, Rows, Task, row_weights
from models.scoring.model_file import ESTIMATOR, PARTS, PREPARATION, PREPARED, SKOPS
from models.scoring.parts_file import write_parts
from models.scoring.preparation import Group, Preparation
from models.scoring.skops_file import write_skops
from models.scoring.trees import LIGHTGBM_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.contracts import ContractFeature
    from core.plan.train import PreparedCandidate


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate: the format of its bytes, the bytes, and what fitting found out (number of trees, say)."""

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
    """Fit `candidate` on `train`; `validation` is used for early stopping alone.

    Raises
    ------
    PlanError
        If the library refuses what the plan asks for.

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
    return _scikit(None, rule.fit(train.inputs.matrix, train.label), task, {})


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

    place = [f"{feature.view}.{feature.name}" for feature in features].index(candidate.feature)
    fitting = Fitting((features[place],), task, seed)
    steps = make_pipeline(
        scikit_step(Impute(step="impute_median"), fitting), scikit_step(Scale(step="standard_scale"), fitting)
    )
    columns = steps.fit_transform(train.inputs.matrix[:, [place]])
    curve = LinearRegression() if task.problem == "regression" else LogisticRegression(random_state=seed)
    return _scikit(Preparation((Group("numeric", (place,), steps),)), curve.fit(columns, train.label), task, {})


@fit.register(OfNumbersCandidate)
def _(
    candidate: OfNumbersCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,  # noqa: ARG001
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    preparation, part = prepared_part(candidate, features, train, task, seed)
    estimator, facts = fit_estimator(candidate, part, task, seed)
    return _scikit(preparation, estimator, task, facts)


def prepared_part(
    candidate: PreparedCandidate, features: Sequence[ContractFeature], train: Rows, task: Task, seed: int
) -> tuple[Preparation | None, Part]:
    """Fit the candidate's steps, if there are any, and give the training rows' columns with their labels and weights."""
    weights = row_weights(candidate.class_weight, train.label, task)
    if is_plain(candidate):
        return None, Part(train.inputs.matrix, train.label, weights)
    preparation, columns = prepare(candidate, features, train, task, seed)
    return preparation, Part(columns, train.label, weights)


def fit_estimator(candidate: OfNumbersCandidate, part: Part, task: Task, seed: int) -> tuple[Any, dict[str, float]]:
    """Fit an estimator of scikit-learn; return it with what fitting found out.

    Raises
    ------
    PlanError
        If it refuses the columns, or there are fewer rows than folds that it asks for.

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
    return f"{reason} (is impute_median missing?)" if "NaN" in reason else reason


@fit.register(BoostedCandidate)
def _(
    candidate: BoostedCandidate,
    features: Sequence[ContractFeature],
    train: Rows,
    validation: Rows,
    seed: int,
    task: Task = BINARY,
) -> Fitted:
    preparation, part = prepared_part(candidate, features, train, task, seed)
    data = data_for(candidate, part, checked_part(preparation, validation), categories_of(preparation, features))
    trees = grow(candidate, data, task, seed)
    facts = {"trees": float(trees.rounds)}
    if preparation is None and trees.model_format == LIGHTGBM_TEXT:
        return Fitted(LIGHTGBM_TEXT, trees.content, facts)
    return _prepared(preparation, trees.model_format, trees.content, task, facts)


def checked_part(preparation: Preparation | None, rows: Rows) -> Part:
    """Give the columns of rows that the steps were not fitted on."""
    return Part(rows.inputs.matrix if preparation is None else preparation.transform(rows.inputs), rows.label)


def categories_of(preparation: Preparation | None, features: Sequence[ContractFeature]) -> tuple[int, ...]:
    """List the places of the prepared columns that are codes of levels."""
    if preparation is not None:
        return preparation.categories
    return tuple(place for place, feature in enumerate(features) if feature.dtype == "string")


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
    """Write a fitted candidate to `folder`, as `read_candidate` reads it."""
    (folder / "model").write_bytes(fitted.content)
    facts = {"estimator": fitted.model_format, "facts": fitted.facts}
    (folder / "candidate.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def read_candidate(folder: Path) -> tuple[str, bytes]:
    """Read the format and the bytes of a candidate that the stage `train` wrote."""
    facts = json.loads(require(folder / "candidate.json", "train").read_text())
    return str(facts["estimator"]), (folder / "model").read_bytes()
