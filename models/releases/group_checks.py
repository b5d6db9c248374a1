"""Checks of the gate by group: no part becomes worse, and decision rates stay similar between parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.measures.fairness import fairness
from models.measures.groups import filter_rows
from models.releases.checks import Check, finite_or_none, gain_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.plan.evaluate import Metric
    from models.measures.groups import Grouping
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed
    from models.releases.checks import Gain


def no_part_worse(
    metric: Metric,
    margin: float,
    challenger: Observed,
    champion: Observed,
    groups: Sequence[Grouping],
    resampling: Resampling,
) -> Check:
    """Return the check that no part of the groups has a significant loss of more than `margin` in a metric.

    Non-inferiority cannot be shown on small parts. A part therefore fails only if its whole interval lies below minus the
    margin. The intervals are simultaneous over all parts (Bonferroni). Parts with fewer than 30 entities, or with an undefined
    metric, are skipped.
    """
    name = f"no part loses {metric}"
    simultaneous = replace(
        resampling, confidence=1 - (1 - resampling.confidence) / max(sum(len(one.parts) for one in groups), 1)
    )
    gains = [gain for group in groups for gain in _part_gains(metric, challenger, champion, group, simultaneous)]
    if not gains:
        return Check(
            name, passed=True, failed=False, found="no part has enough entities", challenger=None, limit=-margin
        )
    part, worst = min(gains, key=lambda one: one[1].upper)
    failed = worst.upper < -margin
    return Check(
        name,
        passed=not failed,
        failed=failed,
        found=(
            f"of {len(gains)} parts {part} is worst: {worst.challenger:.4g} against {worst.champion:.4g}, better by "
            f"{worst.gain:+.4g} ({worst.lower:+.4g} to {worst.upper:+.4g}), required: upper bound at least {-margin:+.4g}"
        ),
        challenger=finite_or_none(worst.challenger),
        champion=finite_or_none(worst.champion),
        gain=finite_or_none(worst.gain),
        lower=finite_or_none(worst.lower),
        upper=finite_or_none(worst.upper),
        limit=-margin,
    )


def _part_gains(
    metric: Metric, challenger: Observed, champion: Observed, group: Grouping, resampling: Resampling
) -> Iterator[tuple[str, Gain]]:
    for index, part in enumerate(group.parts):
        one, two = (filter_rows(rows, group.part_index == index) for rows in (challenger, champion))
        gain = gain_of(metric, one, two, resampling)
        if np.isfinite([gain.lower, gain.upper]).all():
            yield f"{group.name}: {part}", gain


def gap_within(
    rate: str, most: float, challenger: Observed, champion: Observed, group: Grouping, resampling: Resampling
) -> Check:
    """Return the check that a rate of decisions differs by at most `most` between the parts of a group.

    It fails if the whole interval of the gap is above `most`. If only the value is above, it neither passes nor fails.
    """
    gap, before = (fairness(rows, group, resampling).gaps[rate] for rows in (challenger, champion))
    known = np.isfinite([gap.lower, gap.upper]).all()
    interval = f"{gap.lower:.4g} to {gap.upper:.4g}" if known else "too few entities for an interval"
    return Check(
        f"gap of {rate} in {group.name}",
        passed=bool(gap.value <= most),
        failed=bool(gap.value > most and gap.lower > most),
        found=f"{gap.value:.4g} ({interval}) against {before.value:.4g}, at most {most:g} required",
        challenger=finite_or_none(gap.value),
        champion=finite_or_none(before.value),
        lower=finite_or_none(gap.lower),
        upper=finite_or_none(gap.upper),
        limit=most,
    )
