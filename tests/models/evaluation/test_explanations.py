"""What the features add and the base make up the score, for every kind of candidate, and are what theory says."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.calibration import sigmoid
from core.contracts import ContractFeature
from models.candidates.candidates import fit
from models.data.rows import BINARY, Rows
from models.evaluation.explanations import Contributions, contributions, explanation, raw_scores
from models.scoring.encoding import Inputs
from models.scoring.model_file import load_model
from tests.models.candidates.candidate_kinds import FEATURES, KINDS, TASKS, candidate, kinds_of, rows_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.plan.plan import Problem
    from models.scoring.model_file import Model

EXPLAINED, BACKGROUND = slice(0, 3), slice(100, 110)
#: Trees that read float32 add up in it.
CLOSE = 1e-4


@cache
def fitted(kind: str, problem: Problem) -> Model:
    rows = rows_for(problem)
    done = fit(candidate(KINDS[kind]), FEATURES, rows, rows, 3, TASKS[problem])
    return load_model(done.model_format, done.content)


def as_outputs(raw: NDArray[np.float64], problem: Problem) -> NDArray[np.float64]:
    """Turn raw scores into what a model gives."""
    if problem == "binary":
        return sigmoid(raw)
    exponents = np.exp(raw - raw.max(axis=1, keepdims=True))
    return raw if problem == "regression" else exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "problem"), [(kind, problem) for problem in TASKS for kind in kinds_of(problem)])
def test_base_and_contributions_make_up_the_score(kind: str, problem: Problem) -> None:
    model, inputs = fitted(kind, problem), rows_for(problem).inputs
    found = contributions(model, problem, inputs.take(EXPLAINED), inputs.take(BACKGROUND))
    outputs = model.outputs(inputs.take(EXPLAINED))
    assert found.values.shape == (3, len(FEATURES), outputs.shape[1])
    np.testing.assert_allclose(
        as_outputs(found.base + found.values.sum(axis=1), problem), outputs, rtol=CLOSE, atol=CLOSE
    )


@pytest.mark.parametrize("kind", ["l2", "lightgbm_with_text"])
def test_the_base_of_a_sampled_explanation_is_the_mean_of_the_background(kind: str) -> None:
    model, inputs = fitted(kind, "binary"), rows_for("binary").inputs
    found = contributions(model, "binary", inputs.take(EXPLAINED), inputs.take(BACKGROUND))
    np.testing.assert_allclose(found.base, raw_scores(model, "binary", inputs.take(BACKGROUND)).mean(axis=0))


def numbers() -> tuple[tuple[ContractFeature, ...], Rows]:
    """Three numbers, of which the first two decide."""
    chance = np.random.default_rng(2)
    matrix = chance.normal(size=(400, 3))
    label = (matrix @ [2.0, -1.0, 0.0] + chance.normal(size=400) > 0).astype(np.int32)
    return tuple(ContractFeature("v", name, "float64") for name in "abc"), Rows(Inputs(matrix), label)


def test_the_contribution_in_a_linear_model_is_its_coefficient_times_the_distance_from_the_mean() -> None:
    features, rows = numbers()
    spec = candidate({"estimator": "logistic_regression", "numeric": ["impute_median"]})
    done = fit(spec, features, rows, rows, 3, BINARY)
    model = load_model(done.model_format, done.content)
    ends = [raw_scores(model, "binary", Inputs(np.vstack([np.zeros(3), np.eye(3)])))[:, 0]]
    coefficient = ends[0][1:] - ends[0][0]
    background = rows.inputs.take(slice(50, 90))
    found = contributions(model, "binary", rows.inputs.take(slice(0, 5)), background)
    wanted = coefficient * (rows.inputs.matrix[:5] - background.matrix.mean(axis=0))
    np.testing.assert_allclose(found.values[:, :, 0], wanted, rtol=1e-9, atol=1e-9)


def test_trees_give_a_feature_that_they_never_ask_for_nothing() -> None:
    features, rows = numbers()
    only = Rows(Inputs(np.column_stack([rows.inputs.matrix[:, :2], np.zeros(400)])), rows.label)
    done = fit(candidate(KINDS["lightgbm"]), features, only, only, 3, BINARY)
    found = contributions(load_model(done.model_format, done.content), "binary", only.inputs, only.inputs)
    assert not found.values[:, 2].any()
    assert found.importance[0] > found.importance[1] > found.importance[2] == 0


def test_the_same_seed_explains_alike() -> None:
    model, inputs = fitted("mlp", "binary"), rows_for("binary").inputs
    one, other = (contributions(model, "binary", inputs.take(EXPLAINED), inputs.take(BACKGROUND)) for _ in range(2))
    np.testing.assert_array_equal(one.values, other.values)


def test_an_explanation_names_the_strongest_first_and_sums_up() -> None:
    found = Contributions(np.array([-1.0]), np.array([[[0.2], [-0.5], [0.1]]]))
    features = tuple(ContractFeature("v", name, "float64") for name in "abc")
    said = explanation(found, 0, features, (1.0, 2.0, None))
    assert [(one.feature, one.value, one.adds) for one in said.contributions] == [
        ("v.b", 2.0, -0.5),
        ("v.a", 1.0, 0.2),
        ("v.c", None, 0.1),
    ]
    assert said.base == -1.0
    assert said.raw_score == pytest.approx(-1.2)
