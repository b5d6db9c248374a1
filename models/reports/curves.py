"""Report sections about scores: curves of order, and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from models.reports import html, svg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.evaluation.evaluation import CandidateResult


@dataclass(frozen=True)
class Figures:
    """The curves of the candidates on the test rows, the best candidate first; None where the problem has no such curve."""

    calibration: Mapping[str, NDArray[np.float64]]
    roc: Mapping[str, NDArray[np.float64]] | None = None
    precision_recall: Mapping[str, NDArray[np.float64]] | None = None
    gains: Mapping[str, NDArray[np.float64]] | None = None


def order_section(figures: Figures, best: CandidateResult) -> str:
    """Compose the section with the ROC, gains and precision-recall curves; empty without these curves."""
    if figures.roc is None or figures.precision_recall is None or figures.gains is None:
        return ""
    roc = svg.curves(figures.roc, ("false positive rate", "true positive rate"), diagonal=True)
    gains = svg.curves(
        figures.gains, ("share of rows, highest scores first", "share of positives found"), diagonal=True
    )
    recall = svg.curves(figures.precision_recall, ("recall", "precision"))
    tenth = _at(figures.gains[best.candidate], 0.1)
    return html.section(
        "Ranking",
        f"<p>The {html.share(0.1)} of rows with the highest scores hold {html.share(tenth)} of all positives.</p>",
        '<div class="row">',
        html.figure(roc, "ROC curve. The dashed line is random guessing."),
        html.figure(
            gains, "Gains: share of positives found against share of rows selected. The dashed line is guessing."
        ),
        html.figure(recall, "Precision against recall."),
        "</div>",
    )


def _at(points: NDArray[np.float64], share: float) -> float:
    return float(np.interp(share, *points.T))


def calibration_section(figures: Figures, best: CandidateResult, problem: str) -> str:
    """Compose the section with the calibration curves of all candidates."""
    plain = problem == "regression"
    labels = ("mean prediction", "mean label") if plain else ("mean score", "observed rate")
    drawn = svg.curves(figures.calibration, labels, diagonal=True, marks=True, ranges=False)
    predictions = "numbers" if plain else "probabilities"
    words = f"<p>Points on the dashed line are calibrated. Below it the {predictions} are too high, above it too low. "
    if "ece" in best.test:
        words += (
            f"The {predictions} of {escape(best.candidate)} are off by {html.share(best.test['ece'])} on average (ECE). "
            "Sampling noise biases the ECE upwards; its interval corrects this and may lie below the value. "
        )
    curve = best.calibration.kind
    words += (
        "No calibration was fitted.</p>"
        if curve == "none"
        else f"The scores that are measured and served include a {curve} calibration, fitted on the validation rows.</p>"
    )
    return html.section(
        "Calibration of the predicted numbers" if plain else "Calibration of the probabilities",
        words,
        html.figure(drawn, "Each point is one fifteenth of the test rows, ordered by score."),
    )
