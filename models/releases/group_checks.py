"""What the gate asks of groups: that nobody is served worse than before, and that decisions fall alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.measures.fairness import fairness
from models.measures.groups import filter_rows
from models.releases.checks import Check, compared, number

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
    """Check that in no part of the groups a metric is surely worse by more than `margin`.

    In a small part nobody can show that nothing is lost, so a part stands against a release only where its whole interval
    lies beyond the margin; the more parts there are, the wider each interval is (Bonferroni). Parts with fewer than 30
    entities, and those that do not define the metric, are passed over.
    """
    name = f"no part loses {metric}"
    sure = replace(
        resampling, confidence=1 - (1 - resampling.confidence) / max(sum(len(one.parts) for one in groups), 1)
    )
    gains = [gain for group in groups for gain in _part_gains(metric, challenger, champion, group, sure)]
    if not gains:
        return Check(
            name, passed=True, failed=False, found="no part is large enough to say", challenger=None, limit=-margin
        )
    part, worst = min(gains, key=lambda one: one[1].upper)
    failed = worst.upper < -margin
    return Check(
        name,
        passed=not failed,
        failed=failed,
        found=(
            f"of {len(gains)} parts {part} does worst: {worst.challenger:.4g} against {worst.champion:.4g}, better by "
            f"{worst.gain:+.4g} ({worst.lower:+.4g} to {worst.upper:+.4g}), wanted not surely below {-margin:+.4g}"
        ),
        challenger=number(worst.challenger),
        champion=number(worst.champion),
        gain=number(worst.gain),
        lower=number(worst.lower),
        upper=number(worst.upper),
        limit=-margin,
    )


def _part_gains(
    metric: Metric, challenger: Observed, champion: Observed, group: Grouping, resampling: Resampling
) -> Iterator[tuple[str, Gain]]:
    for place, part in enumerate(group.parts):
        one, other = (filter_rows(rows, group.part_index == place) for rows in (challenger, champion))
        gain = compared(metric, one, other, resampling)
        if np.isfinite([gain.lower, gain.upper]).all():
            yield f"{group.name}: {part}", gain


def gap_within(
    rate: str, most: float, challenger: Observed, champion: Observed, group: Grouping, resampling: Resampling
) -> Check:
    """Check that a rate of decisions differs by no more than `most` between the parts of a group.

    It fails where the gap is surely larger; where only the number found is, it neither passes nor fails.
    """
    gap, before = (fairness(rows, group, resampling).gaps[rate] for rows in (challenger, champion))
    known = np.isfinite([gap.lower, gap.upper]).all()
    interval = f"{gap.lower:.4g} to {gap.upper:.4g}" if known else "too few entities for an interval"
    return Check(
        f"gap of {rate} in {group.name}",
        passed=bool(gap.value <= most),
        failed=bool(gap.value > most and gap.lower > most),
        found=f"{gap.value:.4g} ({interval}) against {before.value:.4g}, at most {most:g} wanted",
        challenger=number(gap.value),
        champion=number(before.value),
        lower=number(gap.lower),
        upper=number(gap.upper),
        limit=most,
    )
