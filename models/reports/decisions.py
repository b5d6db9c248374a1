"""What a report shows of decisions: how many are right, and what they earn."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from models.reports import html, svg

if TYPE_CHECKING:
    from models.evaluation.evaluation import CandidateResult
    from models.evaluation.findings import Findings
    from models.measures.money import MoneyResult


def decisions(findings: Findings, best: CandidateResult) -> str:
    """Show which labels were decided how; nothing, where nothing is decided."""
    if len(findings.confusion) != 2:  # noqa: PLR2004 - two classes
        return _many_classes(findings)
    (right_no, wrong_yes), (wrong_no, right_yes) = findings.confusion
    chosen = right_yes + wrong_yes
    table = html.table(
        ["", "decided 1", "decided 0"],
        [["label 1", f"{right_yes:,}", f"{wrong_no:,}"], ["label 0", f"{wrong_yes:,}", f"{right_no:,}"]],
    )
    precision = right_yes / chosen if chosen else math.nan
    recall = right_yes / (right_yes + wrong_no) if right_yes + wrong_no else math.nan
    return html.section(
        "Decisions at the threshold",
        f"<p>A score of {html.number(best.threshold)} and more is decided as 1: {chosen:,} of {findings.rows:,} rows "
        f"({html.share(chosen / findings.rows)}). {html.share(precision)} of those were right, and "
        f"{html.share(recall)} of the rows with label 1 are among them.</p>",
        table,
    )


def _many_classes(findings: Findings) -> str:
    if not findings.confusion:
        return ""
    head = ["label", *(f"decided {place}" for place in range(len(findings.confusion)))]
    rows = [[str(place), *(f"{count:,}" for count in line)] for place, line in enumerate(findings.confusion)]
    return html.section(
        "Decisions", "<p>The likeliest class is decided; classes by their codes.</p>", html.table(head, rows)
    )


def earnings(money: MoneyResult | None) -> str:
    """Show what decisions earn at the threshold and at others; nothing, where the plan does not say."""
    if money is None:
        return ""
    unit = escape(money.currency)
    rows = [
        ["the threshold in force", html.share(money.share), html.estimate(money.at_threshold)],
        ["approach everybody", html.share(1), html.estimate(money.treat_all)],
        ["approach nobody", html.share(0), html.estimate(money.treat_none)],
    ]
    over = money.over_treating_all
    surely = "surely " if over.lower > 0 or over.upper < 0 else ""
    return html.section(
        "What it earns",
        f"<p>At the threshold in force, {html.number(money.threshold)}, each 1,000 decisions earn "
        f"{html.number(money.at_threshold.value)} {unit}: {surely}{html.number(abs(over.value))} {unit} "
        f"{'more' if over.value >= 0 else 'less'} than approaching everybody ({html.between(over.lower, over.upper)}). "
        f"The validation rows earned most at {html.number(money.best.value)}, and do not show any threshold from "
        f"{html.number(money.best.lower)} to {html.number(money.best.upper)} to earn less. With true probabilities "
        f"an offer pays from {html.number(money.break_even)} on.</p>",
        html.figure(svg.profit(money), "Profit on the test rows; the band is the interval of each point."),
        html.table(["policy", "approached", f"profit per 1,000 ({unit})"], rows),
        '<p class="soft">The same acceptance is assumed of everybody who would be lost. Who is likeliest to leave need not be '
        "whom an offer moves most; a randomised offer would tell.</p>",
    )
