"""A feature that tells the label by itself is found, and an honest one is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.contracts import ContractFeature
from core.plan.leakage import Leakage
from models.data.rows import BINARY, Rows, Task
from models.evaluation.leak_scores import leak_scores, suspicion
from models.scoring.encoding import Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.evaluation.leak_scores import LeakScore

#: Two rows of each of 1,000 entities.
ENTITY = np.repeat(np.arange(1000), 2)


def chance() -> np.random.Generator:
    return np.random.default_rng(5)


def told(column: NDArray[np.float64], label: NDArray[np.float64], task: Task = BINARY) -> LeakScore:
    features = (ContractFeature("view", "feature", "float64"),)
    codes = label if task.problem == "regression" else label.astype(np.int32)
    [found] = leak_scores(features, Rows(Inputs(column[:, None]), codes), ENTITY, task, Leakage().surely)
    return found


def rare() -> NDArray[np.float64]:
    """A label that a tenth of the entities have."""
    return np.repeat((chance().random(1000) < 0.1).astype(float), 2)


def test_a_feature_that_is_the_label_reaches_everything() -> None:
    found = told(7 - rare(), rare())
    assert found.feature == "view.feature"
    assert found.reached == 1.0
    words = suspicion(found, Leakage(), BINARY)
    assert words is not None
    assert words.startswith("alone it reaches 1.000 (area under the ROC curve) on the training rows, above 0.95")


def test_a_feature_of_chance_tells_nothing() -> None:
    found = told(chance().normal(size=2000), rare())
    assert 0.4 < found.reached < 0.6
    assert suspicion(found, Leakage(), BINARY) is None


def test_a_strong_but_honest_feature_is_not_suspected() -> None:
    found = told(2 * rare() + chance().normal(size=2000), rare())
    assert 0.85 < found.reached < 0.95  # two normals 2 apart: Phi(2 / sqrt 2) = 0.921
    assert suspicion(found, Leakage(), BINARY) is None


def test_a_feature_that_tells_by_being_missing_is_found() -> None:
    column = np.where(rare() == 1, np.nan, chance().normal(size=2000))
    assert told(column, rare()).reached == 1.0


def test_an_order_that_turns_round_is_found() -> None:
    """Labels that stand in the middle of the values: no threshold tells them, a tree does."""
    column = np.where(rare() == 1, 0.0, np.sign(chance().normal(size=2000)))
    assert told(column, rare()).reached == 1.0


def test_a_feature_that_knows_some_of_a_rare_label_for_sure_is_found() -> None:
    """It speaks of two fifths of the entities with the label: an area of 0.5 + 0.4 / 2, and no error."""
    known = np.repeat(np.random.default_rng(6).random(1000) < 0.4, 2) & (rare() == 1)
    found = told(known.astype(float), rare())
    assert found.reached == pytest.approx(0.5 + 0.5 * known.sum() / rare().sum(), abs=0.02)
    assert (found.surest, found.surest_rows) == (1.0, known.sum())
    words = suspicion(found, Leakage(), BINARY)
    assert words == f"in {known.sum()} training rows it predicts a rare label with 100.0% precision, at or above 98.0%"


def test_a_common_label_may_be_sure_for_some_values() -> None:
    common = np.repeat((chance().random(1000) < 0.5).astype(float), 2)
    some = np.repeat(np.random.default_rng(6).random(1000) < 0.4, 2) & (common == 1)
    assert suspicion(told(some.astype(float), common), Leakage(), BINARY) is None


def test_nothing_is_said_of_a_label_that_fewer_than_thirty_entities_have() -> None:
    few = (ENTITY < 29).astype(float)
    rows = Rows(Inputs(few[:, None]), few.astype(np.int32))
    assert leak_scores((ContractFeature("view", "feature", "float64"),), rows, ENTITY, BINARY, 0.98) == []


def test_free_text_is_left_out() -> None:
    rows = Rows(Inputs(np.full((2000, 1), np.nan)), rare().astype(np.int32))
    assert leak_scores((ContractFeature("view", "notes", "text"),), rows, ENTITY, BINARY, 0.98) == []


def test_of_several_classes_the_one_that_is_told_best_counts() -> None:
    label = np.repeat(np.arange(1000) % 3, 2).astype(float)
    found = told((label == 2).astype(float), label, Task("multiclass", ("a", "b", "c")))
    assert found.reached == 1.0


def test_a_number_is_told_by_the_share_of_its_variance() -> None:
    task, label = Task("regression"), np.repeat(chance().normal(size=1000), 2)
    assert told(label, label, task).reached > 0.95
    found = told(chance().normal(size=2000), label, task)
    assert found.reached < 0.1
    assert suspicion(found, Leakage(), task) is None


def test_the_plan_sets_what_is_too_much() -> None:
    found = told(2 * rare() + chance().normal(size=2000), rare())
    words = suspicion(found, Leakage(alone=0.8), BINARY)
    assert words is not None
    assert "above 0.8" in words


def test_of_very_many_rows_whole_entities_are_looked_at() -> None:
    entity = np.repeat(np.arange(60_000), 3)
    label = (entity % 7 == 0).astype(np.int32)
    rows = Rows(Inputs(label.astype(float)[:, None]), label)
    [found] = leak_scores((ContractFeature("view", "feature", "float64"),), rows, entity, BINARY, 0.98)
    assert found.reached == 1.0
    assert found.surest_rows == pytest.approx(100_000 / 7, rel=0.03)
