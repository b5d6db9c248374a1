"""The comparison of an experiment's arms as an HTML page: the verdict with its reasons, figures, and what is promised."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from core.experiment.confidence_sequence import sequence_margin
from core.experiment.day_ends import day_ends
from core.experiment.phases import CONTROL, TREATMENT
from core.files import write_whole
from models.measures.intervals import Estimate
from models.reports import html, svg
from monitoring.cohorts import covariate_words, headline, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.experiment.cohorts import ArmCounts, Comparison
    from core.experiment.decision import ExperimentDecision
    from core.experiment.metrics import MetricResult
    from core.experiment.money import MoneyResult

_COUNTS = ("exposed", "mature", "censored", "with outcome", "unmatched")


def write_cohorts_page(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison: one file without scripts, which needs no network."""
    write_whole(path, cohorts_page(comparison))


def cohorts_page(comparison: Comparison) -> str:
    """Compose the page of a comparison."""
    arms = comparison.arms
    title = f"Experiment {arms.experiment}"
    head = (
        f'<header><h1>{escape(title)}</h1><p class="soft">as of {arms.as_of:%Y-%m-%d %H:%M} UTC, over exposures whose label '
        "window has closed</p></header>"
    )
    sections = (
        _verdict(comparison),
        _arms(comparison),
        _course(comparison),
        _looks(comparison.decision),
        _metrics(comparison),
        _money(comparison.money),
        _checks(comparison),
        _promises(comparison),
    )
    return html.page(title, [head, *sections])


def _verdict(comparison: Comparison) -> str:
    words = "".join(f"<li>{escape(reason)}</li>" for reason in reasons(comparison))
    cards = "".join(
        (
            html.card(html.signed(comparison.difference), "challenger &minus; champion"),
            html.card(
                html.between(comparison.ci_lower, comparison.ci_upper),
                f"{comparison.confidence:.0%} interval, for one look",
            ),
            html.card(
                html.between(comparison.sequence_lower, comparison.sequence_upper), "confidence sequence, at all looks"
            ),
        )
    )
    return html.section(
        f"Verdict: {escape(headline(comparison))}",
        f"<ul>{words}</ul>" if words else "",
        f'<div class="cards">{cards}</div>',
    )


def _arms(comparison: Comparison) -> str:
    arms = (
        (comparison.arms.champion, comparison.champion_rate),
        (comparison.arms.challenger, comparison.challenger_rate),
    )
    rows = [[arm.arm, *_cells(arm), html.number(rate)] for arm, rate in arms]
    phases = [
        [f"{arm.arm}, {escape(phase.arms.name)}", *_cells(arm), html.number(arm.rate)]
        for phase in comparison.phases
        for arm in (phase.arms.champion, phase.arms.challenger)
        if len(comparison.phases) > 1
    ]
    rate = "mean outcome, adjusted" if comparison.is_adjusted else "mean outcome"
    left_out = [f"{phase.arms.name} is left out: {phase.left_out}." for phase in comparison.phases if phase.left_out]
    return html.section(
        "Arms",
        html.table(["arm", *_COUNTS, rate], [*phases, *rows], label="Arms"),
        *(f"<p>{escape(words)}</p>" for words in left_out),
    )


def _cells(arm: ArmCounts) -> list[str]:
    return [f"{count:,}" for count in (arm.exposed, arm.mature, arm.censored, arm.with_outcome, arm.unmatched)]


def _course(comparison: Comparison) -> str:
    """Compose the section with the difference at the end of each day; empty if the arms are not counted by day."""
    days = [day for day in day_ends(comparison) if day.variance > 0]
    if not days:
        return ""
    values = np.array([day.difference for day in days])
    errors = np.sqrt([day.variance for day in days])
    margins = np.array(
        [sequence_margin(error, day.units, comparison.confidence) for day, error in zip(days, errors, strict=True)]
    )
    picture = svg.course([day.as_of for day in days], values, margins, "difference")
    caption = (
        "Challenger &minus; champion over all units that had matured by the end of each day, with its confidence sequence. "
        "While the sequence holds 0, no difference is shown."
    )
    return html.section("The difference over time", html.figure(picture, caption))


def _looks(decision: ExperimentDecision | None) -> str:
    """Compose the section with the planned looks; empty without a decision."""
    if decision is None:
        return ""
    progress = f"<p>{decision.information:.0%} of the planned information is there.</p>"
    if not decision.looks:
        return html.section("Looks", progress, "<p>No look has come yet.</p>")
    fractions = [look.information for look in decision.looks]
    bounds = [look.bound for look in decision.looks]
    lines = {
        "z": np.array([fractions, [look.z for look in decision.looks]]).T,
        "bound": np.array([fractions, bounds]).T,
        "lower bound": np.array([fractions, [-bound for bound in bounds]]).T,
    }
    picture = svg.curves(lines, ("share of the planned information", "z"), ranges=False, level=0.0, marks=True)
    rows = [
        [
            f"{look.number} of {decision.planned_looks}",
            f"{look.as_of:%Y-%m-%d}",
            f"{look.information:.0%}",
            html.signed(look.difference),
            f"{look.z:+.3f}",
            f"{look.bound:.3f}",
            "ends" if look.ends else "goes on",
        ]
        for look in decision.looks
    ]
    head = ["look", "before", "information", "difference", "z", "bound", "result"]
    return html.section(
        "Looks",
        progress,
        html.figure(picture, "z at each look. The first look beyond a bound ends the experiment."),
        html.table(head, rows, label="Looks"),
    )


def _metrics(comparison: Comparison) -> str:
    """Compose the section with guardrails and secondary metrics; empty if the plan has none."""
    if not comparison.metrics:
        return ""
    rows = [
        [
            f"{escape(metric.name)}<small>{_kind(metric)}, {metric.better} is better</small>",
            metric.verdict,
            html.number(metric.champion),
            html.number(metric.challenger),
            f"{html.signed(metric.difference)}<small>{html.between(metric.sequence_lower, metric.sequence_upper)}</small>",
            html.number(metric.margin) if metric.margin is not None else "&ndash;",
            "&ndash;" if metric.is_guardrail else f"{metric.p_value:.2g}",
            f"{metric.units:,}<small>{metric.unknown:,} unknown</small>",
        ]
        for metric in comparison.metrics
    ]
    head = ["metric", "verdict", "champion", "challenger", "difference", "margin", "p (Holm)", "units"]
    return html.section(
        "Guardrails and secondary metrics",
        *_guardrails(comparison),
        html.table(head, rows, words=2, label="Guardrails and secondary metrics"),
    )


def _kind(metric: MetricResult) -> str:
    return "guardrail" if metric.is_guardrail else "secondary"


def _guardrails(comparison: Comparison) -> Iterator[str]:
    shown = [metric for metric in comparison.metrics if metric.is_guardrail and metric.verdict != "withheld"]
    if shown:
        picture = svg.interval_plot([metric.name for metric in shown], list(map(_loss, shown)), "loss in margins", 1.0)
        caption = (
            "How much worse the challenger is, in margins, with confidence sequences. A guardrail holds once its sequence lies "
            "left of the dashed line at 1."
        )
        yield html.figure(picture, caption)


def _loss(metric: MetricResult) -> Estimate:
    """Return how much worse the challenger is, in margins."""
    assert metric.margin is not None, "a guardrail has a margin"
    scale = (-1 if metric.better == "higher" else 1) / metric.margin
    bounds = sorted((scale * metric.sequence_lower, scale * metric.sequence_upper))
    return Estimate(scale * metric.difference, *bounds)


def _money(money: MoneyResult | None) -> str:
    """Compose the section about money; empty if the plan does not say what a decision earns."""
    if money is None:
        return ""
    unit = escape(f" ({money.currency})") if money.currency else ""
    if math.isnan(money.difference):
        return html.section(
            "Money", f"<p>{money.units:,} units have an outcome and known amounts, which is too few.</p>"
        )
    rows = [
        [CONTROL, html.signed(money.champion), "&ndash;", "&ndash;"],
        [TREATMENT, html.signed(money.challenger), "&ndash;", "&ndash;"],
        [
            "difference",
            html.signed(money.difference),
            html.between(money.ci_lower, money.ci_upper),
            html.between(money.sequence_lower, money.sequence_upper),
        ],
    ]
    return html.section(
        "Money",
        f"<p>What a unit brought{unit}: the value lost with it, and what the decision at its exposure cost. {money.units:,} "
        f"units count; the amounts of {money.unknown:,} are not known.</p>",
        html.table(["arm", f"money of a unit{unit}", "interval", "at all looks"], rows, best=2, label="Money"),
    )


def _checks(comparison: Comparison) -> str:
    rows = [
        ["sample ratio of exposed units", f"{comparison.sample_ratio_p:.2g}"],
        ["sample ratio of mature units with an outcome", f"{comparison.sample_ratio_p_joined:.2g}"],
        ["no difference, for one look", f"{comparison.p_value:.2g}"],
    ]
    use = [f"<p>{escape(covariate_words(comparison.covariate))}.</p>"] if comparison.covariate else []
    return html.section("Checks", html.table(["check", "p-value"], rows, label="Checks"), *use)


def _promises(comparison: Comparison) -> str:
    error = 1 - comparison.confidence
    return html.section(
        "How to read this",
        "<p>The interval and the p-value hold for one look at an instant chosen before the start. Confidence sequences hold at "
        f"all looks together: they ever exclude the true difference with probability {error:.2g} at most. The planned looks "
        f"together show a difference by chance with probability {error:.2g} at most.</p>"
        "<p>Every entity counts once, in the arm of its first exposure, whatever it met later. An entity whose window is open "
        "is censored and does not count; one without an outcome is unmatched and is never taken as negative.</p>",
    )
