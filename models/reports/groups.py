"""Report sections about parts of the rows: metrics by group, fairness, and the worst slices."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from models.reports import html, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.evaluate import Metric
    from models.evaluation.evaluation import CandidateResult
    from models.evaluation.findings import Findings
    from models.measures.fairness import GroupFairness


def groups_section(findings: Findings, primary: Metric, best: CandidateResult) -> str:
    """Compose the section with metrics by group; empty if the plan has no groups."""
    if not findings.parts:
        return ""
    known = [part for part in findings.parts if primary in part.measured]
    metrics = list(dict.fromkeys(metric for part in findings.parts for metric in part.measured))
    shown = [primary, *(metric for metric in metrics if metric != primary)][:5]
    rows = [
        [
            f"{escape(part.group)}: {escape(part.part)}",
            f"{part.rows:,}<small>{part.entities:,} entities</small>",
            html.number(part.label_mean),
            html.number(part.score_mean),
            *(html.estimate_cell(part.measured[metric]) if metric in part.measured else "&ndash;" for metric in shown),
        ]
        for part in findings.parts
    ]
    drawn = ""
    if known and primary in best.test:
        names = [f"{part.group}: {part.part}" for part in known]
        picture = svg.interval_plot(names, [part.measured[primary] for part in known], primary, best.test[primary])
        drawn = html.figure(picture, f"{primary} by group, with intervals; the dashed line is that of all test rows.")
    return html.section(
        "By group",
        "<p>Ranking within a group is often harder than over all rows, because the group itself predicts the label. If the "
        "mean score is far from the mean label, the model is wrong about the group as a whole.</p>",
        drawn,
        html.table(["group", "rows", "mean label", "mean score", *shown], rows),
    )


def fairness_section(found: Sequence[GroupFairness]) -> str:
    """Compose the section with decision rates by group; empty if the plan compares none."""
    if not found:
        return ""
    return html.section(
        "Fairness of decisions",
        "<p>The selection rate is the share of rows decided as 1. The true positive rate is that share among rows with label "
        "1, the false positive rate among rows with label 0. Parts with different label means cannot be equal in all "
        "three.</p>",
        *map(_one_fairness, found),
    )


def _one_fairness(found: GroupFairness) -> str:
    rates = ("selection_rate", "true_positive_rate", "false_positive_rate")
    names = [rate.replace("_", " ") for rate in rates]
    rows = [
        [
            escape(part.part),
            f"{part.rows:,}<small>{part.entities:,} entities</small>",
            *(html.estimate_cell(part.rates[rate]) for rate in rates),
        ]
        for part in found.parts
    ]
    differences = [
        [escape(part.part), "", *(html.estimate_cell(part.from_reference[rate]) for rate in rates)]
        for part in found.parts
        if part.from_reference is not None
    ]
    gaps = [["largest gap", "", *(html.estimate_cell(found.gaps[rate]) for rate in rates)]]
    return (
        f"<h3>{escape(found.group)}</h3>"
        + html.table(["part", "rows", *names], rows)
        + f"<h3>Difference from {escape(found.reference)}</h3>"
        + html.table(["part", "", *names], [*differences, *gaps])
    )


def slices_section(findings: Findings) -> str:
    """Compose the section with the slices of highest loss."""
    intro = (
        "<p>The search cut every feature into a few bins and compared the loss of all bins and pairs of bins on the "
        "validation rows. The table shows the slices that it found, measured on the test rows. p is the p-value for a loss no "
        "higher than elsewhere, with Holm's correction. A high loss can be irreducible uncertainty; if mean score and mean "
        "label differ, the model is wrong about the slice.</p>"
    )
    if not findings.worst_slices:
        return html.section("Slices with the highest loss", intro, "<p>The search found no slice.</p>")
    rows = [
        [
            escape(one.name),
            f"{one.rows:,}<small>{one.entities:,} entities</small>",
            f"{html.number(one.loss)}<small>elsewhere {html.number(one.loss_elsewhere)}</small>",
            html.number(one.label_mean),
            html.number(one.score_mean),
            "&ndash;" if math.isnan(one.p_value) else "&lt; 0.001" if one.p_value < 0.001 else f"{one.p_value:.3f}",  # noqa: PLR2004
        ]
        for one in findings.worst_slices
    ]
    return html.section(
        "Slices with the highest loss",
        intro,
        html.table(["slice", "rows", "loss", "mean label", "mean score", "p"], rows),
    )
