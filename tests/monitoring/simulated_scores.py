"""A known truth: scores whose probability of outcome 1 is not the score itself, so that calibration matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.measures.score_reference import fit_score_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from core.calibration import ScoreReference


def relation(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true probability of outcome 1."""
    return np.asarray(0.05 + 0.7 * score**2)


def reference_scores(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    return rng.beta(2, 3, rows)


def shifted_scores(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Return scores of another mix of cases than the reference has."""
    return rng.beta(3, 2, rows)


def reference_of(rng: np.random.Generator, rows: int) -> ScoreReference:
    score = reference_scores(rng, rows)
    reference = fit_score_reference(score, rng.random(rows) < relation(score), rows)
    assert reference is not None
    return reference
