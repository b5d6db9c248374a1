"""Curves of scores, thinned to at most 202 points: the data of the report's figures and of `dvc plots`."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from models.measures.metrics import ECE_BINS, equal_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.measures.metrics import Observed

_POINTS = 200

#: A curve: the names of its two axes, and its points of shape (points, 2).
Axes = tuple[str, str]
ROC: Axes = ("false_positive_rate", "true_positive_rate")
PRECISION_RECALL: Axes = ("recall", "precision")
GAINS: Axes = ("share_of_rows", "share_of_positives")
CALIBRATION: Axes = ("mean_score", "mean_label")
PROFIT: Axes = ("share_approached", "profit_per_1000")


def roc(rows: Observed) -> NDArray[np.float64]:
    """Return the ROC curve, of shape (points, 2)."""
    from sklearn.metrics import roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(rows.label, rows.score)
    return _thinned(np.column_stack([false_positive_rate, true_positive_rate]))


def precision_recall(rows: Observed) -> NDArray[np.float64]:
    """Return (recall, precision) from the highest threshold down, without the point of no selected row."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(rows.label, rows.score)
    return _thinned(np.column_stack([recall, precision])[:-1][::-1])


def gains(rows: Observed) -> NDArray[np.float64]:
    """Return (share of rows selected, share of all positives among them), highest scores first."""
    order = np.argsort(-rows.score, kind="stable")
    ends = np.append(0, np.append(np.flatnonzero(np.diff(rows.score[order])) + 1, len(order)))
    hits = np.append(0, np.cumsum(rows.label[order] == 1))
    return _thinned(np.column_stack([ends / len(order), hits[ends] / max(int(hits[-1]), 1)]))


def calibration(rows: Observed) -> NDArray[np.float64]:
    """Return (mean score, mean label) of each of 15 bins with equal numbers of rows.

    With several classes the score is the largest probability and the label whether that class is right. In a regression
    the score is the predicted number.
    """
    score = rows.score if rows.score.ndim == 1 else rows.score.max(axis=1)
    label = rows.label if rows.score.ndim == 1 else rows.decided == rows.label
    bin_ = equal_bins(score, ECE_BINS)
    count = np.bincount(bin_)
    return np.column_stack([np.bincount(bin_, score) / count, np.bincount(bin_, label) / count])


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return about 200 points at equal steps along the first axis, and both ends."""
    if len(points) <= _POINTS:
        return points
    wanted = np.linspace(points[0, 0], points[-1, 0], _POINTS)
    kept = np.unique(np.clip(np.searchsorted(points[:, 0], wanted), 0, len(points) - 1))
    thinned: NDArray[np.float64] = points[np.unique(np.append(kept, [0, len(points) - 1]))]
    return thinned


def to_csv(axes: Axes, points: NDArray[np.float64]) -> str:
    """Compose the CSV text of a curve, one point a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(axes)
    writer.writerows([f"{number:.6g}" for number in point] for point in points.tolist())
    return text.getvalue()
