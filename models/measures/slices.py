"""Find the slices with the highest loss: search on the validation rows, confirm on the test rows.

Every feature is cut into a few bins. A slice is a bin, or the intersection of two bins of different features. The search
tries thousands of slices, so the largest losses that it finds are partly noise. What is reported of a slice is therefore
measured on the test rows, and its p-value is corrected for the number of slices confirmed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from models.measures.metrics import equal_bins

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from models.measures.metrics import Observed

_BINS = 4
_MOST_LEVELS = 12
#: A slice is skipped if its Jaccard overlap with a better one exceeds this.
_MOST_OVERLAP = 0.5
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Bin:
    """Some values of a feature: a level, the numbers in (low, high], or the missing values."""

    feature: str
    index: int
    level: int | None = None
    low: float = -np.inf
    high: float = np.inf
    missing: bool = False
    name: str = ""

    def holds(self, matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return the mask of the encoded rows that lie in the bin."""
        column = matrix[:, self.index]
        if self.missing:
            return np.isnan(column)
        if self.level is not None:
            return np.asarray(column == self.level)
        return (column > self.low) & (column <= self.high)


@dataclass(frozen=True)
class WorstSlice:
    """A slice that the search found, measured on the test rows.

    Attributes
    ----------
    name : the bins, in words.
    rows, entities : the numbers of test rows and of their entities.
    loss, loss_elsewhere : the mean loss in the slice and outside it.
    label_mean, score_mean : means over the rows of the slice; NaN for several classes.
    p_value : one-sided, for the hypothesis that the loss is no higher than elsewhere, with Holm's correction.

    """

    name: str
    rows: int
    entities: int
    loss: float
    loss_elsewhere: float
    label_mean: float
    score_mean: float
    p_value: float


def losses(rows: Observed) -> NDArray[np.float64]:
    """Return each row's loss: the log loss, or the squared error in a regression."""
    if rows.problem == "regression":
        return np.asarray((rows.label - rows.score) ** 2, dtype=np.float64)
    if rows.score.ndim == 1:
        likely = np.where(rows.label == 1, rows.score, 1 - rows.score)
    else:
        likely = rows.score[np.arange(len(rows.label)), rows.label.astype(np.int64)]
    return np.asarray(-np.log(np.clip(likely, _SMALLEST, 1)))


def bins_of(matrix: NDArray[np.float64], features: Sequence[ContractFeature]) -> list[list[Bin]]:
    """Return the bins of each feature: one per level of a text, four of about equal size of a number.

    Free text, and text with more than 12 levels, has no bins except that of missing values.
    """
    binned = (list(_bins(matrix[:, index], index, feature)) for index, feature in enumerate(features))
    return [bins for bins in binned if bins]


def _bins(column: NDArray[np.float64], index: int, feature: ContractFeature) -> Iterator[Bin]:
    name, known = f"{feature.view}.{feature.name}", column[~np.isnan(column)]
    if feature.dtype == "string" and len(feature.levels) <= _MOST_LEVELS:
        for code, level in enumerate(feature.levels):
            yield Bin(name, index, level=code, name=f"{name} is {level}")
    elif feature.dtype not in {"string", "text", "timestamp"} and len(known):
        number = equal_bins(known, _BINS)
        edges = [float(known[number == one].max()) for one in range(int(number.max()))]
        for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
            yield Bin(name, index, low=low, high=high, name=_range_name(name, low, high))
    if feature.dtype != "text" and len(known) < len(column):
        yield Bin(name, index, missing=True, name=f"{name} is missing")


def _range_name(name: str, low: float, high: float) -> str:
    if low == -np.inf and high == np.inf:
        return f"{name} is known"
    if low == -np.inf:
        return f"{name} up to {high:.4g}"
    return f"{name} above {low:.4g}" + ("" if high == np.inf else f" up to {high:.4g}")


@dataclass(frozen=True)
class _Suspect:
    bins: tuple[Bin, ...]
    inside: NDArray[np.bool_]
    strength: float


def _entities(inside: NDArray[np.bool_], entity: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.bincount(entity[inside])))


def _z_value(inside: NDArray[np.bool_], loss: NDArray[np.float64], entity: NDArray[np.int64]) -> float:
    """Return the excess of the loss inside over the loss outside in standard errors clustered by entity (a z value)."""
    count = int(inside.sum())
    if not 0 < count < len(inside):
        return -np.inf
    centred = np.where(inside, loss - loss[inside].mean(), loss - loss[~inside].mean())
    influence = np.where(inside, centred / count, -centred / (len(inside) - count))
    error = float(np.sqrt((np.bincount(entity, influence) ** 2).sum()))
    excess = float(loss[inside].mean() - loss[~inside].mean())
    return excess / error if error > 0 else -np.inf


def suspects(
    rows: Observed, matrix: NDArray[np.float64], features: Sequence[ContractFeature], minimum: int, wanted: int
) -> list[tuple[Bin, ...]]:
    """Return the `wanted` slices with the highest loss among slices of at least `minimum` entities.

    Slices are ranked by the lower bound of their excess loss (difference minus two standard errors by entity), so that
    neither very small nor slightly different slices come first. A slice whose Jaccard overlap with a better one exceeds 0.5
    is skipped.
    """
    loss, all_bins = losses(rows), bins_of(matrix, features)
    total = float(loss.sum())
    holds = {one: one.holds(matrix) for bins in all_bins for one in bins}
    singles = [(one,) for bins in all_bins for one in bins]
    pairs = [(one, two) for first, second in combinations(all_bins, 2) for one in first for two in second]
    found = []
    for bins in (*singles, *pairs):
        inside = holds[bins[0]] if len(bins) == 1 else holds[bins[0]] & holds[bins[1]]
        count = int(np.count_nonzero(inside))
        if count < minimum or count == len(inside):
            continue
        excess = (mean := float(loss[inside].mean())) - (total - count * mean) / (len(inside) - count)
        if not excess > 0 or _entities(inside, rows.entity) < minimum:
            continue
        strength = _z_value(inside, loss, rows.entity)
        if strength > 2:  # noqa: PLR2004 - standard errors
            found.append(_Suspect(bins, inside, excess * (1 - 2 / strength)))
    return [one.bins for one in _distinct(sorted(found, key=lambda one: -one.strength), wanted)]


def _overlap_much(first: _Suspect, second: _Suspect) -> bool:
    shared, either = (first.inside & second.inside).sum(), (first.inside | second.inside).sum()
    return bool(shared > _MOST_OVERLAP * either)


def _distinct(ranked: Sequence[_Suspect], wanted: int) -> list[_Suspect]:
    kept: list[_Suspect] = []
    for suspect in ranked:
        if len(kept) == wanted:
            break
        if not any(_overlap_much(suspect, better) for better in kept):
            kept.append(suspect)
    return kept


def confirm(
    rows: Observed, matrix: NDArray[np.float64], found: Sequence[tuple[Bin, ...]], minimum: int
) -> tuple[WorstSlice, ...]:
    """Return the slices of `found` measured on rows that the search did not use, the smallest p-value first.

    A slice with fewer than `minimum` entities in `rows` has the p-value NaN and does not count for the correction.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Liang, K.-Y. and Zeger, S. L. (1986).
    Longitudinal data analysis using generalized linear models (variance by entity).

    """
    loss = losses(rows)
    inside = [np.logical_and.reduce([one.holds(matrix) for one in bins]) for bins in found]
    plain = [_p_value(chosen, loss, rows.entity, minimum) for chosen in inside]
    results = [
        _worst_slice(" and ".join(one.name for one in bins), chosen, rows, loss, p_value)
        for bins, chosen, p_value in zip(found, inside, holm(plain), strict=True)
    ]
    return tuple(sorted(results, key=lambda one: (np.isnan(one.p_value), one.p_value, -one.loss)))


def _p_value(inside: NDArray[np.bool_], loss: NDArray[np.float64], entity: NDArray[np.int64], minimum: int) -> float:
    from scipy.stats import norm

    if _entities(inside, entity) < minimum:
        return np.nan
    return float(norm.sf(_z_value(inside, loss, entity)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction, which controls the family-wise error rate; NaN does not count."""
    corrected, largest = list(p_values), 0.0
    known = sorted((p, index) for index, p in enumerate(p_values) if not np.isnan(p))
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[index] = largest
    return corrected


def _worst_slice(
    name: str, inside: NDArray[np.bool_], rows: Observed, loss: NDArray[np.float64], p_value: float
) -> WorstSlice:
    plain = rows.problem != "multiclass" and inside.any()
    return WorstSlice(
        name=name,
        rows=int(inside.sum()),
        entities=_entities(inside, rows.entity),
        loss=float(loss[inside].mean()) if inside.any() else np.nan,
        loss_elsewhere=float(loss[~inside].mean()) if not inside.all() else np.nan,
        label_mean=float(rows.label[inside].mean()) if plain else np.nan,
        score_mean=float(rows.score[inside].mean()) if plain else np.nan,
        p_value=p_value,
    )
