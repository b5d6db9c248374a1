"""The parts of the rows where a model does worst: found on the validation rows, confirmed on the test rows.

Every feature is cut into a few bins, and every bin, and every pair of bins of two features, is a slice. Thousands are
looked at, and the worst of thousands looks bad by chance alone. So a slice is only a suspect where the search found it; what
is reported of it comes from rows that the search did not see, and its p-value is corrected for the suspects tried there.
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
#: A slice that shares more than this of its rows with one already found says the same thing again.
_SAME = 0.5
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Bin:
    """Some values of a feature: a level, or the numbers above `low` up to and with `high`; neither is missing."""

    feature: str
    place: int
    level: int | None = None
    low: float = -np.inf
    high: float = np.inf
    missing: bool = False
    name: str = ""

    def holds(self, matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which encoded rows lie in the bin."""
        column = matrix[:, self.place]
        if self.missing:
            return np.isnan(column)
        if self.level is not None:
            return np.asarray(column == self.level)
        return (column > self.low) & (column <= self.high)


@dataclass(frozen=True)
class WorstSlice:
    """A slice that the search suspected, on the test rows.

    Attributes
    ----------
    name : the bins, in words.
    rows, entities : how many test rows, and of how many entities.
    loss, loss_elsewhere : the mean loss in the slice and outside it.
    label_mean, score_mean : what happened in the slice, and what was said; NaN for several classes.
    p_value : of a slice that is no worse than the rest, one-sided, after Holm's correction for all suspects.

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
    """Give each row's loss: the log loss, or the squared error of a number."""
    if rows.problem == "regression":
        return np.asarray((rows.label - rows.score) ** 2, dtype=np.float64)
    if rows.score.ndim == 1:
        likely = np.where(rows.label == 1, rows.score, 1 - rows.score)
    else:
        likely = rows.score[np.arange(len(rows.label)), rows.label.astype(np.int64)]
    return np.asarray(-np.log(np.clip(likely, _SMALLEST, 1)))


def bins_of(matrix: NDArray[np.float64], features: Sequence[ContractFeature]) -> list[list[Bin]]:
    """Cut each feature into bins: a text by its levels, a number into four bins of about equal size.

    A free text, and a text of more than 12 levels, is not cut.
    """
    return [found for place, feature in enumerate(features) if (found := list(_bins(matrix[:, place], place, feature)))]


def _bins(column: NDArray[np.float64], place: int, feature: ContractFeature) -> Iterator[Bin]:
    name, known = f"{feature.view}.{feature.name}", column[~np.isnan(column)]
    if feature.dtype == "string" and len(feature.levels) <= _MOST_LEVELS:
        for code, level in enumerate(feature.levels):
            yield Bin(name, place, level=code, name=f"{name} is {level}")
    elif feature.dtype not in {"string", "text", "timestamp"} and len(known):
        number = equal_bins(known, _BINS)
        edges = [float(known[number == one].max()) for one in range(int(number.max()))]
        for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
            yield Bin(name, place, low=low, high=high, name=_range(name, low, high))
    if feature.dtype != "text" and len(known) < len(column):
        yield Bin(name, place, missing=True, name=f"{name} is missing")


def _range(name: str, low: float, high: float) -> str:
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


def _strength(inside: NDArray[np.bool_], loss: NDArray[np.float64], entity: NDArray[np.int64]) -> float:
    """Give how many standard errors, of clustered entities, the loss inside lies above the loss outside; see `_p_value`."""
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
    """Search single bins and pairs for the highest mean loss among slices of at least `minimum` entities.

    A slice is ranked by how far its loss surely lies above the rest (difference less two standard errors by entity), so
    that neither tiny nor hardly different ones come first. One that shares more than half of its rows with a better one is
    skipped.
    """
    loss, every = losses(rows), bins_of(matrix, features)
    total = float(loss.sum())
    holds = {one: one.holds(matrix) for found in every for one in found}
    singles = [(one,) for found in every for one in found]
    pairs = [(one, two) for first, second in combinations(every, 2) for one in first for two in second]
    found = []
    for bins in (*singles, *pairs):
        inside = holds[bins[0]] if len(bins) == 1 else holds[bins[0]] & holds[bins[1]]
        count = int(np.count_nonzero(inside))
        if count < minimum or count == len(inside):
            continue
        excess = (mean := float(loss[inside].mean())) - (total - count * mean) / (len(inside) - count)
        if not excess > 0 or _entities(inside, rows.entity) < minimum:
            continue
        strength = _strength(inside, loss, rows.entity)
        if strength > 2:  # noqa: PLR2004 - standard errors
            found.append(_Suspect(bins, inside, excess * (1 - 2 / strength)))
    return [one.bins for one in _apart(sorted(found, key=lambda one: -one.strength), wanted)]


def _apart(found: Sequence[_Suspect], wanted: int) -> list[_Suspect]:
    kept: list[_Suspect] = []
    for one in found:
        if len(kept) == wanted:
            break
        if all((one.inside & other.inside).sum() <= _SAME * (one.inside | other.inside).sum() for other in kept):
            kept.append(one)
    return kept


def confirm(
    rows: Observed, matrix: NDArray[np.float64], found: Sequence[tuple[Bin, ...]], minimum: int
) -> tuple[WorstSlice, ...]:
    """Measure suspects on rows that the search did not see, the surest first.

    A slice with fewer than `minimum` entities there has the p-value NaN and does not count as tried.

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
    return float(norm.sf(_strength(inside, loss, entity)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number: the chance that any is that small though nothing is there; NaN does not count."""
    corrected, largest = list(p_values), 0.0
    known = sorted((p, place) for place, p in enumerate(p_values) if not np.isnan(p))
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[place] = largest
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
