"""Candidates that are made of others say what their members say, weighed or stacked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from core.errors import PlanError
from core.plan.train import Train
from core.plan.training_set import GroupedSplit
from models.scoring.encoding import encode, vectors_of
from models.scoring.model_file import load_model
from models.train import Searches, TrainingData, fit_candidates
from tests.models.candidates.candidate_kinds import FEATURES, TASKS, rows_for, table

if TYPE_CHECKING:
    from core.plan.plan import Problem
    from models.candidates.candidates import Fitted
    from models.scoring.encoding import Inputs

_PROBLEMS: list[Problem] = ["binary", "multiclass", "regression"]
_BLEND = {"estimator": "blend", "of": ["line", "trees"], "weights": [1, 3]}
_STACK = {"estimator": "stacking", "of": ["line", "trees"], "folds": 3}


def _material(problem: Problem, entities: int = 100) -> TrainingData:
    rows = rows_for(problem)
    places = np.arange(len(rows.label))
    return TrainingData(FEATURES, TASKS[problem], rows, rows, places % entities, places, GroupedSplit(kind="grouped"))


def _fitted(problem: Problem, given: TrainingData | None = None, **ensembles: dict[str, Any]) -> dict[str, Fitted]:
    line = "linear_regression" if problem == "regression" else "logistic_regression"
    candidates = {
        **ensembles,  # first, though they need the others
        "line": {"estimator": line, "text": ["tfidf"]},
        "trees": {"estimator": "lightgbm", "rounds": 20, "params": {"min_child_samples": 5}},
    }
    section = Train.model_validate({"seed": 1, "candidates": candidates})
    return dict(fit_candidates(section, given or _material(problem), Searches(Path(), "", lambda *_: None)))


def _outputs(fitted: Fitted, inputs: Inputs) -> np.ndarray[Any, np.dtype[np.float64]]:
    return load_model(fitted.model_format, fitted.content).outputs(inputs)


@pytest.mark.parametrize("problem", _PROBLEMS)
def test_a_blend_is_the_weighted_mean_of_its_members(problem: Problem) -> None:
    fitted, inputs = _fitted(problem, blended=_BLEND), rows_for(problem).inputs
    line, trees, blended = (_outputs(fitted[name], inputs) for name in ("line", "trees", "blended"))
    np.testing.assert_allclose(blended, (line + 3 * trees) / 4, atol=1e-12)


@pytest.mark.parametrize("problem", _PROBLEMS)
def test_a_stack_scores_a_row_alone_as_among_all(problem: Problem) -> None:
    fitted, inputs = _fitted(problem, stacked=_STACK)["stacked"], rows_for(problem).inputs
    together = _outputs(fitted, inputs)
    alone = [_outputs(fitted, encode([vector], FEATURES)) for vector in vectors_of(table().slice(0, 20), FEATURES)]
    np.testing.assert_allclose(np.vstack(alone), together[:20], rtol=0, atol=1e-9)
    assert together.shape[1] == (3 if problem == "multiclass" else 1)


def test_a_stack_with_a_member_that_says_the_same_to_everybody_ranks_as_the_other() -> None:
    same = {"estimator": "majority"}
    fitted = _fitted("binary", stacked={**_STACK, "of": ["line", "same"]}, same=same)
    stacked, line = (_outputs(fitted[name], rows_for("binary").inputs)[:, 0] for name in ("stacked", "line"))
    np.testing.assert_array_equal(np.argsort(stacked), np.argsort(line))


def test_the_same_rows_give_the_same_bytes() -> None:
    first, again = (_fitted("binary", blended=_BLEND, stacked=_STACK) for _ in range(2))
    assert {name: fitted.content for name, fitted in first.items()} == {
        name: fitted.content for name, fitted in again.items()
    }


def test_more_folds_than_entities_are_refused_with_the_candidates_name() -> None:
    with pytest.raises(PlanError, match=r"train\.candidates\.stacked: 2 entities are too few for 3 folds"):
        _fitted("binary", _material("binary", entities=2), stacked=_STACK)
