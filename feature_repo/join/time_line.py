"""Times as integers, and (code, time) laid out on one line of integers, where sorting and bisection are fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.join.arrow_arrays import blank, gather

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

#: Stands for a time that is null.
NEVER = np.iinfo(np.int64).min
INSTANT = pa.timestamp("us", tz="UTC")
#: Where at most one neighbour in so many is out of order, merging the runs beats sorting anew ten times.
_FEW_FALLS = 20


def require_times(dtype: pa.DataType, name: str) -> None:
    """Check that the column `name`, of the type `dtype`, holds times.

    Raises
    ------
    SourceError
        If not.

    """
    if not (pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)):
        raise SourceError(f"the column {name!r} is of type {dtype}; expected are timestamps or dates")


def microseconds(column: pa.ChunkedArray, name: str) -> Integers:
    """Convert a column of times to microseconds since 1970 in UTC; null becomes `NEVER`.

    Times without a zone are UTC; what is finer than a microsecond is cut off.

    Raises
    ------
    SourceError
        If the column holds something else.

    """
    require_times(column.type, name)
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    whole = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
    times: Integers = (pc.fill_null(whole, NEVER) if whole.null_count else whole).to_numpy()
    return times


def instants(times: Integers) -> pa.Array:
    """Turn what `microseconds` gives back into times."""
    return pa.array(times, mask=times == NEVER).cast(INSTANT)


@dataclass(frozen=True)
class TimeLine:
    """Points of the line: all times of the code 0, then all of the code 1, and so on.

    Attributes
    ----------
    start, length : the first time, and how long the stretch of one code is.
    instants : all times that occur, if their ranks stand for them because 64 bits do not reach for microseconds.

    """

    start: int
    length: int
    instants: Integers | None = None

    @classmethod
    def fit(cls, codes: int, *times: Integers) -> TimeLine:
        """Make a line for `codes` codes and these times."""
        held = [part for part in times if len(part)]
        if not held:
            return cls(0, 1)
        start = min(int(part.min()) for part in held)
        length = max(int(part.max()) for part in held) - start + 1
        if (codes + 1) * length <= np.iinfo(np.int64).max:
            return cls(start, length)
        instants = np.unique(np.concatenate(held))
        return cls(0, len(instants), instants)

    def points(self, codes: Integers, *times: Integers) -> list[Integers]:
        """Lay pairs of `codes` and each of `times` out on the line; the times are some of those that it was made for."""
        first = np.multiply(codes, self.length, out=blank(len(codes)))
        if self.instants is not None:
            return [first + np.searchsorted(self.instants, part) for part in times]
        first -= self.start
        others = [np.add(first, part, out=blank(len(codes))) for part in times[:-1]]
        return [*others, np.add(first, times[-1], out=first)]


def in_order(points: Integers, *ties: Integers) -> tuple[Integers | None, Integers]:
    """Sort by `points` and then `ties`, equals in their present order.

    Returns
    -------
    What brings an array like `points` into that order when it is its index, None if it is in order; the points in order.

    """
    if (points[1:] > points[:-1]).all():
        return None, points
    falls = np.count_nonzero(points[1:] < points[:-1])
    order: Integers = np.argsort(points, kind="stable" if falls * _FEW_FALLS < len(points) else None)
    in_line = gather(points, order)
    if (in_line[1:] == in_line[:-1]).any():
        order = np.lexsort((*reversed(ties), points))
    return order, in_line
