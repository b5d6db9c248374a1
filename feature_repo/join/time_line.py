"""Times as integers, and pairs (code, time) as single integers, which are fast to sort and to bisect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.join.arrow_arrays import empty, gather

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

#: The integer of a null time.
NEVER = np.iinfo(np.int64).min
INSTANT = pa.timestamp("us", tz="UTC")
#: If at most one neighbour in this many descends, a merge sort of the runs is ten times as fast as a full sort.
_FEW_DESCENTS = 20


def require_times(dtype: pa.DataType, name: str) -> None:
    """Raise SourceError unless the column `name`, of the type `dtype`, holds times.

    Raises
    ------
    SourceError
        If `dtype` is neither a timestamp nor a date.

    """
    if not (pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)):
        raise SourceError(f"the column {name!r} is of type {dtype}; expected are timestamps or dates")


def microseconds(column: pa.ChunkedArray, name: str) -> Integers:
    """Return a column of times as microseconds since 1970 in UTC; null becomes `NEVER`.

    Times without a zone are UTC. Digits finer than a microsecond are truncated.

    Raises
    ------
    SourceError
        If the column holds no times.

    """
    require_times(column.type, name)
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    integers = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    times: Integers = (pc.fill_null(integers, NEVER) if integers.null_count else integers).to_numpy()
    return times


def instants(times: Integers) -> pa.Array:
    """Return timestamps for what `microseconds` returns; `NEVER` becomes null."""
    return pa.array(times, mask=times == NEVER).cast(INSTANT)


@dataclass(frozen=True)
class TimeLine:
    """An order-preserving map of pairs (code, time) to integers: all times of code 0, then all of code 1, and so on.

    Attributes
    ----------
    start : the smallest time.
    length : the number of integers reserved for each code.
    instants : the sorted distinct times, if ranks replace them because microseconds would overflow 64 bits.

    """

    start: int
    length: int
    instants: Integers | None = None

    @classmethod
    def fit(cls, codes: int, *times: Integers) -> TimeLine:
        """Return a line that holds the given number of `codes` and all `times`."""
        arrays = [array for array in times if len(array)]
        if not arrays:
            return cls(0, 1)
        start = min(int(array.min()) for array in arrays)
        length = max(int(array.max()) for array in arrays) - start + 1
        if (codes + 1) * length <= np.iinfo(np.int64).max:
            return cls(start, length)
        instants = np.unique(np.concatenate(arrays))
        return cls(0, len(instants), instants)

    def points(self, codes: Integers, *times: Integers) -> list[Integers]:
        """Return the points of the pairs (codes, times), for each array of `times`; the line must be fitted to them."""
        offsets = np.multiply(codes, self.length, out=empty(len(codes)))
        if self.instants is not None:
            return [offsets + np.searchsorted(self.instants, array) for array in times]
        offsets -= self.start
        points = [np.add(offsets, array, out=empty(len(codes))) for array in times[:-1]]
        return [*points, np.add(offsets, times[-1], out=offsets)]


def in_order(points: Integers, *ties: Integers) -> tuple[Integers | None, Integers]:
    """Sort by `points` and then `ties`; the sort is stable.

    Returns
    -------
    The index that sorts arrays like `points`, None if they are sorted; and the sorted points.

    """
    if (points[1:] > points[:-1]).all():
        return None, points
    descents = np.count_nonzero(points[1:] < points[:-1])
    order: Integers = np.argsort(points, kind="stable" if descents * _FEW_DESCENTS < len(points) else None)
    sorted_points = gather(points, order)
    if (sorted_points[1:] == sorted_points[:-1]).any():
        order = np.lexsort((*reversed(ties), points))
    return order, sorted_points
