"""Split rows into the parts of the plan's groups, and measure each part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from core.plan.section import column_of
from models.measures.intervals import estimates
from models.measures.metrics import entity_numbers, statistic

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
    """A group of the plan over some rows: the names of its parts, and each row's index into them, of shape (rows,)."""

    name: str
    parts: tuple[str, ...]
    part_index: NDArray[np.int64]


@dataclass(frozen=True)
class PartResult:
    """The metrics of one part of a group on the test rows.

    Attributes
    ----------
    rows, entities : their numbers.
    label_mean, score_mean : means over the part's rows; NaN for several classes.
    measured : each metric that is defined on the part; with fewer than 30 entities without an interval.

    """

    group: str
    part: str
    rows: int
    entities: int
    label_mean: float
    score_mean: float
    measured: dict[str, Estimate]


def grouping(name: str, group: Group, column: pa.ChunkedArray) -> Grouping:
    """Return the parts of rows by the values of `column`; missing values are a part, and empty parts are left out.

    Numbers are split at the group's edges. An edge belongs to the part above it.
    """
    values = column.to_pylist()
    if not group.edges:
        named = [MISSING if value is None else str(value) for value in values]
        return _numbered(name, sorted({*named} - {MISSING}), named)
    edges = [f"{edge:g}" for edge in group.edges]
    bands = [f"below {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges))]
    bands.append(f"from {edges[-1]}")
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    index = np.searchsorted(np.asarray(group.edges), numbers, side="right")
    named = [MISSING if missing else bands[band] for missing, band in zip(np.isnan(numbers), index, strict=True)]
    return _numbered(name, [band for band in bands if band in set(named)], named)


def groupings(section: Evaluate, rows: pa.Table) -> list[Grouping]:
    """Return the parts of a training set's rows for each group of the plan."""
    return [grouping(name, group, rows.column(column_of(group.feature))) for name, group in section.groups.items()]


def _numbered(name: str, parts: Sequence[str], named: Sequence[str]) -> Grouping:
    all_parts = [*parts, *([MISSING] if MISSING in named else [])]
    index = {part: position for position, part in enumerate(all_parts)}
    return Grouping(name, tuple(all_parts), np.array([index[part] for part in named], dtype=np.int64))


def filter_rows(rows: Observed, mask: NDArray[np.bool_]) -> Observed:
    """Return the rows of `mask`, with entity numbers from 0 without gaps."""
    return replace(
        rows,
        label=rows.label[mask],
        score=rows.score[mask],
        entity=entity_numbers(rows.entity[mask]),
        earned=(_masked(rows.earned[0], mask), _masked(rows.earned[1], mask)),
        weight=None if rows.weight is None else rows.weight[mask],
    )


def _masked(amount: float | NDArray[np.float64], mask: NDArray[np.bool_]) -> float | NDArray[np.float64]:
    return amount[mask] if isinstance(amount, np.ndarray) else amount


def part_result(rows: Observed, group: str, part: str, metrics: Sequence[Metric], resampling: Resampling) -> PartResult:
    """Return the metrics of the rows of one part, with intervals."""
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
    """Return the metrics of every part of every group."""
    return tuple(
        part_result(filter_rows(rows, group.part_index == index), group.name, part, metrics, resampling)
        for group in groupings
        for index, part in enumerate(group.parts)
    )
