"""What a report shows of decisions: how many are right, and what they earn."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from models import pages, plots

if TYPE_CHECKING:
    from models.evaluation import CandidateResult
    from models.findings import Findings
    from models.money import MoneyResult


def decisions(findings: Findings, best: CandidateResult) -> str:
    """Show which labels were decided how; nothing, where nothing is decided."""
    if len(findings.confusion) != 2:  # noqa: PLR2004 - two classes
        return _many_classes(findings)
    (right_no, wrong_yes), (wrong_no, right_yes) = findings.confusion
    chosen = right_yes + wrong_yes
    table = pages.table(
        ["", "decided 1", "decided 0"],
        [["label 1", f"{right_yes:,}", f"{wrong_no:,}"], ["label 0", f"{wrong_yes:,}", f"{right_no:,}"]],
    )
    precision = right_yes / chosen if chosen else math.nan
    recall = right_yes / (right_yes + wrong_no) if right_yes + wrong_no else math.nan
    return pages.section(
        "Decisions at the threshold",
        f"<p>A score of {pages.number(best.threshold)} and more is decided as 1: {chosen:,} of {findings.rows:,} rows "
        f"({pages.share(chosen / findings.rows)}). {pages.share(precision)} of those were right, and "
        f"{pages.share(recall)} of the rows with label 1 are among them.</p>",
        table,
    )


def _many_classes(findings: Findings) -> str:
    if not findings.confusion:
        return ""
    head = ["label", *(f"decided {place}" for place in range(len(findings.confusion)))]
    rows = [[str(place), *(f"{count:,}" for count in line)] for place, line in enumerate(findings.confusion)]
    return pages.section(
        "Decisions", "<p>The likeliest class is decided; classes by their codes.</p>", pages.table(head, rows)
    )


def earnings(money: MoneyResult | None) -> str:
    """Show what decisions earn at the threshold and at others; nothing, where the plan does not say."""
    if money is None:
        return ""
    unit = escape(money.currency)
    rows = [
        ["the threshold in force", pages.share(money.share), pages.estimate(money.at_threshold)],
        ["approach everybody", pages.share(1), pages.estimate(money.treat_all)],
        ["approach nobody", pages.share(0), pages.estimate(money.treat_none)],
    ]
    over = money.over_treating_all
    surely = "surely " if over.lower > 0 or over.upper < 0 else ""
    return pages.section(
        "What it earns",
        f"<p>At the threshold in force, {pages.number(money.threshold)}, each 1,000 decisions earn "
        f"{pages.number(money.at_threshold.value)} {unit}: {surely}{pages.number(abs(over.value))} {unit} "
        f"{'more' if over.value >= 0 else 'less'} than approaching everybody ({pages.between(over.lower, over.upper)}). "
        f"The validation rows earned most at {pages.number(money.best.value)}, and do not show any threshold from "
        f"{pages.number(money.best.lower)} to {pages.number(money.best.upper)} to earn less. With true probabilities "
        f"an offer pays from {pages.number(money.break_even)} on.</p>",
        pages.figure(plots.profit(money), "Profit on the test rows; the band is the interval of each point."),
        pages.table(["policy", "approached", f"profit per 1,000 ({unit})"], rows),
        '<p class="soft">The same acceptance is assumed of everybody who would be lost. Who is likeliest to leave need not be '
        "whom an offer moves most; a randomised offer would tell.</p>",
    )
