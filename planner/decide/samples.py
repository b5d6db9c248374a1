"""Which rows to fit on and to check on: growing samples, folds of a random split, and earlier periods of one in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.plan.training_set import TemporalSplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from core.plan.training_set import Split

    Indices = NDArray[np.int64]

#: The most rows that a learner is fitted on, and checked on.
MOST_ROWS = 20_000
SIZES = 5
#: The least sample is this part of the largest, unless it would be smaller than this number of rows.
_SMALLEST_PART, SMALLEST = 1 / 16, 50
_MOST_FOLDS, _EARLIER_PERIODS = 3, 3


@dataclass(frozen=True)
class Sample:
    """The indices of the rows to fit on, in the order in which samples take them, and of those to check on."""

    fitted: Indices
    checked: Indices


def largest_size(several: Sequence[Sample]) -> int:
    """Return the number of rows that all samples have to fit on."""
    return min(len(sample.fitted) for sample in several)


def sizes(most: int) -> list[int]:
    """Return the sizes of growing samples up to `most` rows, ascending."""
    least = min(max(round(most * _SMALLEST_PART), SMALLEST), most)
    return sorted({round(size) for size in np.geomspace(least, most, SIZES)})


def by_entity(rows: Indices, entity: Indices, seed: int) -> Indices:
    """Return `rows` ordered entity by entity, at random, and at most `MOST_ROWS` of them."""
    rank = np.random.default_rng(seed).permutation(int(entity.max()) + 1)
    return rows[np.argsort(rank[entity[rows]], kind="stable")][:MOST_ROWS]


def samples(split: Split, is_training: NDArray[np.bool_], entity: Indices, seed: int) -> list[Sample]:
    """Return what to fit and to check on: with a split in time its own two parts, else folds of entities over both parts."""
    if isinstance(split, TemporalSplit):
        parts = [(is_training, ~is_training)]
    else:
        folds = split.folds - 1
        fold = np.random.default_rng(seed).permutation(int(entity.max()) + 1)[entity] % folds
        parts = [(fold != number, fold == number) for number in range(min(folds, _MOST_FOLDS))]
    return [_sample(fitted, checked, entity, seed) for fitted, checked in parts]


def _sample(fitted: NDArray[np.bool_], checked: NDArray[np.bool_], entity: Indices, seed: int) -> Sample:
    both = (by_entity(np.flatnonzero(chosen), entity, seed) for chosen in (fitted, checked))
    return Sample(*both)


def earlier_periods(split: TemporalSplit, as_of: Indices, entity: Indices, seed: int) -> Iterator[Sample]:
    """Yield periods as long as the validation part before it, the earliest first, with the rows that could be fitted on then.

    `as_of` has each row's instant in microseconds since 1970.
    """
    begin, width, gap = (
        round(1_000_000 * seconds)
        for seconds in (
            split.validation_from.timestamp(),
            (split.test_from - split.validation_from).total_seconds(),
            split.gap.total_seconds(),
        )
    )
    for number in range(_EARLIER_PERIODS, 0, -1):
        cut = begin - number * width
        sample = _sample(as_of + gap <= cut, (as_of >= cut) & (as_of < cut + width), entity, seed)
        if min(len(sample.fitted), len(sample.checked)) >= SMALLEST:
            yield sample
