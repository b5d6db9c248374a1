"""How the online table of a view holds its features: a column each, or, of a view of very many, an array for each type.

PostgreSQL has 1,600 columns in a table and 8 kB for a row, which a thousand numbers fill. Only what varies in length can be
moved out of a row, and an array does. So where a row of a column each might not fit, all features of one type lie in one array,
in the order of their names. Which features a table has decides it alone, as does its name, so that it is the same everywhere.
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
    """A column of an online table: its name and dtype, and which features it holds, one or the elements of an array."""

    name: str
    dtype: str
    features: tuple[str, ...]
    is_array: bool = False


class Place(NamedTuple):
    """Where a feature is read: in which of the columns that are read, and if that is an array which element."""

    column: int
    element: int | None
    dtype: str


@dataclass(frozen=True)
class Reading:
    """How some features are read: from which columns, and where in these each of them is."""

    columns: tuple[str, ...]
    places: tuple[Place, ...]

    @cached_property
    def has_arrays(self) -> bool:
        """Whether a value of a column may be that of several features."""
        return any(place.element is not None for place in self.places)

    def unpack(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the features, in their order, of the values of `columns`, all None where there is no row."""
        if not self.has_arrays:
            return values
        return tuple(
            [
                values[column] if element is None or values[column] is None else values[column][element]
                for column, element, _ in self.places
            ]
        )

    def unpack_counted(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Do what `unpack` does where times are microseconds as PostgreSQL counts them."""
        found = self.unpack(values)
        if not self._times:
            return found
        counted = list(found)
        for at in self._times:
            counted[at] = None if counted[at] is None else instant_of(counted[at])
        return tuple(counted)

    @cached_property
    def _times(self) -> list[int]:
        return [at for at, place in enumerate(self.places) if place.dtype == "timestamp"]


def needs_packing(keys: Features, features: Features) -> bool:
    """Say whether a row with a column for each feature might not fit."""
    dtypes = [dtype for _, dtype in (*keys, *features)]
    return sum(map(most_bytes, (*dtypes, *_TIMES))) > MOST_BYTES or len(dtypes) + len(_TIMES) > MOST_COLUMNS


def stored_columns(features: Features, *, packed: bool) -> tuple[StoredColumn, ...]:
    """List the columns that hold `features`, each with its dtype."""
    if not packed:
        return tuple(StoredColumn(column_name(name), dtype, (name,)) for name, dtype in features)
    by_dtype: dict[str, list[str]] = {}
    for name, dtype in sorted(features):
        by_dtype.setdefault(dtype, []).append(name)
    # Lists in an array would all have to be of one length.
    alone = [name for dtype, names in by_dtype.items() if dtype.endswith(LIST) for name in names]
    arrays = {dtype: names for dtype, names in sorted(by_dtype.items()) if not dtype.endswith(LIST)}
    return (
        # No feature of a plan has a point in its name.
        *(StoredColumn(f"packed.{dtype}", f"{dtype}{LIST}", tuple(names), True) for dtype, names in arrays.items()),
        *stored_columns(tuple((name, dict(features)[name]) for name in alone), packed=False),
    )


@lru_cache(maxsize=1024)
def reading(packed: Features, names: tuple[str, ...]) -> Reading:
    """Say how the features `names` are read; `packed` are all features of their table if it is packed, else none."""
    if not packed:
        return Reading(tuple(map(column_name, names)), tuple(Place(at, None, "") for at, _ in enumerate(names)))
    dtypes = dict(packed)
    holders = {
        name: (column, index if column.is_array else None)
        for column in stored_columns(packed, packed=True)
        for index, name in enumerate(column.features)
    }
    columns = tuple(dict.fromkeys(holders[name][0].name for name in names))
    at = {name: number for number, name in enumerate(columns)}
    return Reading(columns, tuple(Place(at[holders[name][0].name], holders[name][1], dtypes[name]) for name in names))
