"""Parts of the rows: the groups that a plan names, and the slices that are found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from models.measures.intervals import estimates
from models.measures.metrics import numbered, statistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.plan.evaluate import Evaluate, Group, Metric
    from models.measures.intervals import Estimate, Resampling
    from models.measures.metrics import Observed

MISSING = "missing"


@dataclass(frozen=True)
class Grouping:
    """A group of the plan over some rows: the names of its parts, and the part of each row by its place."""

    name: str
    parts: tuple[str, ...]
    place: NDArray[np.int64]


@dataclass(frozen=True)
class PartResult:
    """One part of a group on the test rows.

    Attributes
    ----------
    rows, entities : how many.
    label_mean, score_mean : what happened there, and what was said; for several classes NaN.
    measured : each metric that the part defines; with fewer than 30 entities without an interval.

    """

    group: str
    part: str
    rows: int
    entities: int
    label_mean: float
    score_mean: float
    measured: dict[str, Estimate]


def grouping(name: str, group: Group, column: pa.ChunkedArray) -> Grouping:
    """Part rows by the values of `column`, those without a value in a part of their own; parts that are empty are left out.

    A number is parted at the group's edges, each of which belongs to the part above it.
    """
    values = column.to_pylist()
    if not group.edges:
        named = [MISSING if value is None else str(value) for value in values]
        return _numbered(name, sorted({*named} - {MISSING}), named)
    edges = [f"{edge:g}" for edge in group.edges]
    bands = [f"below {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges))]
    bands.append(f"from {edges[-1]}")
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    place = np.searchsorted(np.asarray(group.edges), numbers, side="right")
    named = [MISSING if missing else bands[band] for missing, band in zip(np.isnan(numbers), place, strict=True)]
    return _numbered(name, [band for band in bands if band in set(named)], named)


def groupings(section: Evaluate, rows: pa.Table) -> list[Grouping]:
    """Part the rows of a training set by all groups of the plan."""
    return [
        grouping(name, group, rows.column(group.feature.replace(".", "__"))) for name, group in section.groups.items()
    ]


def _numbered(name: str, parts: Sequence[str], named: Sequence[str]) -> Grouping:
    every = [*parts, *([MISSING] if MISSING in named else [])]
    places = {part: place for place, part in enumerate(every)}
    return Grouping(name, tuple(every), np.array([places[part] for part in named], dtype=np.int64))


def select(rows: Observed, chosen: NDArray[np.bool_]) -> Observed:
    """Choose rows; their entities are numbered anew."""
    return replace(rows, label=rows.label[chosen], score=rows.score[chosen], entity=numbered(rows.entity[chosen]))


def part_result(rows: Observed, group: str, part: str, metrics: Sequence[Metric], resampling: Resampling) -> PartResult:
    """Measure the rows of one part."""
    found = estimates({metric: statistic(metric, rows) for metric in metrics}, rows.entities, resampling)
    plain = rows.problem != "multiclass" and len(rows.label) > 0
    return PartResult(
        group=group,
        part=part,
        rows=len(rows.label),
        entities=rows.entities,
        label_mean=float(rows.label.mean()) if plain else np.nan,
        score_mean=float(rows.score.mean()) if plain else np.nan,
        measured={metric: estimate for metric, estimate in found.items() if np.isfinite(estimate.value)},
    )


def by_part(
    rows: Observed, groupings: Sequence[Grouping], metrics: Sequence[Metric], resampling: Resampling
) -> tuple[PartResult, ...]:
    """Measure every part of every group."""
    return tuple(
        part_result(select(rows, one.place == place), one.name, part, metrics, resampling)
        for one in groupings
        for place, part in enumerate(one.parts)
    )
