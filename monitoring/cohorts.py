"""Format the comparison of an experiment's arms for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.terminal import terminal_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from core.experiment.cohorts import ArmCounts, Comparison
    from core.experiment.covariate import CovariateUse
    from core.experiment.metrics import MetricResult
    from core.experiment.money import MoneyResult


def cohorts_table(comparison: Comparison) -> Table:
    """Return a terminal table of the arms, with the verdict as its caption."""
    arms = comparison.arms
    columns = ("exposed", "mature", "censored", "with outcome", "unmatched", "rate")
    table = terminal_table(
        "arm",
        *columns,
        numbers=columns,
        title=f"Cohorts of {arms.experiment} as of {arms.as_of:%Y-%m-%d %H:%M} UTC",
        caption="\n".join(summary(comparison)),
    )
    if len(comparison.phases) > 1:
        for phase in comparison.phases:
            for arm in (phase.arms.champion, phase.arms.challenger):
                table.add_row(f"{arm.arm}, {phase.arms.name}", *_count_cells(arm), f"{arm.rate:.4f}")
    table.add_row(arms.champion.arm, *_count_cells(arms.champion), f"{comparison.champion_rate:.4f}")
    table.add_row(arms.challenger.arm, *_count_cells(arms.challenger), f"{comparison.challenger_rate:.4f}")
    return table


def _count_cells(arm: ArmCounts) -> list[str]:
    return [str(count) for count in (arm.exposed, arm.mature, arm.censored, arm.with_outcome, arm.unmatched)]


def summary(comparison: Comparison) -> tuple[str, ...]:
    """Compose the lines that summarise the comparison: difference, p-values, verdict and reasons."""
    interval = f"[{comparison.ci_lower:+.4f}, {comparison.ci_upper:+.4f}]"
    sequence = f"[{comparison.sequence_lower:+.4f}, {comparison.sequence_upper:+.4f}]"
    exposed, joined = comparison.sample_ratio_p, comparison.sample_ratio_p_joined
    lines = (
        f"challenger - champion: {comparison.difference:+.4f}, {comparison.confidence:.0%} interval {interval}",
        f"at repeated looks: {comparison.confidence:.0%} confidence sequence {sequence}",
        f"p of no difference: {comparison.p_value:.3g}",
        f"p of the sample ratio: {exposed:.3g} exposed, {joined:.3g} mature with an outcome",
        f"verdict: {comparison.verdict}",
    )
    imported = sum(phase.arms.imported for phase in comparison.phases)
    decision = comparison.decision
    return (
        *lines,
        *([comparison.withheld_because] if comparison.withheld_because else []),
        *(f"{phase.arms.name} is left out: {phase.left_out}" for phase in comparison.phases if phase.left_out),
        *([f"{imported:,} of the exposures are imported replays (`panthera expose`)"] if imported else []),
        *_further(comparison),
        *([f"decision: {decision.decision}: {decision.reason}"] if decision else []),
    )


def _further(comparison: Comparison) -> Iterator[str]:
    """Yield a line about the covariate, money, and each metric."""
    if comparison.covariate:
        yield covariate_words(comparison.covariate)
    if comparison.money:
        yield _money_words(comparison.money, comparison.confidence)
    yield from map(_metric_words, comparison.metrics)


def headline(comparison: Comparison) -> str:
    """Return the decision in a few words; without terms for a decision the verdict."""
    return comparison.decision.decision if comparison.decision else comparison.verdict


def reasons(comparison: Comparison) -> Iterator[str]:
    """Yield the sentences that explain the headline: the decisive one first."""
    if comparison.decision:
        yield comparison.decision.reason
    elif comparison.withheld_because:
        yield comparison.withheld_because
    if not math.isnan(comparison.difference):
        yield (
            f"the mean outcome is {comparison.champion_rate:.4f} for the champion and {comparison.challenger_rate:.4f} for the "
            f"challenger, a difference of {comparison.difference:+.4f}"
        )
    yield from _further(comparison)


def covariate_words(use: CovariateUse) -> str:
    """Return what the covariate did to the difference, or why it is not used."""
    if use.not_used_because:
        return f"the covariate {use.covariate} is not used: {use.not_used_because}"
    return (
        f"adjusted by the covariate {use.covariate} (CUPED), known for {use.known:.0%}: the interval is {use.narrowed_by:.2f} "
        f"as wide, as a correlation of {use.correlation:.2f} predicts; without it the difference is {use.unadjusted:+.4f}"
    )


def _money_words(money: MoneyResult, confidence: float) -> str:
    unknown = f"; the amounts of {money.unknown:,} units are not known" if money.unknown else ""
    if math.isnan(money.difference):
        return f"money: too few units with an outcome and known amounts{unknown}"
    unit = f" {money.currency}" if money.currency else ""
    return (
        f"money of a unit: {money.difference:+,.4f}{unit} ({money.champion:,.4f} to {money.challenger:,.4f}), {confidence:.0%} "
        f"interval [{money.ci_lower:+,.4f}, {money.ci_upper:+,.4f}], at repeated looks [{money.sequence_lower:+,.4f}, "
        f"{money.sequence_upper:+,.4f}]{unknown}"
    )


def _metric_words(metric: MetricResult) -> str:
    sequence = f"confidence sequence [{metric.sequence_lower:+.4f}, {metric.sequence_upper:+.4f}]"
    asked = f"margin {metric.margin:g}" if metric.is_guardrail else f"p {metric.p_value:.3g} after Holm's correction"
    kind = "guardrail" if metric.is_guardrail else "secondary metric"
    unknown = f"; {metric.unknown:,} units have no value" if metric.unknown else ""
    return f"{kind} {metric.name}: {metric.verdict}: {metric.difference:+.4f}, {sequence}, {asked}{unknown}"
