"""What a report shows of scores as a whole: how well they order the rows, and whether they can be believed."""

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
    """The curves of the candidates on the test rows, the best first; those that the problem does not have are None."""

    calibration: Mapping[str, NDArray[np.float64]]
    roc: Mapping[str, NDArray[np.float64]] | None = None
    precision_recall: Mapping[str, NDArray[np.float64]] | None = None
    gains: Mapping[str, NDArray[np.float64]] | None = None


def order(figures: Figures, best: CandidateResult) -> str:
    """Show how well the scores order the rows; nothing, where there is no such order."""
    if figures.roc is None or figures.precision_recall is None or figures.gains is None:
        return ""
    roc = svg.curves(figures.roc, ("false positive rate", "true positive rate"), diagonal=True)
    gains = svg.curves(
        figures.gains, ("share of rows, highest scores first", "share of positives found"), diagonal=True
    )
    recall = svg.curves(figures.precision_recall, ("recall", "precision"))
    tenth = _at(figures.gains[best.candidate], 0.1)
    return html.section(
        "Who comes first",
        f"<p>The {html.share(0.1)} of rows with the highest scores hold {html.share(tenth)} of all positives.</p>",
        '<div class="row">',
        html.figure(roc, "ROC: positives found against negatives taken along. Guessing is the dashed line."),
        html.figure(gains, "Gains: positives found against rows taken. Guessing is the dashed line."),
        html.figure(recall, "Precision against recall: how many of those taken are positives, as more are found."),
        "</div>",
    )


def _at(points: NDArray[np.float64], share: float) -> float:
    return float(np.interp(share, *points.T))


def probabilities(figures: Figures, best: CandidateResult, problem: str) -> str:
    """Show how far the scores lie from what happened."""
    plain = problem == "regression"
    labels = ("mean prediction", "mean label") if plain else ("mean score", "observed rate")
    drawn = svg.curves(figures.calibration, labels, diagonal=True, marks=True, ranges=False)
    said = "numbers" if plain else "probabilities"
    words = f"<p>Where points lie on the dashed line the {said} can be taken at their word; below it too much is said. "
    if "ece" in best.test:
        words += (
            f"The {said} of {escape(best.candidate)} are off by {html.share(best.test['ece'])} on average (chance "
            "alone gives a little more than 0; the interval leaves that out, and may lie below). "
        )
    curve = best.calibration.kind
    words += (
        "No calibration was fitted.</p>"
        if curve == "none"
        else f"A calibration ({curve}), fitted on the validation rows, is part of what is measured and served.</p>"
    )
    return html.section(
        "Can the numbers be believed" if plain else "Can the probabilities be believed",
        words,
        html.figure(drawn, "Each point is a fifteenth of the test rows, ordered by score."),
    )
