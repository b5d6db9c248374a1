"""Report sections about decisions: the confusion matrix, and profit."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from models.reports import html, svg

if TYPE_CHECKING:
    from models.evaluation.evaluation import CandidateResult
    from models.evaluation.findings import Findings
    from models.measures.money import MoneyResult


def decisions_section(findings: Findings, best: CandidateResult) -> str:
    """Compose the section with the confusion matrix; empty without decisions."""
    if len(findings.confusion) != 2:  # noqa: PLR2004 - two classes
        return _many_classes(findings)
    (true_negative, false_positive), (false_negative, true_positive) = findings.confusion
    chosen = true_positive + false_positive
    table = html.table(
        ["", "decided 1", "decided 0"],
        [
            ["label 1", f"{true_positive:,}", f"{false_negative:,}"],
            ["label 0", f"{false_positive:,}", f"{true_negative:,}"],
        ],
    )
    precision = true_positive / chosen if chosen else math.nan
    positives = true_positive + false_negative
    recall = true_positive / positives if positives else math.nan
    return html.section(
        "Decisions at the threshold",
        f"<p>A score of at least {html.number(best.threshold)} is decided as 1: {chosen:,} of {findings.rows:,} rows "
        f"({html.share(chosen / findings.rows)}). {html.share(precision)} of these have label 1 (precision). "
        f"{html.share(recall)} of the rows with label 1 are among them (recall).</p>",
        table,
    )


def _many_classes(findings: Findings) -> str:
    if not findings.confusion:
        return ""
    head = ["label", *(f"decided {code}" for code in range(len(findings.confusion)))]
    rows = [[str(code), *(f"{count:,}" for count in line)] for code, line in enumerate(findings.confusion)]
    words = "<p>The decision is the class with the largest probability. Classes are shown by their codes.</p>"
    return html.section("Decisions", words, html.table(head, rows))


def _break_even(money: MoneyResult) -> str:
    if math.isnan(money.break_even):
        return ""
    return f" With calibrated probabilities contacting pays from {html.number(money.break_even)} on."


def profit_section(money: MoneyResult | None) -> str:
    """Compose the section with the profit at the threshold and at all others; empty if the plan has no `money`."""
    if money is None:
        return ""
    unit = escape(money.currency)
    rows = [
        ["contact at the threshold", html.share(money.share), html.estimate_cell(money.at_threshold)],
        ["contact all", html.share(1), html.estimate_cell(money.treat_all)],
        ["contact none", html.share(0), html.estimate_cell(money.treat_none)],
    ]
    over = money.over_treating_all
    significance = ", significantly" if over.lower > 0 or over.upper < 0 else ""
    return html.section(
        "Profit",
        f"<p>At the threshold in use, {html.number(money.threshold)}, the profit per 1,000 decisions is "
        f"{html.number(money.at_threshold.value)} {unit}. That is {html.number(abs(over.value))} {unit} "
        f"{'more' if over.value >= 0 else 'less'} than contacting all customers{significance} (interval of the difference: "
        f"{html.between(over.lower, over.upper)}). On the validation rows the profit is highest at "
        f"{html.number(money.best.value)}; from {html.number(money.best.lower)} to {html.number(money.best.upper)} it is not "
        f"significantly lower.{_break_even(money)}</p>",
        html.figure(svg.profit(money), "Profit on the test rows; the band is the pointwise interval."),
        html.table(["policy", "contacted", f"profit per 1,000 ({unit})"], rows),
        '<p class="soft">The calculation assumes that all customers who would churn accept an offer with the same '
        "probability. The customers most likely to churn need not be those whom an offer influences most; a randomised "
        "experiment would measure that.</p>",
    )
