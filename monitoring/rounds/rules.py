"""The rules of a round: from what was measured to one decision with its reasons. Pure: no database, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from core.experiment.means import MINIMUM_UNITS
from core.experiment.phases import CONTROL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from core.experiment.cohorts import ArmCounts, Comparison
    from core.plan.plan import Decide
    from monitoring.drift import ColumnDrift, DriftResult
    from monitoring.parity import ParityResult
    from monitoring.performance import PerformanceResult

_SCORE = "score"
_MOST_NAMED = 5


class Decision(StrEnum):
    """What a round decides, in the order of precedence from last to first."""

    HOLD = "hold"
    RETRAIN = "retrain"
    RETIRE = "retire"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    BLOCK = "block"


@dataclass(frozen=True)
class Measured:
    """What a round measured.

    Attributes
    ----------
    champion, challenger : ids of the releases in these roles.
    predecessor : the champion that the champion replaced; None if it is the first.
    challenger_was_champion : whether the challenger is an earlier champion.
    gate : the gate's last verdict on the challenger; None without one.
    drift, parity, cohorts, performance : the results; None if one could not be measured.
    problems : why something could not be measured, by the name of the check.
    weights : share of each feature in the model's contributions, by column; empty if nothing drifted.
    is_silent : whether the champion served nothing in the window, but did before.

    """

    champion: str
    challenger: str | None
    predecessor: str | None
    challenger_was_champion: bool
    gate: str | None
    drift: DriftResult | None
    parity: ParityResult | None
    cohorts: Comparison | None
    problems: Mapping[str, str]
    weights: Mapping[str, float]
    is_silent: bool = False
    performance: PerformanceResult | None = None


@dataclass(frozen=True)
class PastRound:
    """An earlier round of the same model, as far as the rules need it."""

    champion: str
    as_of: datetime
    decision: Decision
    has_drift: bool


@dataclass(frozen=True)
class Decided:
    """The decision of a round.

    Attributes
    ----------
    reasons : whole sentences, the decisive ones first.
    target : the release to promote, to retire or to roll back to.
    has_drift : whether the score or many weighted features drifted in the window.

    """

    decision: Decision
    reasons: tuple[str, ...]
    target: str | None = None
    has_drift: bool = False


def decide(measured: Measured, past: Sequence[PastRound], rules: Decide, as_of: datetime) -> Decided:
    """Return the decision of a round that ends at `as_of`; `past` has earlier rounds, the latest first.

    Broken data blocks every other decision, since a model that is trained or judged on it would be wrong. Then come a
    rollback, a promotion, the end of a challenger that lost, and a retraining.
    """
    broken, drift = tuple(_broken(measured, rules)), tuple(_drifted(measured, rules))
    notes = tuple(_notes(measured, rules))
    if broken:
        return Decided(Decision.BLOCK, (*broken, *drift, *notes), has_drift=bool(drift))
    proposals = (
        *_by_outcomes(measured, rules),
        *_by_performance(measured),
        *_by_drift(measured, drift, past, rules, as_of),
    )
    for decision, target, reasons in proposals:
        cooling = _cooling(decision, past, rules, as_of)
        if decision is Decision.HOLD or cooling:
            notes = (*reasons, *cooling, *notes)
        else:
            return Decided(decision, (*reasons, *notes), target, bool(drift))
    return Decided(Decision.HOLD, notes or ("nothing needs attention",), has_drift=bool(drift))


def _notes(measured: Measured, rules: Decide) -> Iterator[str]:
    """Yield a sentence for each check that could not be made."""
    for name, problem in measured.problems.items():
        yield f"{name} was not measured: {problem}"
    rows = max((column.rows_current for column in measured.drift.columns), default=0) if measured.drift else None
    if rows is not None and rows < rules.minimum_rows:
        yield f"drift and data quality were not judged: found {rows:,} predictions, expected at least {rules.minimum_rows:,}"


def _broken(measured: Measured, rules: Decide) -> Iterator[str]:
    """Yield a sentence for each sign of broken data."""
    if measured.is_silent:
        yield "the champion served no prediction in the window, though it did before: the feed of requests is broken"
    for column in _judged_columns(measured, rules):
        missing = column.missing_share_current - column.missing_share_reference
        if missing >= rules.broken_share:
            yield (
                f"{column.name} is missing in {column.missing_share_current:.1%} of the predictions, "
                f"{column.missing_share_reference:.1%} in training"
            )
        if column.other_share_current >= rules.broken_share:
            yield f"{column.name} has values unlike those of training in {column.other_share_current:.1%} of the predictions"
        if column.name != _SCORE and not column.expected and column.end_share_rise >= rules.jumped_share:
            yield (
                f"{column.name} left its range: {column.end_share_rise:.0%} more of its values than in training are at one "
                "end; look for a change of its unit, or declare it in monitor.expected_drift"
            )
    if measured.parity and measured.parity.defects:
        yield (
            f"{measured.parity.defects:,} values or scores of {measured.parity.predictions_checked:,} predictions differ from "
            "their recomputation; `panthera parity` shows them"
        )


def _judged_columns(measured: Measured, rules: Decide) -> list[ColumnDrift]:
    """Return the columns of a window with enough predictions."""
    columns = measured.drift.columns if measured.drift else ()
    return [column for column in columns if column.rows_current >= rules.minimum_rows]


def _drifted(measured: Measured, rules: Decide) -> Iterator[str]:
    """Yield a sentence for each reason why the inputs count as drifted."""
    alarms = [column for column in _judged_columns(measured, rules) if column.alarm]
    for column in alarms:
        if column.name == _SCORE:
            yield f"the score drifted: PSI {column.psi:.3f}, limit {column.limit:.3f}"
    features = [column.name for column in alarms if column.name != _SCORE]
    weight = sum(measured.weights.get(name, 0.0) for name in features)
    if features and weight >= rules.drifted_weight:
        yield f"{weight:.0%} of the model's weight is in drifted features: {_named(features)}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


_Proposal = tuple[Decision, str | None, tuple[str, ...]]


def _by_outcomes(measured: Measured, rules: Decide) -> Iterator[_Proposal]:
    """Yield what the outcomes speak for: a rollback, then a promotion, or the end of the challenger."""
    comparison = measured.cohorts
    if comparison is None:
        return
    worse = _worse_than_predecessor(measured, comparison, rules)
    if worse:
        yield Decision.ROLL_BACK, measured.predecessor, (worse,)
    decision = comparison.decision
    if decision is None:
        yield from _by_sequence(measured, comparison, rules)
    elif decision.decision == "ship the challenger":
        yield _for_challenger(measured, comparison, decision.reason)
    elif decision.decision == "keep the champion":
        yield _against_challenger(measured, comparison, decision.reason)
    else:
        yield Decision.HOLD, None, (f"the decision about the experiment is {decision.decision!r}: {decision.reason}",)


def _by_sequence(measured: Measured, comparison: Comparison, rules: Decide) -> Iterator[_Proposal]:
    """Yield what the confidence sequence speaks for, if it excludes 0."""
    if comparison.verdict not in {"challenger higher", "challenger lower"} or not _holds_at_all_looks(comparison):
        return
    shown = (
        f"the outcomes of {comparison.champion_rate:.4f} (champion) and {comparison.challenger_rate:.4f} (challenger) differ "
        f"by {comparison.difference:+.4f}, {comparison.confidence:.0%} confidence sequence "
        f"[{comparison.sequence_lower:+.4f}, {comparison.sequence_upper:+.4f}]"
    )
    if rules.better is None:
        yield Decision.HOLD, None, (f"{shown}; set monitor.decide.better to say which of them is better",)
    elif comparison.verdict != f"challenger {rules.better}":
        yield _against_challenger(measured, comparison, f"{shown}: the challenger is worse")
    else:
        yield _for_challenger(measured, comparison, shown)


def _for_challenger(measured: Measured, comparison: Comparison, shown: str) -> _Proposal:
    """Return what follows from a challenger that is better: a rollback to it, its promotion, or neither."""
    if faults := tuple(_faults(measured, comparison)):
        return Decision.HOLD, None, (f"{shown}: the challenger is better, but {'; '.join(faults)}",)
    if measured.challenger_was_champion:
        reason = f"{shown}: the champion is worse than {measured.challenger}, an earlier champion"
        return Decision.ROLL_BACK, measured.challenger, (reason,)
    return Decision.PROMOTE, measured.challenger, (f"{shown}: the challenger is better, and all checks pass",)


def _against_challenger(measured: Measured, comparison: Comparison, shown: str) -> _Proposal:
    """Return the end of a challenger that is not better, if it is the one that was compared."""
    if measured.challenger is None or not _compares_present_releases(measured, comparison):
        return Decision.HOLD, None, (shown,)
    return Decision.RETIRE, measured.challenger, (shown,)


def _holds_at_all_looks(comparison: Comparison) -> bool:
    """Return whether the confidence sequence excludes 0; every round is another look, and the interval holds for one."""
    return comparison.sequence_lower > 0 or comparison.sequence_upper < 0


def _faults(measured: Measured, comparison: Comparison) -> Iterator[str]:
    """Yield why the challenger may not become champion although its outcomes are better."""
    if not _compares_present_releases(measured, comparison):
        yield "the releases that were compared are not those that answer now"
    if measured.gate in {"lost", "not_comparable"}:
        yield f"the gate's verdict on {measured.challenger} is {measured.gate}"
    if measured.parity is None:
        yield "parity could not be checked"


def _compares_present_releases(measured: Measured, comparison: Comparison) -> bool:
    """Return whether the compared phase with the last exposure is of the releases that answer now."""
    last = max(
        (phase.arms for phase in comparison.phases if phase.left_out is None),
        key=lambda arms: (arms.last_exposed_at is not None, arms.last_exposed_at),
        default=None,
    )
    compared = (last.champion_releases, last.challenger_releases) if last else ((), ())
    return compared == ((measured.champion,), (measured.challenger,))


def _worse_than_predecessor(measured: Measured, comparison: Comparison, rules: Decide) -> str | None:
    """Compose a sentence if the champion's mean outcome is worse than its predecessor's by more than the guardrail.

    The two served at different times, so the difference may have other causes: the guardrail is a share of the
    predecessor's mean that the whole confidence interval must exceed.
    """
    if rules.better is None or measured.predecessor is None:
        return None
    now, before = (_served_by(comparison, release) for release in (measured.champion, measured.predecessor))
    if min(now.with_outcome, before.with_outcome) < MINIMUM_UNITS:
        return None
    sign = 1 if rules.better == "higher" else -1
    loss = sign * (before.rate - now.rate)
    margin = _margin(now, before, comparison.confidence)
    if not loss - margin > rules.guardrail * abs(before.rate):
        return None
    return (
        f"the mean outcome of the champion is {now.rate:.4f}, that of its predecessor {measured.predecessor} was "
        f"{before.rate:.4f}: worse by more than the guardrail of {rules.guardrail:.0%}"
    )


def _served_by(comparison: Comparison, release: str) -> ArmCounts:
    """Return the counts of the units for which `release` answered as champion."""
    from core.experiment.cohorts import added

    arms = (phase.arms for phase in comparison.phases)
    return added((each.champion for each in arms if each.champion_releases == (release,)), CONTROL)


def _margin(one: ArmCounts, other: ArmCounts, confidence: float) -> float:
    from scipy.stats import norm

    variance = one.variance / one.with_outcome + other.variance / other.with_outcome
    return float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)


def _by_performance(measured: Measured) -> Iterator[_Proposal]:
    """Yield a retraining if matured outcomes left what the scores promise; its CUSUM adds up the gaps of many cohorts."""
    if measured.performance and measured.performance.alarms:
        yield Decision.RETRAIN, None, (measured.performance.verdict,)


def _by_drift(
    measured: Measured, drift: tuple[str, ...], past: Sequence[PastRound], rules: Decide, as_of: datetime
) -> Iterator[_Proposal]:
    """Yield what a drift speaks for: a retraining if the rounds before saw it too."""
    if not drift:
        return
    first = _drift_since(measured.champion, past)
    if first and as_of - first >= rules.apart:
        yield (
            Decision.RETRAIN,
            None,
            (*drift, f"it is sustained: a round as of {first:%Y-%m-%d %H:%M} UTC saw a drift too"),
        )
    else:
        yield (
            Decision.HOLD,
            None,
            (*drift, f"it is not sustained yet: the next round after {rules.apart} decides"),
        )


def _drift_since(champion: str, past: Sequence[PastRound]) -> datetime | None:
    """Return the end of the first of the latest consecutive rounds of this champion that saw a drift."""
    first = None
    for round_ in past:
        if round_.champion != champion or not round_.has_drift:
            break
        first = round_.as_of
    return first


def _cooling(decision: Decision, past: Sequence[PastRound], rules: Decide, as_of: datetime) -> tuple[str, ...]:
    """Return a sentence if the decision was taken within the cooldown; broken data and rollbacks have none."""
    if decision not in {Decision.RETRAIN, Decision.PROMOTE}:
        return ()
    last = next((round_.as_of for round_ in past if round_.decision is decision), None)
    if last is None or as_of - last >= rules.cooldown:
        return ()
    return (f"{decision} was decided as of {last:%Y-%m-%d %H:%M} UTC, and monitor.decide.cooldown is {rules.cooldown}",)
