"""Unfitted scikit-learn estimators for the candidates of a plan."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from core.errors import PlanError
from core.plan.train import (
    DecisionTreeCandidate,
    LinearRegressionCandidate,
    LinearSvmCandidate,
    LogisticCandidate,
    MlpCandidate,
    RandomForestCandidate,
)

if TYPE_CHECKING:
    from core.plan.train import OfNumbersCandidate
    from models.data.rows import Task

_ROUNDS = 1000


@singledispatch
def estimator_of(candidate: OfNumbersCandidate, task: Task, seed: int) -> Any:
    """Return the unfitted estimator of a candidate.

    Raises
    ------
    PlanError
        If the estimator does not fit the problem.

    """
    raise NotImplementedError(type(candidate), task, seed)


@estimator_of.register(LogisticCandidate)
def _(candidate: LogisticCandidate, task: Task, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    if task.problem == "regression":
        raise PlanError(
            "logistic_regression predicts classes, the problem is a regression; set estimator: linear_regression"
        )
    shares = {"l2": 0.0, "l1": 1.0, "elastic_net": candidate.l1_share}
    return LogisticRegression(
        C=candidate.penalty_inverse,
        l1_ratio=shares[candidate.penalty],
        solver="lbfgs" if candidate.penalty == "l2" else "saga",
        max_iter=_ROUNDS,
        random_state=seed,
    )


@estimator_of.register(LinearRegressionCandidate)
def _(candidate: LinearRegressionCandidate, task: Task, seed: int) -> Any:
    from sklearn.linear_model import ElasticNet, Ridge

    if task.problem != "regression":
        raise PlanError(
            f"linear_regression predicts numbers, the problem is {task.problem}; set estimator: logistic_regression"
        )
    if candidate.penalty == "l2":
        return Ridge(candidate.strength)
    share = 1.0 if candidate.penalty == "l1" else candidate.l1_share
    return ElasticNet(candidate.strength, l1_ratio=share, max_iter=_ROUNDS, random_state=seed)


@estimator_of.register(LinearSvmCandidate)
def _(candidate: LinearSvmCandidate, task: Task, seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold
    from sklearn.svm import LinearSVC, LinearSVR

    if task.problem == "regression":
        return LinearSVR(C=candidate.penalty_inverse, max_iter=10 * _ROUNDS, random_state=seed)
    folds = StratifiedKFold(candidate.folds, shuffle=True, random_state=seed)
    machine = LinearSVC(C=candidate.penalty_inverse, dual=False, random_state=seed)
    return CalibratedClassifierCV(machine, cv=folds, ensemble=False)


@estimator_of.register(DecisionTreeCandidate)
def _(candidate: DecisionTreeCandidate, task: Task, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task.problem == "regression" else DecisionTreeClassifier
    return kind(max_depth=candidate.max_depth, min_samples_leaf=candidate.min_leaf_rows, random_state=seed)


@estimator_of.register(RandomForestCandidate)
def _(candidate: RandomForestCandidate, task: Task, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if task.problem == "regression" else RandomForestClassifier
    return kind(
        candidate.trees,
        max_depth=candidate.max_depth,
        min_samples_leaf=candidate.min_leaf_rows,
        max_features=candidate.column_share or "sqrt",
        random_state=seed,
    )


@estimator_of.register(MlpCandidate)
def _(candidate: MlpCandidate, task: Task, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPRegressor if task.problem == "regression" else MLPClassifier
    return kind(
        hidden_layer_sizes=candidate.hidden,
        alpha=candidate.weight_decay,
        learning_rate_init=candidate.learning_rate,
        max_iter=candidate.rounds,
        early_stopping=candidate.early_stopping,
        random_state=seed,
    )
