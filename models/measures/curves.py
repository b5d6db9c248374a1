"""Curves of scores, thinned to what an eye can see: the points that figures and `dvc plots` draw."""

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
    """Give the ROC curve."""
    from sklearn.metrics import roc_curve

    wrong, right, _ = roc_curve(rows.label, rows.score)
    return _thinned(np.column_stack([wrong, right]))


def precision_recall(rows: Observed) -> NDArray[np.float64]:
    """Give precision over recall, from the highest threshold down; the first point, of no row, is left out."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(rows.label, rows.score)
    return _thinned(np.column_stack([recall, precision])[:-1][::-1])


def gains(rows: Observed) -> NDArray[np.float64]:
    """Give the share of all positives among the highest scores, over the share of rows taken."""
    order = np.argsort(-rows.score, kind="stable")
    ends = np.append(0, np.append(np.flatnonzero(np.diff(rows.score[order])) + 1, len(order)))
    hits = np.append(0, np.cumsum(rows.label[order] == 1))
    return _thinned(np.column_stack([ends / len(order), hits[ends] / max(int(hits[-1]), 1)]))


def calibration(rows: Observed) -> NDArray[np.float64]:
    """Give what was said and what happened, on average, in bins of equal numbers of rows.

    Of several classes the likeliest one's probability is judged; of a regression the predicted number.
    """
    said = rows.score if rows.score.ndim == 1 else rows.score.max(axis=1)
    happened = rows.label if rows.score.ndim == 1 else rows.decided == rows.label
    place = equal_bins(said, ECE_BINS)
    count = np.bincount(place)
    return np.column_stack([np.bincount(place, said) / count, np.bincount(place, happened) / count])


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the points that lie nearest to equal steps along the first axis, and both ends."""
    if len(points) <= _POINTS:
        return points
    wanted = np.linspace(points[0, 0], points[-1, 0], _POINTS)
    kept = np.unique(np.clip(np.searchsorted(points[:, 0], wanted), 0, len(points) - 1))
    thinned: NDArray[np.float64] = points[np.unique(np.append(kept, [0, len(points) - 1]))]
    return thinned


def to_csv(axes: Axes, points: NDArray[np.float64]) -> str:
    """Write a curve, one point a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(axes)
    writer.writerows([f"{number:.6g}" for number in point] for point in points.tolist())
    return text.getvalue()
