"""The gate: whether a new release may take the champion's place, by what both say about the same later rows.

A check of a metric looks at the gain: how much better the new release is, positive where it is better, with its interval
from draws of entities that both are measured under. It must win in one metric: the whole interval beyond the margin. It
must not lose in others: no part of the interval beyond the margin on the other side (non-inferiority). An interval that
the rows do not give passes nothing. Beside the rows as a whole it looks at the plan's groups, at whether decisions fall
alike, at the probabilities themselves, and at the time and size of a release.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from models.measures.fairness import SELECTION
from models.measures.intervals import estimate
from models.releases.checks import Check, compared, number
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
_BYTES_OF_A_MEGABYTE = 1e6


@dataclass(frozen=True)
class Sides:
    """The groups of the test rows from which a challenger is looked at, and the gap in decisions that the plan accepts."""

    groups: Sequence[Grouping] = ()
    fair: frozenset[str] = frozenset()
    acceptable_gap: float | None = None


@dataclass(frozen=True)
class Contender:
    """A release as the gate sees it: its scores beside the test rows, the time of one row, and its size."""

    rows: Observed
    row_us: float
    bundle_bytes: int


def judge(
    section: Register,
    primary: Metric,
    challenger: Contender,
    champion: Contender,
    resampling: Resampling,
    sides: Sides | None = None,
) -> list[Check]:
    """Check what the plan asks of a challenger; without `sides` the rows are looked at as a whole.

    Raises
    ------
    ValueError
        If the two were not scored on the same rows.

    """
    win = section.win or primary
    gains = {
        metric: compared(metric, challenger.rows, champion.rows, resampling)
        for metric in dict.fromkeys([win, *section.not_lose])
    }
    return [
        _wins(win, gains[win], section.win_by),
        *(_does_not_lose(metric, gains[metric], margin) for metric, margin in section.not_lose.items()),
        *_calibration(section, challenger.rows, champion.rows, resampling),
        *_sides(section, challenger.rows, champion.rows, sides or Sides(), resampling),
        *_limits(section, challenger, champion),
    ]


def _calibration(section: Register, one: Observed, other: Observed, resampling: Resampling) -> Iterator[Check]:
    if section.max_ece is not None:
        found, before = (estimate("ece", rows, resampling) for rows in (one, other))
        yield Check(
            "calibration error",
            passed=bool(found.value <= section.max_ece),
            failed=bool(found.lower > section.max_ece),
            found=f"{found.value:.4g} ({found.lower:.4g} to {found.upper:.4g}) against {before.value:.4g}, "
            f"at most {section.max_ece:g} wanted",
            challenger=number(found.value),
            champion=number(before.value),
            lower=number(found.lower),
            upper=number(found.upper),
            limit=section.max_ece,
        )


def _sides(section: Register, one: Observed, other: Observed, sides: Sides, resampling: Resampling) -> Iterator[Check]:
    for metric, margin in section.no_part_loses.items():
        yield no_part_worse(metric, margin, one, other, sides.groups, resampling)
    if sides.acceptable_gap is not None:
        for group in sides.groups:
            if group.name in sides.fair:
                yield gap_within(SELECTION, sides.acceptable_gap, one, other, group, resampling)


def outcome_of(checks: Sequence[Check]) -> Outcome:
    """Sum the checks up: `won` if all passed, `lost` if one surely failed, else `undecided`."""
    if all(check.passed for check in checks):
        return "won"
    return "lost" if any(check.failed for check in checks) else "undecided"


def reason_of(checks: Sequence[Check]) -> str:
    """Say why the outcome is what it is."""
    decisive = (
        [check for check in checks if check.failed] or [check for check in checks if not check.passed] or checks[:1]
    )
    return "; ".join(f"{check.check}: {check.found}" for check in decisive)


def row_microseconds(bundle: Bundle, vectors: Sequence[Sequence[Value]]) -> float:
    """Measure how long a bundle takes for one row: the median over `vectors`, each scored alone."""
    taken = []
    for vector in vectors:
        began = perf_counter()
        bundle.score([vector])
        taken.append(perf_counter() - began)
    return median(taken) * _MICROSECONDS


def _wins(metric: Metric, gain: Gain, margin: float) -> Check:
    # Written so that a bound of NaN neither passes nor fails, here as below.
    return _of_gain(f"wins {metric}", gain, margin, passed=gain.lower > margin, failed=gain.upper < 0)


def _does_not_lose(metric: Metric, gain: Gain, margin: float) -> Check:
    return _of_gain(f"does not lose {metric}", gain, -margin, passed=gain.lower >= -margin, failed=gain.upper < -margin)


def _of_gain(check: str, gain: Gain, limit: float, *, passed: bool, failed: bool) -> Check:
    known = np.isfinite([gain.lower, gain.upper]).all()
    interval = f"{gain.lower:+.4g} to {gain.upper:+.4g}" if known else "too few entities for an interval"
    return Check(
        check,
        passed,
        failed,
        f"{gain.challenger:.4g} against {gain.champion:.4g}, better by {gain.gain:+.4g} ({interval}), "
        f"wanted above {limit:+.4g}",
        challenger=number(gain.challenger),
        champion=number(gain.champion),
        gain=number(gain.gain),
        lower=number(gain.lower),
        upper=number(gain.upper),
        limit=limit,
    )


def _limits(section: Register, challenger: Contender, champion: Contender) -> list[Check]:
    megabytes, others = (each.bundle_bytes / _BYTES_OF_A_MEGABYTE for each in (challenger, champion))
    return [
        _limit("time of a row", "µs", challenger.row_us, champion.row_us, section.max_row_us),
        _limit("bundle size", "MB", megabytes, others, section.max_bundle_mb),
    ]


def _limit(check: str, unit: str, one: float, other: float, most: float | None) -> Check:
    passed = most is None or one <= most
    words = f"{one:.3g} {unit} against {other:.3g} {unit}" + (
        "" if most is None else f", at most {most:g} {unit} wanted"
    )
    return Check(check, passed, not passed, words, one, other, limit=most)
