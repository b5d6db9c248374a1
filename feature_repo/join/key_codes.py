"""Small numbers in place of entity keys, so that keys of any type and number of columns are compared as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.join.arrow_arrays import blank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

#: A table of all integers from the least to the greatest may be so many times as long as the column, or more if it is short.
_SPARSE, _SPARSE_IF_SHORT = 8, 64
_SHORT = 1 << 22


@dataclass(frozen=True)
class _Values:
    """The distinct values of a column, found by a hash table."""

    values: pa.Array

    def __len__(self) -> int:
        return len(self.values)

    def places(self, column: pa.ChunkedArray) -> Integers:
        """Give the number of each value of `column`; -1 if it has none."""
        found = pc.index_in(column, value_set=self.values)
        return (pc.fill_null(found, -1) if found.null_count else found).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Numbers:
    """The distinct values of a column of integers that lie close together, found in a table of all between.

    Attributes
    ----------
    table : the numbers of the integers from `start` on, -1 for one that does not occur, as the last does not.

    """

    start: int
    table: Integers
    count: int

    def __len__(self) -> int:
        return self.count

    def places(self, column: pa.ChunkedArray) -> Integers:
        """Give the number of each value of `column`; -1 if it has none."""
        last = len(self.table) - 1
        places = np.subtract(_integers(column, self.start + last), self.start, out=blank(len(column)))
        # Below the start a place wraps around to far beyond the end.
        unsigned = places.view(np.uint64)
        np.minimum(unsigned, last, out=unsigned)
        # In place, for which the places must not be checked again.
        return np.take(self.table, places, mode="clip", out=places)


def _integers(column: pa.ChunkedArray, null: int) -> Integers:
    whole = column.cast(pa.int64())
    return (pc.fill_null(whole, null) if whole.null_count else whole).to_numpy()  # type: ignore[no-any-return]


def _distinct(column: pa.ChunkedArray) -> _Values | _Numbers:
    if pa.types.is_signed_integer(column.type) and len(column) > column.null_count:
        bounds = pc.min_max(column).as_py()
        start, length = bounds["min"], bounds["max"] - bounds["min"] + 2
        longest = max(_SPARSE * len(column), min(_SPARSE_IF_SHORT * len(column), _SHORT))
        if length <= longest and bounds["max"] < np.iinfo(np.int64).max:
            present = np.zeros(length, bool)
            present[_integers(column.drop_null(), 0) - start] = True
            return _Numbers(start, np.where(present, np.cumsum(present) - 1, -1), int(present.sum()))
    return _Values(pc.unique(column).drop_null())


@dataclass(frozen=True)
class KeyCodes:
    """The codes 0, 1, ... of the distinct keys of a table.

    Attributes
    ----------
    values : the distinct values of each key column.
    pairs : for each column after the first, the sorted distinct pairs (code so far, number of its value) as one integer.

    """

    values: tuple[_Values | _Numbers, ...]
    pairs: tuple[Integers, ...]

    def __len__(self) -> int:
        """How many codes there are."""
        return len(self.pairs[-1] if self.pairs else self.values[0] if self.values else (None,))

    def of(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Integers:
        """Give the code of the key of each of the `rows` rows of `columns`; -1 if it has none, or has a null."""
        if not columns:
            return np.zeros(rows, np.int64)
        codes = self.values[0].places(columns[0])
        for column, values, pairs in zip(columns[1:], self.values[1:], self.pairs, strict=True):
            paired = _paired(codes, values.places(column), len(values))
            place = np.minimum(np.searchsorted(pairs, paired), len(pairs) - 1)
            codes = np.where((paired >= 0) & (pairs[place] == paired), place, -1) if len(pairs) else paired
        return codes


def encode(columns: Sequence[pa.ChunkedArray], rows: int) -> tuple[KeyCodes, Integers]:
    """Give the distinct keys of a table of `rows` rows their codes; return these, and the code of each row."""
    values = tuple(map(_distinct, columns))
    pairs: list[Integers] = []
    for number in range(1, len(columns)):
        known = KeyCodes(values[:number], tuple(pairs)).of(columns[:number], rows)
        paired = _paired(known, values[number].places(columns[number]), len(values[number]))
        pairs.append(np.unique(paired[paired >= 0]))
    keys = KeyCodes(values, tuple(pairs))
    return keys, keys.of(columns, rows)


def _paired(first: Integers, second: Integers, width: int) -> Integers:
    return np.where((first >= 0) & (second >= 0), first * width + second, -1)


def common_type(ours: str, our_type: pa.DataType, theirs: str, their_type: pa.DataType) -> pa.DataType:
    """Name the type in which the values of two key columns are compared.

    Raises
    ------
    SourceError
        If there is none: a number is no text.

    """
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (our_type, their_type)]
    if plain[0] == plain[1]:
        return plain[0]
    for is_kind, common in _FAMILIES:
        if all(map(is_kind, plain)):
            return common
    if any(map(pa.types.is_null, plain)):
        return plain[0] if pa.types.is_null(plain[1]) else plain[1]
    raise SourceError(
        f"the key column {ours!r} of the entity rows is of type {our_type}, and {theirs!r} of the view's rows of "
        f"{their_type}, which cannot be compared; convert the entity rows"
    )


def _is_text(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


#: pandas turns integers with a missing value into floats, hence numbers are one family.
_FAMILIES = (
    (pa.types.is_integer, pa.int64()),
    (_is_number, pa.float64()),
    (_is_text, pa.large_string()),
    (_is_bytes, pa.large_binary()),
    (_is_time, pa.timestamp("us", tz="UTC")),
    (pa.types.is_decimal, pa.decimal256(76, 18)),
)
