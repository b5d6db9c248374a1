"""Compare decisions between the parts of a group: selection and error rates, with intervals by entity.

The rates are fairlearn's. Its bootstrap resamples rows, so its intervals are too narrow where an entity has several rows.
The intervals therefore come from `models.measures.intervals`, which resamples entities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from models.measures.intervals import Estimate, interval, replicates
from models.measures.metrics import additive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.measures.groups import Grouping
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed, Statistic

SELECTION, TRUE_POSITIVE, FALSE_POSITIVE = "selection_rate", "true_positive_rate", "false_positive_rate"
RATES = (SELECTION, TRUE_POSITIVE, FALSE_POSITIVE)


@dataclass(frozen=True)
class PartRates:
    """Rates of decisions in one part of a group.

    Attributes
    ----------
    rates : by name, the share decided as 1 among all rows, among rows with label 1, and among rows with label 0.
    from_reference : each rate minus that of the reference part; None for the reference part itself.

    """

    part: str
    rows: int
    entities: int
    rates: dict[str, Estimate]
    from_reference: dict[str, Estimate] | None


@dataclass(frozen=True)
class GroupFairness:
    """The decision rates of one model in all parts of one group.

    Attributes
    ----------
    reference : the part with most entities; the others are compared with it.
    gaps : for each rate, the largest minus the smallest over the parts in which it is defined. Sampling noise alone makes
        a gap positive, so its interval combines the simultaneous intervals of all pairwise differences (Bonferroni): the
        lower bound is the largest of their lower bounds (at least 0), the upper bound the largest of their upper bounds.

    """

    group: str
    reference: str
    parts: tuple[PartRates, ...]
    gaps: dict[str, Estimate]


def fairness(rows: Observed, group: Grouping, resampling: Resampling) -> GroupFairness:
    """Return the rates of each part of `group`; a rate without rows is NaN and does not count towards a gap.

    Rates are shares of rows: weights of rows do not count.
    """
    rows = replace(rows, weight=None)
    statistics = {(part, rate): _rate(rows, group.part_index == index, rate) for index, part, rate in _rates_of(group)}
    points = _points(rows, group)
    named = {f"{part} {rate}": statistic for (part, rate), statistic in statistics.items()}
    drawn = replicates(named, rows.entities, resampling)
    by_key = {key: drawn[f"{key[0]} {key[1]}"] for key in statistics}
    sizes = {part: len(np.unique(rows.entity[group.part_index == index])) for index, part in enumerate(group.parts)}
    reference = max(group.parts, key=lambda part: sizes[part])

    def estimated(part: str, rate: str) -> Estimate:
        bounds = interval(points[part, rate], by_key[part, rate], sizes[part], resampling.confidence)
        return Estimate(points[part, rate], *bounds)

    def compared(part: str, rate: str) -> Estimate:
        value = points[part, rate] - points[reference, rate]
        differences = by_key[part, rate] - by_key[reference, rate]
        return Estimate(value, *interval(value, differences, min(sizes[part], sizes[reference]), resampling.confidence))

    parts = tuple(
        PartRates(
            part=part,
            rows=int((group.part_index == index).sum()),
            entities=sizes[part],
            rates={rate: estimated(part, rate) for rate in RATES},
            from_reference=None if part == reference else {rate: compared(part, rate) for rate in RATES},
        )
        for index, part in enumerate(group.parts)
    )
    smallest = min(sizes.values())
    gaps = {rate: _gap(rate, group.parts, points, by_key, smallest, resampling) for rate in RATES}
    return GroupFairness(group.name, reference, parts, gaps)


def _rates_of(group: Grouping) -> list[tuple[int, str, str]]:
    return [(index, part, rate) for index, part in enumerate(group.parts) for rate in RATES]


def _rate(rows: Observed, inside: NDArray[np.bool_], rate: str) -> Statistic:
    denominators = {
        SELECTION: inside,
        TRUE_POSITIVE: inside & (rows.label == 1),
        FALSE_POSITIVE: inside & (rows.label == 0),
    }
    counted = denominators[rate]
    return additive(rows, [counted & (rows.decided == 1), counted], lambda selected, count: selected / count)


def _points(rows: Observed, group: Grouping) -> dict[tuple[str, str], float]:
    """Return fairlearn's rates by (part, rate); a rate without rows, for which fairlearn returns 0, is NaN."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    measures = {SELECTION: selection_rate, TRUE_POSITIVE: true_positive_rate, FALSE_POSITIVE: false_positive_rate}
    frame = MetricFrame(
        metrics=measures, y_true=rows.label, y_pred=rows.decided, sensitive_features={group.name: group.part_index}
    )
    points = {}
    for index, part, rate in _rates_of(group):
        label = rows.label[group.part_index == index]
        count = {SELECTION: len(label), TRUE_POSITIVE: (label == 1).sum(), FALSE_POSITIVE: (label == 0).sum()}[rate]
        points[part, rate] = float(frame.by_group.loc[index, rate]) if count else np.nan
    return points


def _gap(
    rate: str,
    parts: tuple[str, ...],
    points: Mapping[tuple[str, str], float],
    drawn: Mapping[tuple[str, str], NDArray[np.float64]],
    smallest: int,
    resampling: Resampling,
) -> Estimate:
    pairs = list(combinations([part for part in parts if np.isfinite(points[part, rate])], 2))
    if not pairs:
        return Estimate(np.nan, np.nan, np.nan)
    confidence = 1 - (1 - resampling.confidence) / len(pairs)
    lower_bounds, upper_bounds, value = [], [], 0.0
    for first, second in pairs:
        difference = points[first, rate] - points[second, rate]
        lower, upper = interval(difference, drawn[first, rate] - drawn[second, rate], smallest, confidence)
        value = max(value, abs(difference))
        lower_bounds.append(np.maximum(np.maximum(lower, -upper), 0.0))
        upper_bounds.append(np.maximum(-lower, upper))
    return Estimate(value, float(np.max(lower_bounds)), float(np.max(upper_bounds)))
