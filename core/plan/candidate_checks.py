"""Checks of candidates against the rest of the plan: columns exist, steps yield numbers, the estimator fits the problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from core.dtypes import NUMERIC
from core.plan.steps import LeaveOut, OneHot, Ordinal, TargetEncode, Tfidf, TruncatedSvd
from core.plan.train import (
    BlendCandidate,
    BoostedCandidate,
    CatBoostCandidate,
    Ensemble,
    FeatureValueCandidate,
    LightGbmCandidate,
    LinearRegressionCandidate,
    LogisticCandidate,
    OfNumbersCandidate,
    PreparedCandidate,
    SingleFeatureCandidate,
    XgboostCandidate,
    replaced,
)
from core.plan.tuning import Choices
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from core.plan.plan import Plan
    from core.plan.train import Candidate

Finding = tuple[str, str]

#: Parameters that the platform sets itself, under all of the aliases that each library accepts.
OWN_LIGHTGBM = frozenset(
    {
        *("objective", "objective_type", "app", "application", "loss"),
        *("seed", "random_seed", "random_state", "deterministic"),
        *("num_threads", "num_thread", "nthread", "nthreads", "n_jobs"),
        *("verbosity", "verbose"),
        *("metric", "metrics", "metric_types"),
        *("num_class", "num_classes", "feature_pre_filter"),
        *("num_iterations", "num_iteration", "n_iter", "num_tree", "num_trees", "num_round", "num_rounds", "nrounds"),
        *("num_boost_round", "n_estimators", "max_iter"),
        *("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change"),
    }
)
OWN_XGBOOST = frozenset(
    {
        *("objective", "eval_metric", "num_class", "seed", "random_state", "nthread", "n_jobs", "verbosity"),
        *("n_estimators", "num_boost_round", "early_stopping_rounds", "enable_categorical", "device"),
    }
)
OWN_CATBOOST = frozenset(
    {
        *("loss_function", "objective", "eval_metric", "classes_count", "cat_features"),
        *("random_seed", "random_state", "thread_count", "logging_level", "verbose", "verbose_eval", "silent"),
        *("iterations", "num_boost_round", "n_estimators", "num_trees", "allow_writing_files", "train_dir"),
        *("early_stopping_rounds", "od_type", "od_wait", "task_type", "class_weights", "auto_class_weights"),
    }
)


def candidate_findings(plan: Plan) -> Iterator[Finding]:
    """Yield the faults of the candidates; all names in the plan must have been checked before."""
    pairs = plan.build_features.service_features(plan.training_set.service)
    dtypes = {f"{view}.{name}": plan.build_features.views[view].features[name].dtype for view, name in pairs}
    for name, candidate in plan.train.candidates.items():
        path = f"train.candidates.{name}"
        yield from _problem(path, candidate, plan.project.problem)
        if isinstance(candidate, SingleFeatureCandidate | FeatureValueCandidate):
            yield from _single_feature(path, candidate, plan.training_set.service, dtypes)
        if isinstance(candidate, Ensemble):
            yield from _ensemble(path, candidate, plan.train.candidates)
        if isinstance(candidate, PreparedCandidate):
            yield from _steps(path, candidate, plan.training_set.service, dtypes)
            yield from _search(path, candidate)
        if isinstance(candidate, BoostedCandidate):
            yield from _params(path, candidate)


def _problem(path: str, candidate: Candidate, problem: str) -> Iterator[Finding]:
    if problem == "regression" and isinstance(candidate, LogisticCandidate):
        yield f"{path}.estimator", "it is a classifier; for a regression write linear_regression"
    if problem != "regression" and isinstance(candidate, LinearRegressionCandidate):
        yield f"{path}.estimator", f"it predicts numbers; for a {problem} problem write logistic_regression"
    if problem != "regression" and isinstance(candidate, FeatureValueCandidate):
        yield f"{path}.estimator", f"it predicts numbers; for a {problem} problem write single_feature"
    if isinstance(candidate, BoostedCandidate):
        yield from _loss(path, candidate, problem)
    if problem == "regression" and getattr(candidate, "class_weight", None) is not None:
        yield f"{path}.class_weight", "a regression has no classes; take it out"
    if problem == "regression" and any(selector.by == "chi_squared" for selector in getattr(candidate, "select", ())):
        yield f"{path}.select", "chi_squared compares classes; for a regression write anova or mutual_information"


def _loss(path: str, candidate: BoostedCandidate, problem: str) -> Iterator[Finding]:
    """Yield a finding for a loss that the problem or the library does not have, and for keys of another loss."""
    if problem != "regression" and candidate.loss != "squared":
        yield f"{path}.loss", f"a {problem} problem has the log loss; take the key out"
    if isinstance(candidate, CatBoostCandidate) and candidate.loss in {"poisson", "tweedie"}:
        yield f"{path}.loss", f"catboost is not used with {candidate.loss}; write estimator: lightgbm or xgboost"
    for key, loss in (("quantile", "quantile"), ("tweedie_power", "tweedie")):
        if key in candidate.model_fields_set and candidate.loss != loss:
            yield f"{path}.{key}", f"it belongs to loss: {loss}, found {candidate.loss}; take it out"


def _single_feature(
    path: str, candidate: SingleFeatureCandidate | FeatureValueCandidate, service: str, dtypes: Mapping[str, str]
) -> Iterator[Finding]:
    feature = candidate.feature
    if feature not in dtypes:
        allowed = allowed_here(feature, list(dtypes))
        yield f"{path}.feature", f"{feature!r} is not a declared feature of {service}; {allowed}"
    elif dtypes[feature] not in NUMERIC:
        yield f"{path}.feature", f"{feature} is a {dtypes[feature]}; the rule needs a number"


def _ensemble(path: str, candidate: Ensemble, candidates: Mapping[str, Candidate]) -> Iterator[Finding]:
    single = [name for name, member in candidates.items() if not isinstance(member, Ensemble)]
    for name in candidate.of:
        if name not in single:
            yield f"{path}.of", f"{name!r} is not a candidate, or is an ensemble itself; {allowed_here(name, single)}"
    if len(set(candidate.of)) < len(candidate.of):
        yield f"{path}.of", "a candidate is listed twice; keep one"
    if isinstance(candidate, BlendCandidate) and candidate.weights and len(candidate.weights) != len(candidate.of):
        yield f"{path}.weights", f"there are {len(candidate.weights)} weights for {len(candidate.of)} candidates"


def _steps(path: str, candidate: PreparedCandidate, service: str, dtypes: Mapping[str, str]) -> Iterator[Finding]:
    kinds = {
        "numeric": [name for name, dtype in dtypes.items() if dtype in NUMERIC],
        "categorical": [name for name, dtype in dtypes.items() if dtype == "string"],
        "text": [name for name, dtype in dtypes.items() if dtype == "text"],
    }
    used = 0
    for kind, names in kinds.items():
        steps = getattr(candidate, kind)
        left_out = any(isinstance(step, LeaveOut) for step in steps)
        if left_out and len(steps) > 1:
            yield f"{path}.{kind}", "leave_out drops all columns of this kind; remove the other steps, or leave_out"
        used += 0 if left_out or (kind == "text" and not steps) else len(names)
    if isinstance(candidate, OfNumbersCandidate) and not used:
        yield path, f"it uses no feature of the service {service!r}; see its numeric, categorical and text steps"
    yield from _categorical(path, candidate, kinds["categorical"])
    yield from _text(path, candidate, service, kinds["text"])


def _categorical(path: str, candidate: PreparedCandidate, names: list[str]) -> Iterator[Finding]:
    ordered = {name for step in candidate.categorical if isinstance(step, Ordinal) for name in step.order}
    for name in sorted(ordered - set(names)):
        yield f"{path}.categorical", f"ordinal.order: {name!r} is no string feature; {allowed_here(name, names)}"
    encodes = any(isinstance(step, OneHot | TargetEncode | LeaveOut) for step in candidate.categorical)
    rest = [name for name in names if name not in ordered]
    if isinstance(candidate, OfNumbersCandidate) and rest and not encodes:
        yield (
            f"{path}.categorical",
            f"no step encodes {rest[0]} as a number; add one_hot, ordinal, target_encode or leave_out",
        )


def _text(path: str, candidate: PreparedCandidate, service: str, names: list[str]) -> Iterator[Finding]:
    kinds = [type(step) for step in candidate.text]
    if kinds and not names:
        yield f"{path}.text", f"the service {service!r} has no feature of the dtype text"
    if kinds not in ([], [Tfidf], [Tfidf, TruncatedSvd]):
        yield f"{path}.text", "expected [tfidf] or [tfidf, truncated_svd]"


def _search(path: str, candidate: PreparedCandidate) -> Iterator[Finding]:
    """Yield a finding for each bound or choice of a search that its key does not allow, before any trial runs."""
    for key, searched in candidate.tune.search.items() if candidate.tune else ():
        key_path = f"{path}.tune.search.{key}"
        if key.split(".")[0] in {"estimator", "tune", "class_weight", "loss", "quantile", "tweedie_power"}:
            yield key_path, "this key cannot be searched; choose a parameter, a step or a selector"
            continue
        values = searched.values if isinstance(searched, Choices) else (searched.low, searched.high)
        for value in values:
            try:
                tried = replaced(candidate, {key: value, "tune": None})
            except ValidationError as error:
                yield key_path, f"{value!r} is not allowed there: {error.errors()[0]['msg']}"
                break
            except (IndexError, KeyError, TypeError, ValueError):
                yield key_path, "there is no such key in this candidate"
                break
            if isinstance(tried, BoostedCandidate):
                yield from _params(path, tried)


def _params(path: str, candidate: BoostedCandidate) -> Iterator[Finding]:
    own = {LightGbmCandidate: OWN_LIGHTGBM, XgboostCandidate: OWN_XGBOOST, CatBoostCandidate: OWN_CATBOOST}
    for parameter in sorted(own[type(candidate)].intersection(candidate.params)):
        yield f"{path}.params.{parameter}", "the platform sets this parameter itself; take it out"
