"""Whether decisions fall alike on the parts of a group: selection rates, and errors, with intervals by entity.

The rates are fairlearn's. Its own bootstrap draws rows, which would make every interval too narrow where an entity has
several, so the intervals come from `models.measures.intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """How one part of a group is decided on.

    Attributes
    ----------
    rates : by name: the share decided as 1 of all its rows, of those with label 1, and of those with label 0.
    from_reference : each rate less that of the reference part; None for the reference part itself.

    """

    part: str
    rows: int
    entities: int
    rates: dict[str, Estimate]
    from_reference: dict[str, Estimate] | None


@dataclass(frozen=True)
class Fairness:
    """How the decisions of one model fall on the parts of one group.

    Attributes
    ----------
    reference : the part with most entities, with which the others are compared.
    gaps : of each rate, the largest less the smallest over the parts that have it. A gap is above 0 by chance alone, so its
        interval is made of those of the differences between two parts, together as sure as the confidence says
        (Bonferroni): the gap is at least the largest difference that is sure, and at most the largest that is possible.

    """

    group: str
    reference: str
    parts: tuple[PartRates, ...]
    gaps: dict[str, Estimate]


def fairness(rows: Observed, group: Grouping, resampling: Resampling) -> Fairness:
    """Compare the parts of `group`; a rate that a part does not define is NaN and takes no part in a gap."""
    statistics = {(part, rate): _rate(rows, group.place == place, rate) for place, part, rate in _each(group)}
    points = _points(rows, group)
    drawn = replicates({f"{part} {rate}": of for (part, rate), of in statistics.items()}, rows.entities, resampling)
    by_key = {key: drawn[f"{key[0]} {key[1]}"] for key in statistics}
    sizes = {part: len(np.unique(rows.entity[group.place == place])) for place, part in enumerate(group.parts)}
    reference = max(group.parts, key=lambda part: sizes[part])

    def estimated(part: str, rate: str) -> Estimate:
        bounds = interval(points[part, rate], by_key[part, rate], sizes[part], resampling.confidence)
        return Estimate(points[part, rate], *bounds)

    def compared(part: str, rate: str) -> Estimate:
        value = points[part, rate] - points[reference, rate]
        apart = by_key[part, rate] - by_key[reference, rate]
        return Estimate(value, *interval(value, apart, min(sizes[part], sizes[reference]), resampling.confidence))

    parts = tuple(
        PartRates(
            part=part,
            rows=int((group.place == place).sum()),
            entities=sizes[part],
            rates={rate: estimated(part, rate) for rate in RATES},
            from_reference=None if part == reference else {rate: compared(part, rate) for rate in RATES},
        )
        for place, part in enumerate(group.parts)
    )
    smallest = min(sizes.values())
    gaps = {rate: _gap(rate, group.parts, points, by_key, smallest, resampling) for rate in RATES}
    return Fairness(group.name, reference, parts, gaps)


def _each(group: Grouping) -> list[tuple[int, str, str]]:
    return [(place, part, rate) for place, part in enumerate(group.parts) for rate in RATES]


def _rate(rows: Observed, inside: NDArray[np.bool_], rate: str) -> Statistic:
    asked = {SELECTION: inside, TRUE_POSITIVE: inside & (rows.label == 1), FALSE_POSITIVE: inside & (rows.label == 0)}
    of = asked[rate]
    return additive(rows, [of & (rows.decided == 1), of], lambda chosen, count: chosen / count)


def _points(rows: Observed, group: Grouping) -> dict[tuple[str, str], float]:
    """Take the rates of the rows themselves from fairlearn, which gives 0 to a rate of no rows; here it is NaN."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    measures = {SELECTION: selection_rate, TRUE_POSITIVE: true_positive_rate, FALSE_POSITIVE: false_positive_rate}
    frame = MetricFrame(
        metrics=measures, y_true=rows.label, y_pred=rows.decided, sensitive_features={group.name: group.place}
    )
    found = {}
    for place, part, rate in _each(group):
        label = rows.label[group.place == place]
        asked = {SELECTION: len(label), TRUE_POSITIVE: (label == 1).sum(), FALSE_POSITIVE: (label == 0).sum()}[rate]
        found[part, rate] = float(frame.by_group.loc[place, rate]) if asked else np.nan
    return found


def _gap(
    rate: str,
    parts: tuple[str, ...],
    points: Mapping[tuple[str, str], float],
    drawn: Mapping[tuple[str, str], NDArray[np.float64]],
    smallest: int,
    resampling: Resampling,
) -> Estimate:
    having = [part for part in parts if np.isfinite(points[part, rate])]
    pairs = list(combinations(having, 2))
    if not pairs:
        return Estimate(np.nan, np.nan, np.nan)
    sure = 1 - (1 - resampling.confidence) / len(pairs)
    lowest, highest, value = [], [], 0.0
    for one, other in pairs:
        apart = points[one, rate] - points[other, rate]
        lower, upper = interval(apart, drawn[one, rate] - drawn[other, rate], smallest, sure)
        value = max(value, abs(apart))
        lowest.append(np.maximum(np.maximum(lower, -upper), 0.0))
        highest.append(np.maximum(-lower, upper))
    return Estimate(value, float(np.max(lowest)), float(np.max(highest)))
