"""Calibration is fitted so that scores become frequencies, without flattering the rows it is fitted on."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import PlanError
from models.measures.calibration import cross_fitted, fit_calibration


def test_isotonic_pools_what_is_out_of_order() -> None:
    # Adjacent violators at 0.2 and 0.3 have one hit in two: 1/2. Four rows: the ends are kept within 1/6 and 5/6.
    label = np.array([0, 1, 0, 1], dtype=np.int32)
    found = fit_calibration("isotonic", label, np.array([0.1, 0.2, 0.3, 0.4]))
    assert found.apply(np.array([0.1, 0.2, 0.25, 0.3, 0.4])).tolist() == pytest.approx([1 / 6, 0.5, 0.5, 0.5, 5 / 6])


def test_sigmoid_finds_how_the_log_odds_were_moved() -> None:
    # Two scores whose observed frequencies are 1/4 and 3/4: two numbers fit two points exactly.
    score = np.repeat([0.4, 0.6], 400)
    label = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0]).astype(np.int32)
    found = fit_calibration("sigmoid", label, score)
    assert found.apply(np.array([0.4, 0.6])).tolist() == pytest.approx([0.25, 0.75], abs=1e-4)


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_later_rows_that_are_overconfident_become_honest(kind: str) -> None:
    chance = np.random.default_rng(3)
    true = chance.uniform(0.05, 0.95, 40_000)
    label = (chance.random(40_000) < true).astype(np.int32)
    score = true**2 / (true**2 + (1 - true) ** 2)  # twice the true log-odds
    found = fit_calibration("sigmoid" if kind == "sigmoid" else "isotonic", label, score)
    assert float(np.abs(found.apply(score) - true).mean()) < 0.02  # of the scores themselves it is 0.1


def test_classes_are_fitted_one_against_the_rest() -> None:
    chance = np.random.default_rng(4)
    label = chance.integers(0, 3, 3000).astype(np.int32)
    score = np.full((3000, 3), 1 / 3)
    score[np.arange(3000), label] += 0.2
    score /= score.sum(axis=1, keepdims=True)
    found = fit_calibration("isotonic", label, score).apply(score)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found.argmax(axis=1) == label).all()


def test_none_is_the_identity() -> None:
    assert fit_calibration("none", np.zeros(2, np.int32), np.array([0.1, np.nan])).kind == "none"


def test_one_class_is_refused() -> None:
    with pytest.raises(PlanError, match="one class only"):
        fit_calibration("isotonic", np.ones(3, np.int32), np.array([0.1, 0.2, 0.3]))


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(PlanError, match="NaN or infinite"):
        fit_calibration("sigmoid", np.array([0, 1], np.int32), np.array([0.1, np.nan]))


def test_cross_fitting_does_not_reward_a_curve_for_learning_noise() -> None:
    chance = np.random.default_rng(5)
    label, score = chance.integers(0, 2, 400).astype(np.int32), chance.random(400)
    entity = np.arange(400) // 2
    flattered = fit_calibration("isotonic", label, score).apply(score)
    honest = cross_fitted("isotonic", label, score, entity, seed=1)

    def brier(probability: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(((label - probability) ** 2).mean())

    assert brier(flattered) < 0.25 < brier(honest)


def test_cross_fitting_keeps_the_rows_of_an_entity_together() -> None:
    # Each entity's rows agree with one another and with nobody else: another entity's curve knows nothing of them.
    chance = np.random.default_rng(6)
    entity = np.repeat(np.arange(100), 20)
    label = np.repeat(chance.integers(0, 2, 100), 20).astype(np.int32)
    score = np.repeat(chance.random(100), 20)
    honest = cross_fitted("isotonic", label, score, entity, seed=1)
    assert float(((label - honest) ** 2).mean()) > 0.25


def test_too_few_entities_for_folds_take_the_curve_of_all() -> None:
    label, score, entity = np.array([0, 1], np.int32), np.array([0.2, 0.8]), np.array([0, 1])
    found = cross_fitted("isotonic", label, score, entity, seed=1)
    assert found.tolist() == fit_calibration("isotonic", label, score).apply(score).tolist()
