"""CBPE: estimate the metrics of a binary model before outcomes are known (confidence-based performance estimation).

Assumption: P(outcome | score) is that of the reference rows. Then each outcome is Bernoulli(p) with the p of its score, and
every metric has an expectation without a label. A change of the mix of cases keeps the assumption. A change of the relation
between features and outcome breaks it, and nothing in the scores shows it: see `monitoring.concept_drift`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from models.measures.intervals import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from core.calibration import ScoreReference
    from models.measures.metrics import Earned

ASSUMPTION = "assumes that outcomes depend on the score as in the reference rows: P(y|x) unchanged"
_SMALLEST = 1e-15
#: Simulated outcomes in memory at once.
_BLOCK = 4_000_000

#: The weight of outcome 1 of each row, of shape (repeats, rows), to a metric of shape (repeats,).
_Metric: TypeAlias = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


@dataclass(frozen=True)
class Simulation:
    """Settings of the simulated outcomes: the number of repeats, the confidence of intervals and the seed."""

    repeats: int = 500
    confidence: float = 0.95
    seed: int = 0


def estimate_metrics(
    score: NDArray[np.float64],
    reference: ScoreReference,
    threshold: float,
    earned: Earned = (np.nan, np.nan),
    simulation: Simulation | None = None,
) -> dict[str, Estimate]:
    r"""Return the expected metrics of `score`, of shape (rows,), with intervals for the metrics that outcomes will show.

    With p the probability of each row by `reference`, true positives are the sum of p over the rows with
    score >= threshold, false negatives the sum of p over the others; roc_auc = sum of p_i (1 - p_j) [s_i > s_j] over
    (sum of p) (sum of 1 - p), ties count half; log_loss is that of the score. Positives are the sum of p, profit
    is per 1,000 rows.

    Bounds are quantiles over simulated cohorts: p is drawn from its posterior given the reference rows of its block, the
    outcomes are Bernoulli(p). A realised metric falls inside with the probability `confidence` if the assumption holds.

    Undefined (NaN) without rows, a threshold (accuracy, precision, recall, profit) or the profit `earned` by a row
    with outcome 1 and with outcome 0 (profit).

    References
    ----------
    Bialek, J., Kuberski, W., Perrakis, N. and Bifet, A. (2024). Estimating model performance under covariate shift without
    labels.

    """
    settings = simulation or Simulation()
    metrics = _metrics(score, threshold, earned)
    if not len(score):
        return {name: Estimate(np.nan, np.nan, np.nan) for name in metrics}
    probability = reference.probabilities(score)
    drawn = _simulated(metrics, score, reference, settings)
    return {
        name: Estimate(float(metric(probability[None, :])[0]), *_bounds(drawn[name], settings.confidence))
        for name, metric in metrics.items()
    }


def _bounds(drawn: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    defined = drawn[np.isfinite(drawn)]
    if 2 * len(defined) < len(drawn) or not len(defined):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail], method="weibull")
    return float(low), float(high)


def _simulated(
    metrics: dict[str, _Metric], score: NDArray[np.float64], reference: ScoreReference, settings: Simulation
) -> dict[str, NDArray[np.float64]]:
    blocks = list(_simulated_outcomes(score, reference, settings))
    return {name: np.concatenate([metric(block) for block in blocks]) for name, metric in metrics.items()}


def _simulated_outcomes(
    score: NDArray[np.float64], reference: ScoreReference, settings: Simulation
) -> Iterator[NDArray[np.float64]]:
    """Yield simulated outcomes of shape (repeats, rows)."""
    rng = np.random.default_rng(settings.seed)
    probability, block_of = reference.probabilities(score), reference.block_of(score)
    share = np.asarray(reference.positives) / np.asarray(reference.rows)
    rows = reference.independent_rows
    size = max(1, min(settings.repeats, _BLOCK // len(score)))
    for start in range(0, settings.repeats, size):
        shape = (min(size, settings.repeats - start), len(share))
        # Jeffreys' posterior of each block.
        deviation = rng.beta(share * rows + 0.5, (1 - share) * rows + 0.5, shape) - share
        drawn = probability + deviation[:, block_of]
        yield (rng.random(drawn.shape) < drawn).astype(np.float64)


def _metrics(score: NDArray[np.float64], threshold: float, earned: Earned) -> dict[str, _Metric]:
    """Return each metric as a function of the weight of outcome 1 of each row: a probability, or 0 and 1."""
    chosen = (score >= threshold).astype(np.float64) if np.isfinite(threshold) else np.full(len(score), np.nan)
    log_of_1 = -np.log(score.clip(_SMALLEST, 1))
    log_of_0 = -np.log((1 - score).clip(_SMALLEST, 1))

    def ratio(above: NDArray[np.float64], below: NDArray[np.float64] | float) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(above / below)

    def accuracy(positive: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((positive @ (2 * chosen - 1) + (1 - chosen).sum()) / len(score))

    def profit(positive: NDArray[np.float64]) -> NDArray[np.float64]:
        profits = positive @ (chosen * (earned[0] - earned[1])) + (chosen * earned[1]).sum()
        return np.asarray(1000 * profits / len(score))

    return {
        "roc_auc": _roc_auc(score),
        "accuracy": accuracy,
        "precision": lambda positive: ratio(positive @ chosen, chosen.sum()),
        "recall": lambda positive: ratio(positive @ chosen, positive.sum(axis=1)),
        "log_loss": lambda positive: (positive @ (log_of_1 - log_of_0) + log_of_0.sum()) / len(score),
        "positives": lambda positive: positive.sum(axis=1),
        "profit": profit,
    }


def _roc_auc(score: NDArray[np.float64]) -> _Metric:
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
    sizes = np.diff(np.append(starts, len(score)))

    def roc_auc(positive: NDArray[np.float64]) -> NDArray[np.float64]:
        positives = np.add.reduceat(positive[:, order], starts, axis=1)
        negatives = sizes - positives
        in_order = positives * (np.cumsum(negatives, axis=1) - negatives / 2)
        with np.errstate(invalid="ignore"):
            area: NDArray[np.float64] = in_order.sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
        return area

    return roc_auc
