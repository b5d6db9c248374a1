"""How an online table stores its features: one column each, or, for very wide views, one array for each type.

PostgreSQL allows 1,600 columns in a table and 8 kB for a row, which a thousand numbers fill. It can move only values of
varying length, as arrays, out of a row. So where a row with one column for each feature might not fit, all features of one
type are stored in one array, in the order of their names. The layout depends on the table's features alone, so that every
process computes the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from core.contracts import instant_of
from core.plan.limits import MOST_BYTES, MOST_COLUMNS
from feature_repo.online.types import LIST, column_name, most_bytes

if TYPE_CHECKING:
    Features = tuple[tuple[str, str], ...]

_TIMES = ("timestamp", "timestamp")


@dataclass(frozen=True)
class StoredColumn:
    """A column of an online table: its name, its dtype, and the features that it stores (several in an array)."""

    name: str
    dtype: str
    features: tuple[str, ...]
    is_array: bool = False


class FeaturePosition(NamedTuple):
    """The position of a feature in a row: the index of the column and, in an array, of the element."""

    column: int
    element: int | None
    dtype: str


@dataclass(frozen=True)
class Reading:
    """The columns from which some features are read, and the position of each feature in them."""

    columns: tuple[str, ...]
    positions: tuple[FeaturePosition, ...]

    @cached_property
    def has_arrays(self) -> bool:
        """Whether some column is an array of several features."""
        return any(position.element is not None for position in self.positions)

    def unpack(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the features, in their order, from the values of `columns`; all None if there is no row."""
        if not self.has_arrays:
            return values
        return tuple(
            [
                values[column] if element is None or values[column] is None else values[column][element]
                for column, element, _ in self.positions
            ]
        )

    def unpack_microseconds(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what `unpack` returns, from values with times as PostgreSQL's microseconds."""
        unpacked = self.unpack(values)
        if not self._times:
            return unpacked
        converted = list(unpacked)
        for index in self._times:
            converted[index] = None if converted[index] is None else instant_of(converted[index])
        return tuple(converted)

    @cached_property
    def _times(self) -> list[int]:
        return [index for index, position in enumerate(self.positions) if position.dtype == "timestamp"]


def needs_packing(keys: Features, features: Features) -> bool:
    """Return whether a row with one column for each feature might exceed PostgreSQL's limits."""
    dtypes = [dtype for _, dtype in (*keys, *features)]
    return sum(map(most_bytes, (*dtypes, *_TIMES))) > MOST_BYTES or len(dtypes) + len(_TIMES) > MOST_COLUMNS


def stored_columns(features: Features, *, packed: bool) -> tuple[StoredColumn, ...]:
    """Return the columns that store `features`, which are pairs (name, dtype)."""
    if not packed:
        return tuple(StoredColumn(column_name(name), dtype, (name,)) for name, dtype in features)
    by_dtype: dict[str, list[str]] = {}
    for name, dtype in sorted(features):
        by_dtype.setdefault(dtype, []).append(name)
    # PostgreSQL requires all lists in an array to have one length, so lists stay columns.
    alone = [name for dtype, names in by_dtype.items() if dtype.endswith(LIST) for name in names]
    arrays = {dtype: names for dtype, names in sorted(by_dtype.items()) if not dtype.endswith(LIST)}
    return (
        # No feature of a plan has a point in its name.
        *(StoredColumn(f"packed.{dtype}", f"{dtype}{LIST}", tuple(names), True) for dtype, names in arrays.items()),
        *stored_columns(tuple((name, dict(features)[name]) for name in alone), packed=False),
    )


@lru_cache(maxsize=1024)
def reading(packed: Features, names: tuple[str, ...]) -> Reading:
    """Return how the features `names` are read; `packed` has all features of their table if it is packed, else none."""
    if not packed:
        positions = tuple(FeaturePosition(index, None, "") for index, _ in enumerate(names))
        return Reading(tuple(map(column_name, names)), positions)
    dtypes = dict(packed)
    holders = {
        name: (column, index if column.is_array else None)
        for column in stored_columns(packed, packed=True)
        for index, name in enumerate(column.features)
    }
    columns = tuple(dict.fromkeys(holders[name][0].name for name in names))
    index_of = {name: index for index, name in enumerate(columns)}
    positions = tuple(
        FeaturePosition(index_of[holders[name][0].name], holders[name][1], dtypes[name]) for name in names
    )
    return Reading(columns, positions)
