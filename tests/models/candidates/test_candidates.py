"""Every kind of candidate, step and selector: fitted, kept as bytes, and the same when it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from core.errors import BundleError, PlanError
from core.plan.steps import CategoricalStep, JoinedStep, NumericStep, Selector, TextStep
from core.plan.train import Candidate, Ensemble
from models.candidates.candidates import Fitted, fit
from models.data.rows import Rows
from models.scoring.encoding import encode, vectors_of
from models.scoring.model_file import load_model
from models.scoring.parts_file import read_parts, write_parts
from tests.models.candidates.candidate_kinds import FEATURES, KINDS, TASKS, candidate, kinds_of, rows_for, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Problem

_ALONE = 25
_LINE: dict[str, Any] = {"estimator": "logistic_regression", "numeric": ["impute_mean"]}

NUMERIC: dict[str, list[Any]] = {
    "impute_mean": ["impute_mean"],
    "impute_mode": ["impute_mode"],
    "impute_constant": [{"step": "impute_constant", "value": -1, "indicator": True}],
    "impute_knn": [{"step": "impute_knn", "neighbours": 3, "indicator": True}],
    "impute_iterative": [{"step": "impute_iterative", "rounds": 3}],
    "impute_median": [{"step": "impute_median", "indicator": True}, "standard_scale"],
    "winsorise": ["winsorise", "impute_median"],
    "log": ["log", "impute_median"],
    "power_transform": ["power_transform", "impute_median"],
    "standard_scale": ["standard_scale", "impute_median"],
    "min_max_scale": ["impute_median", "min_max_scale"],
    "robust_scale": ["impute_median", "robust_scale"],
    "polynomial": ["impute_median", {"step": "polynomial", "interactions_only": True}],
    "pca": ["impute_median", {"step": "pca", "components": 2}],
    "leave_out": ["leave_out"],
}
CATEGORICAL: dict[str, list[Any]] = {
    "one_hot": ["one_hot"],
    "ordinal": [{"step": "ordinal", "order": {"v.kind": ["c", "a", "never", "b"]}}, "impute_median"],
    "target_encode": [{"step": "target_encode", "folds": 3}],
    "impute_mode": ["impute_mode", {"step": "one_hot", "min_count": 2, "max_levels": 2}],
    "standard_scale": ["target_encode", "standard_scale"],
    "leave_out": ["leave_out"],
}
JOINED: dict[str, list[Any]] = {
    "polynomial": ["polynomial"],
    "pca": ["standard_scale", {"step": "pca", "components": 3}],
}
SELECT: dict[str, list[Any]] = {
    "correlation": [{"by": "correlation", "above": 0.5}],
    "chi_squared": [{"by": "chi_squared", "keep": 3}],
    "anova": [{"by": "anova", "keep": 3}],
    "mutual_information": ["correlation", {"by": "mutual_information", "keep": 3}],
    "l1": [{"by": "l1", "penalty_inverse": 0.1}],
    "tree_importance": [{"by": "tree_importance", "keep": 4, "trees": 10}],
    "elimination": [{"by": "elimination", "keep": 3}],
}


def _cases() -> Iterator[tuple[str, Problem, dict[str, Any]]]:
    for problem in TASKS:
        for kind in kinds_of(problem):
            yield kind, problem, KINDS[kind]
        line = dict(_LINE, estimator="linear_regression") if problem == "regression" else _LINE
        for name, steps in NUMERIC.items():
            yield f"numeric {name}", problem, {**line, "numeric": steps}
        for name, steps in CATEGORICAL.items():
            yield f"categorical {name}", problem, {**line, "categorical": steps}
        for name, steps in JOINED.items():
            yield f"joined {name}", problem, {**line, "joined": steps, "text": ["tfidf"]}
        for name, steps in SELECT.items():
            if (name, problem) == ("chi_squared", "regression"):
                continue
            scaled = ["impute_mean", "min_max_scale"]
            yield f"select {name}", problem, {**line, "numeric": scaled, "select": steps, "text": ["tfidf"]}
            trees = {"numeric": ["min_max_scale"], "categorical": [], "select": steps}
            yield f"trees select {name}", problem, {**KINDS["lightgbm"], **trees}


_CASES = list(_cases())


def _fit(spec: dict[str, Any], problem: Problem) -> Fitted:
    rows = rows_for(problem)
    return fit(candidate(spec), FEATURES, rows, rows, 1, TASKS[problem])


@pytest.mark.parametrize(("name", "problem", "spec"), _CASES, ids=[f"{name}-{problem}" for name, problem, _ in _CASES])
def test_a_row_alone_has_the_outputs_that_it_has_among_all(name: str, problem: Problem, spec: dict[str, Any]) -> None:
    fitted = _fit(spec, problem)
    model = load_model(fitted.model_format, fitted.content)
    together = model.outputs(rows_for(problem).inputs)
    vectors = vectors_of(table().slice(0, _ALONE), FEATURES)
    alone = np.vstack([model.outputs(encode([vector], FEATURES)) for vector in vectors])
    np.testing.assert_allclose(alone, together[:_ALONE], rtol=0, atol=1e-9)
    assert together.shape == (len(table()), 3 if problem == "multiclass" else 1)
    if problem == "multiclass":
        np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(together[:, 0]) > 0 or name == "majority"


@pytest.mark.parametrize("library", ["lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("loss", ["absolute", "quantile", "poisson", "tweedie"])
def test_trees_predict_what_their_loss_asks_for(library: str, loss: str) -> None:
    if library == "catboost" and loss in {"poisson", "tweedie"}:
        return  # the plan refuses it
    rows = rows_for("regression")
    rows = Rows(rows.inputs, np.round(np.exp(rows.label)))  # counts, some of them 0
    level = {"quantile": 0.8} if loss == "quantile" else {}
    fitted = fit(candidate({**KINDS[library], "loss": loss, **level}), FEATURES, rows, rows, 1, TASKS["regression"])
    model = load_model(fitted.model_format, fitted.content)
    predicted = model.outputs(rows.inputs)[:, 0]
    alone = model.outputs(encode(vectors_of(table().slice(0, 1), FEATURES), FEATURES))[0, 0]
    assert alone == pytest.approx(predicted[0], abs=1e-9)
    if loss in {"poisson", "tweedie"}:
        assert predicted.min() > 0
        assert predicted.mean() == pytest.approx(rows.label.mean(), rel=0.1)
    else:
        not_above = np.mean(rows.label <= predicted + 1e-9), np.mean(rows.label < predicted - 1e-9)
        assert not_above[1] - 0.1 <= level.get("quantile", 0.5) <= not_above[0] + 0.1


def test_the_value_of_a_feature_is_predicted_as_it_is_and_a_missing_one_as_the_median() -> None:
    amounts = table().column("v__amount").to_pylist()
    median = np.median([amount for amount in amounts if amount is not None])
    fitted = _fit(KINDS["feature_value"], "regression")
    predicted = load_model(fitted.model_format, fitted.content).score(rows_for("regression").inputs)
    assert predicted.tolist() == [median if amount is None else amount for amount in amounts]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_give_the_same_bytes(kind: str) -> None:
    problem: Problem = "binary" if kind in kinds_of("binary") else "regression"
    assert _fit(KINDS[kind], problem).content == _fit(KINDS[kind], problem).content


def _words(union: Any, key: str) -> set[str]:
    members = get_args(get_args(union)[0])
    return {word for member in members for word in get_args(member.model_fields[key].annotation)}


def test_no_kind_step_or_selector_is_forgotten() -> None:
    single = {member for member in get_args(get_args(Candidate)[0]) if member not in get_args(Ensemble)}
    assert {type(candidate(spec)) for spec in KINDS.values()} == single
    assert set(NUMERIC) == _words(NumericStep, "step")
    assert set(CATEGORICAL) >= _words(CategoricalStep, "step") - {
        *("impute_mean", "impute_median", "min_max_scale", "robust_scale")
    }
    assert _words(TextStep, "step") == {"tfidf", "truncated_svd"}
    assert _words(JoinedStep, "step") <= set(NUMERIC)
    assert set(SELECT) == _words(Selector, "by")


def test_multiclass_scores_are_the_probability_of_the_most_probable_class() -> None:
    fitted = _fit(KINDS["l2"], "multiclass")
    model, inputs = load_model(fitted.model_format, fitted.content), rows_for("multiclass").inputs
    np.testing.assert_array_equal(model.score(inputs), model.outputs(inputs).max(axis=1))


def test_balanced_classes_weigh_the_same() -> None:
    """A logistic regression without columns that tell anything gives each class the same probability."""
    spec = {"estimator": "logistic_regression", "class_weight": "balanced", "categorical": ["leave_out"]}
    rows = rows_for("binary")
    nothing = type(rows)(type(rows.inputs)(np.zeros_like(rows.inputs.matrix)), rows.label)
    fitted = fit(candidate(spec), FEATURES, nothing, nothing, 1)
    assert load_model(fitted.model_format, fitted.content).score(nothing.inputs) == pytest.approx(0.5, abs=1e-6)
    assert rows.label.mean() != pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {**_LINE, "numeric": ["standard_scale"]},
            "logistic_regression cannot be fitted: .*NaN.*add the step impute_median",
        ),
        (
            {**_LINE, "numeric": [{"step": "power_transform", "method": "box_cox"}]},
            "numeric .power_transform.: .*positive",
        ),
        ({**_LINE, "select": [{"by": "chi_squared", "keep": 2}]}, "select by chi_squared: .*[Nn]egative"),
        (
            {**_LINE, "select": [{"by": "l1", "penalty_inverse": 1e-9}]},
            "select: no column is kept by l1; expected at least one; relax the selectors",
        ),
        ({**_LINE, "class_weight": {"2": 1.0}}, "class_weight: '2' is not a class; expected 0, 1"),
        (
            {**_LINE, "categorical": [{"step": "ordinal", "order": {"v.kind": ["a", "b"]}}]},
            "ordinal.order.v.kind: the level 'c' of the training rows is missing; add it to the order",
        ),
        (
            {**_LINE, "text": ["tfidf", {"step": "truncated_svd", "components": 50}]},
            "text .tfidf, truncated_svd.: n_components",
        ),
        ({**KINDS["lightgbm"], "params": {"num_leaves": 1}}, "LightGBM refuses the candidate's params: .*num_leaves"),
        ({**KINDS["xgboost"], "params": {"max_depth": "deep"}}, "XGBoost refuses the candidate's params: .*max_depth"),
        ({**KINDS["catboost"], "params": {"depth": 99}}, "CatBoost refuses the candidate's params: .*depth"),
    ],
)
def test_what_cannot_be_fitted_is_told_in_one_line(spec: dict[str, Any], expected: str) -> None:
    with pytest.raises(PlanError, match=expected) as told:
        _fit(spec, "binary")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("spec", [KINDS["linear_svm"], {**_LINE, "categorical": ["target_encode"]}])
def test_a_class_with_fewer_rows_than_folds_is_named(spec: dict[str, Any]) -> None:
    rows = rows_for("binary")
    few = rows.take(np.concatenate([np.flatnonzero(rows.label == 1)[:3], np.flatnonzero(rows.label == 0)]))
    with pytest.raises(PlanError, match=r"^the class '1' has 3 rows, fewer than the 5 folds; ask for fewer folds"):
        fit(candidate(spec), FEATURES, few, few, 1)


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_an_extra_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    fitted, expected = (
        _fit(KINDS[name], "binary"),
        rf"^{name} is not installed; pip install 'pantherapredict\[{name}\]'",
    )
    monkeypatch.setattr("models.scoring.trees.import_module", absent)
    with pytest.raises(PlanError, match=expected):
        _fit(KINDS[name], "binary")
    with pytest.raises(PlanError, match=expected):
        load_model(fitted.model_format, fitted.content)


@pytest.mark.parametrize("kind", [kind for kind in kinds_of("binary") if kind != "majority"])
def test_constant_and_empty_columns_are_taken(kind: str) -> None:
    rows = rows_for("binary")
    matrix = rows.inputs.matrix.copy()
    matrix[:, 1] = np.nan
    matrix[:, 3] = 7
    changed = type(rows)(type(rows.inputs)(matrix, rows.inputs.texts), rows.label)
    fitted = fit(candidate(KINDS[kind]), FEATURES, changed, changed, 1)
    assert np.isfinite(load_model(fitted.model_format, fitted.content).score(changed.inputs)).all()


@pytest.mark.parametrize("kind", kinds_of("binary"))
def test_values_that_training_never_saw_are_scored(kind: str) -> None:
    fitted = _fit(KINDS[kind], "binary")
    vectors = [(1e300, 2**62, "zebra", None, None, "words that nobody used"), (None,) * 6]
    scores = load_model(fitted.model_format, fitted.content).score(encode(vectors, FEATURES))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(BundleError, match="the model format 'pickle' is unknown, expected one of parts, lightgbm"):
        load_model("pickle", b"")


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(BundleError, match="the model cannot be read as parts"):
        load_model("parts", b"no zip")


def test_parts_of_another_version_or_with_strangers_are_refused() -> None:
    content = _fit(KINDS["l2"], "binary").content
    outline, members = read_parts(content)
    with pytest.raises(BundleError, match="format version 2, expected 1; update, or train again"):
        load_model("parts", write_parts({**outline, "format_version": 2}, members))
    with pytest.raises(BundleError, match=r"has the parts .*'extra'"):
        load_model("parts", write_parts(outline, {**members, "extra": b""}))


def test_a_type_that_is_not_trusted_is_not_built() -> None:
    import skops.io
    from sklearn.gaussian_process import GaussianProcessClassifier

    outline, members = read_parts(_fit(KINDS["l2"], "binary").content)
    strange = skops.io.dumps(GaussianProcessClassifier(kernel=_Strange()))
    with pytest.raises(BundleError, match=r"Untrusted types .*_Strange"):
        load_model("parts", write_parts(outline, {**members, "estimator": strange}))


class _Strange:
    pass
