"""Measures of a binary score, by scikit-learn, and the threshold that turns a score into a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from core.plan import Metric, Threshold

#: The metrics of which less is better.
LOWER_IS_BETTER = frozenset({"log_loss", "brier"})
_SMALLEST = 1e-15


def measure(metric: Metric, label: NDArray[np.int32], score: NDArray[np.float64]) -> float:
    """Compute `metric` of probabilities `score` of label 1; both have the shape (rows,), and both labels occur."""
    from sklearn import metrics

    measures: dict[str, Callable[..., float]] = {
        "roc_auc": metrics.roc_auc_score,
        "pr_auc": metrics.average_precision_score,
        "log_loss": lambda label, score: metrics.log_loss(label, np.clip(score, _SMALLEST, 1 - _SMALLEST)),
        "brier": metrics.brier_score_loss,
    }
    return float(measures[metric](label, score))


def best_threshold(goal: Threshold, label: NDArray[np.int32], score: NDArray[np.float64]) -> float:
    """Give the score that, as the least one to be decided `above`, maximises the goal; among equals the highest.

    F1 = 2 TP / (2 TP + FP + FN); balanced accuracy = (TP / P + TN / N) / 2. Every observed score is tried.
    """
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(label[order] == 1)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true_positives = hits[last].astype(np.float64)
    false_positives = last + 1 - true_positives
    positives, negatives = float(hits[-1]), float(len(label) - hits[-1])
    if goal.maximise == "f1":
        value = 2 * true_positives / (true_positives + false_positives + positives)
    else:
        value = (true_positives / positives + 1 - false_positives / negatives) / 2
    return float(ranked[last[int(np.argmax(value))]])
