"""What a report shows of some of the rows: the groups of the plan, how alike decisions fall on them, and the worst slices."""

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
    from models.measures.fairness import Fairness


def groups(findings: Findings, primary: Metric, best: CandidateResult) -> str:
    """Show the measures by group; nothing, where the plan names none."""
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
            *(html.estimate(part.measured[metric]) if metric in part.measured else "&ndash;" for metric in shown),
        ]
        for part in findings.parts
    ]
    drawn = ""
    if known and primary in best.test:
        names = [f"{part.group}: {part.part}" for part in known]
        picture = svg.estimates(names, [part.measured[primary] for part in known], primary, best.test[primary])
        drawn = html.figure(picture, f"{primary} by group, with intervals; the dashed line is that of all test rows.")
    return html.section(
        "By group",
        "<p>Within a group the order is often harder than over all rows, for what parts the groups also parts the "
        "labels. Where the mean score lies far from the mean label, the model is wrong about the group as a whole.</p>",
        drawn,
        html.table(["group", "rows", "mean label", "mean score", *shown], rows),
    )


def fairness(found: Sequence[Fairness]) -> str:
    """Show the rates of decisions by group; nothing, where none are compared."""
    if not found:
        return ""
    return html.section(
        "Do decisions fall alike",
        "<p>Selection is the share that is decided as 1. The true positive rate is that share among rows with label 1, the "
        "false positive rate among rows with label 0. Groups whose labels differ cannot have all three alike.</p>",
        *map(_one_fairness, found),
    )


def _one_fairness(found: Fairness) -> str:
    rates = ("selection_rate", "true_positive_rate", "false_positive_rate")
    names = [rate.replace("_", " ") for rate in rates]
    rows = [
        [
            escape(part.part),
            f"{part.rows:,}<small>{part.entities:,} entities</small>",
            *(html.estimate(part.rates[rate]) for rate in rates),
        ]
        for part in found.parts
    ]
    apart = [
        [escape(part.part), "", *(html.estimate(part.from_reference[rate]) for rate in rates)]
        for part in found.parts
        if part.from_reference is not None
    ]
    gaps = [["largest gap", "", *(html.estimate(found.gaps[rate]) for rate in rates)]]
    return (
        f"<h3>{escape(found.group)}</h3>"
        + html.table(["part", "rows", *names], rows)
        + f"<h3>Less the rate of {escape(found.reference)}</h3>"
        + html.table(["part", "", *names], [*apart, *gaps])
    )


def worst(findings: Findings) -> str:
    """Show the slices with the highest loss."""
    intro = (
        "<p>Every feature was cut into a few bins, and all bins and pairs of bins were searched on the validation rows for the "
        "highest loss. These are the suspects on the test rows, which the search did not see; p is the chance of a loss that "
        "much above the rest if the slice were like it, corrected for the number of suspects. A high loss can be "
        "uncertainty that nobody can remove, or, where mean score and mean label differ, a fault of the model.</p>"
    )
    if not findings.worst_slices:
        return html.section("Where it does worst", intro, "<p>The search suspected nothing.</p>")
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
        "Where it does worst", intro, html.table(["slice", "rows", "loss", "mean label", "mean score", "p"], rows)
    )
