"""The gate: compare a new release with the champion on the same test rows, and decide whether it may replace it.

A metric check uses the gain of the new release, positive where it is better, and its paired bootstrap interval. The release
must win in one metric: the whole interval lies above the margin (superiority). It must not lose in others: the whole
interval lies above minus the margin (non-inferiority). An undefined interval passes no check. Further checks concern the
plan's groups, the fairness of decisions, the calibration, and the latency and size of the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from models.measures.fairness import SELECTION
from models.measures.intervals import estimate
from models.releases.checks import Check, finite_or_none, gain_of
from models.releases.group_checks import gap_within, no_part_worse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.contracts import Value
    from core.plan.evaluate import Metric
    from core.plan.register import Register
    from models.bundles.bundle import Bundle
    from models.measures.groups import Grouping
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed
    from models.releases.checks import Gain
    from models.releases.ledger import Outcome

_MICROSECONDS = 1e6
_BYTES_PER_MEGABYTE = 1e6


@dataclass(frozen=True)
class GroupRules:
    """The groups of the test rows, the names of those whose decisions are compared, and the largest acceptable gap."""

    groups: Sequence[Grouping] = ()
    fair: frozenset[str] = frozenset()
    acceptable_gap: float | None = None


@dataclass(frozen=True)
class Contender:
    """The gate's inputs about one release: its scores of the test rows, the microseconds per row, and the bundle's bytes."""

    rows: Observed
    row_us: float
    bundle_bytes: int


def gate_checks(
    section: Register,
    primary: Metric,
    challenger: Contender,
    champion: Contender,
    resampling: Resampling,
    rules: GroupRules | None = None,
) -> list[Check]:
    """Return the plan's checks of a challenger; without `rules` no group is checked.

    Raises
    ------
    ValueError
        If the two releases were not scored on the same rows.

    """
    win = section.win or primary
    gains = {
        metric: gain_of(metric, challenger.rows, champion.rows, resampling)
        for metric in dict.fromkeys([win, *section.not_lose])
    }
    return [
        _wins(win, gains[win], section.win_by),
        *(_does_not_lose(metric, gains[metric], margin) for metric, margin in section.not_lose.items()),
        *_calibration(section, challenger.rows, champion.rows, resampling),
        *_group_checks(section, challenger.rows, champion.rows, rules or GroupRules(), resampling),
        *_limits(section, challenger, champion),
    ]


def _calibration(
    section: Register, challenger: Observed, champion: Observed, resampling: Resampling
) -> Iterator[Check]:
    if section.max_ece is not None:
        found, before = (estimate("ece", rows, resampling) for rows in (challenger, champion))
        yield Check(
            "calibration error",
            passed=bool(found.value <= section.max_ece),
            failed=bool(found.lower > section.max_ece),
            found=f"{found.value:.4g} ({found.lower:.4g} to {found.upper:.4g}) against {before.value:.4g}, "
            f"at most {section.max_ece:g} required",
            challenger=finite_or_none(found.value),
            champion=finite_or_none(before.value),
            lower=finite_or_none(found.lower),
            upper=finite_or_none(found.upper),
            limit=section.max_ece,
        )


def _group_checks(
    section: Register, challenger: Observed, champion: Observed, rules: GroupRules, resampling: Resampling
) -> Iterator[Check]:
    for metric, margin in section.no_part_loses.items():
        yield no_part_worse(metric, margin, challenger, champion, rules.groups, resampling)
    if rules.acceptable_gap is not None:
        for group in rules.groups:
            if group.name in rules.fair:
                yield gap_within(SELECTION, rules.acceptable_gap, challenger, champion, group, resampling)


def outcome_of(checks: Sequence[Check]) -> Outcome:
    """Return the outcome of the checks: `won` if all passed, `lost` if one failed, otherwise `undecided`."""
    if all(check.passed for check in checks):
        return "won"
    return "lost" if any(check.failed for check in checks) else "undecided"


def outcome_reason(checks: Sequence[Check]) -> str:
    """Return the decisive checks as text: those that failed, otherwise those that did not pass, otherwise the first."""
    decisive = (
        [check for check in checks if check.failed] or [check for check in checks if not check.passed] or checks[:1]
    )
    return "; ".join(f"{check.check}: {check.found}" for check in decisive)


def row_microseconds(bundle: Bundle, vectors: Sequence[Sequence[Value]]) -> float:
    """Return the median time in microseconds of scoring one of `vectors` alone."""
    durations = []
    for vector in vectors:
        began = perf_counter()
        bundle.score([vector])
        durations.append(perf_counter() - began)
    return median(durations) * _MICROSECONDS


def _wins(metric: Metric, gain: Gain, margin: float) -> Check:
    # These comparisons are false for NaN, so that an undefined bound neither passes nor fails.
    return _gain_check(f"wins {metric}", gain, margin, passed=gain.lower > margin, failed=gain.upper < 0)


def _does_not_lose(metric: Metric, gain: Gain, margin: float) -> Check:
    return _gain_check(
        f"does not lose {metric}", gain, -margin, passed=gain.lower >= -margin, failed=gain.upper < -margin
    )


def _gain_check(check: str, gain: Gain, limit: float, *, passed: bool, failed: bool) -> Check:
    known = np.isfinite([gain.lower, gain.upper]).all()
    interval = f"{gain.lower:+.4g} to {gain.upper:+.4g}" if known else "too few entities for an interval"
    return Check(
        check,
        passed,
        failed,
        f"{gain.challenger:.4g} against {gain.champion:.4g}, better by {gain.gain:+.4g} ({interval}), "
        f"required above {limit:+.4g}",
        challenger=finite_or_none(gain.challenger),
        champion=finite_or_none(gain.champion),
        gain=finite_or_none(gain.gain),
        lower=finite_or_none(gain.lower),
        upper=finite_or_none(gain.upper),
        limit=limit,
    )


def _limits(section: Register, challenger: Contender, champion: Contender) -> list[Check]:
    size, champion_size = (each.bundle_bytes / _BYTES_PER_MEGABYTE for each in (challenger, champion))
    return [
        _limit("time of a row", "µs", challenger.row_us, champion.row_us, section.max_row_us),
        _limit("bundle size", "MB", size, champion_size, section.max_bundle_mb),
    ]


def _limit(check: str, unit: str, challenger: float, champion: float, most: float | None) -> Check:
    passed = most is None or challenger <= most
    words = f"{challenger:.3g} {unit} against {champion:.3g} {unit}" + (
        "" if most is None else f", at most {most:g} {unit} required"
    )
    return Check(check, passed, not passed, words, challenger, champion, limit=most)
