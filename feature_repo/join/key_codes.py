"""Integer codes of entity keys, so that keys of any type and number of columns are compared as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.join.arrow_arrays import empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

#: The most entries of a lookup table of all integers between minimum and maximum, per row of the column.
_SPARSE, _SPARSE_IF_SHORT = 8, 64
#: Up to this many entries the greater bound holds.
_SHORT = 1 << 22


@dataclass(frozen=True)
class _Values:
    """The distinct values of a column, looked up in a hash table."""

    values: pa.Array

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, column: pa.ChunkedArray) -> Integers:
        """Return the code of each value of `column`; -1 if it has none."""
        found = pc.index_in(column, value_set=self.values)
        return (pc.fill_null(found, -1) if found.null_count else found).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Numbers:
    """The distinct values of a dense column of integers, looked up in an array.

    Attributes
    ----------
    start : the smallest integer.
    table : the codes of the integers from `start` on; -1 for an integer that does not occur. The last entry is -1.
    count : the number of distinct values.

    """

    start: int
    table: Integers
    count: int

    def __len__(self) -> int:
        return self.count

    def codes(self, column: pa.ChunkedArray) -> Integers:
        """Return the code of each value of `column`; -1 if it has none."""
        last = len(self.table) - 1
        index = np.subtract(_integers(column, self.start + last), self.start, out=empty(len(column)))
        # A negative index, as unsigned integer, wraps around to far beyond the end.
        unsigned = index.view(np.uint64)
        np.minimum(unsigned, last, out=unsigned)
        # `clip` skips the bounds check, so that NumPy writes into `out` without a copy.
        return np.take(self.table, index, mode="clip", out=index)


def _integers(column: pa.ChunkedArray, null: int) -> Integers:
    integers = column.cast(pa.int64())
    return (pc.fill_null(integers, null) if integers.null_count else integers).to_numpy()  # type: ignore[no-any-return]


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
    """An encoder of the distinct keys of a table as the codes 0, 1, ...

    Attributes
    ----------
    values : the distinct values of each key column.
    pairs : for each column after the first, the sorted distinct pairs (code of the columns before, code of its value), each
        as one integer.

    """

    values: tuple[_Values | _Numbers, ...]
    pairs: tuple[Integers, ...]

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.pairs[-1] if self.pairs else self.values[0] if self.values else (None,))

    def codes(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Integers:
        """Return the code of the key of each of the `rows` rows of `columns`; -1 if it has none, or has a null."""
        if not columns:
            return np.zeros(rows, np.int64)
        codes = self.values[0].codes(columns[0])
        for column, values, pairs in zip(columns[1:], self.values[1:], self.pairs, strict=True):
            paired = _paired(codes, values.codes(column), len(values))
            index = np.minimum(np.searchsorted(pairs, paired), len(pairs) - 1)
            codes = np.where((paired >= 0) & (pairs[index] == paired), index, -1) if len(pairs) else paired
        return codes


def encode(columns: Sequence[pa.ChunkedArray], rows: int) -> tuple[KeyCodes, Integers]:
    """Return an encoder of the distinct keys of a table of `rows` rows, and the code of each row."""
    values = tuple(map(_distinct, columns))
    pairs: list[Integers] = []
    for number in range(1, len(columns)):
        codes = KeyCodes(values[:number], tuple(pairs)).codes(columns[:number], rows)
        paired = _paired(codes, values[number].codes(columns[number]), len(values[number]))
        pairs.append(np.unique(paired[paired >= 0]))
    encoder = KeyCodes(values, tuple(pairs))
    return encoder, encoder.codes(columns, rows)


def _paired(first: Integers, second: Integers, width: int) -> Integers:
    return np.where((first >= 0) & (second >= 0), first * width + second, -1)


def common_type(entity_key: str, entity_type: pa.DataType, view_key: str, view_type: pa.DataType) -> pa.DataType:
    """Return the type in which a key column of entity rows and one of a view's rows are compared.

    Raises
    ------
    SourceError
        If the two types have no common one, as a number and a text.

    """
    plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in (entity_type, view_type)]
    if plain[0] == plain[1]:
        return plain[0]
    for is_kind, common in _FAMILIES:
        if all(map(is_kind, plain)):
            return common
    if any(map(pa.types.is_null, plain)):
        return plain[0] if pa.types.is_null(plain[1]) else plain[1]
    raise SourceError(
        f"the key column {entity_key!r} of the entity rows is of type {entity_type}, and {view_key!r} of the view's rows "
        f"of {view_type}, which cannot be compared; convert the entity rows"
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


#: Groups of comparable types, each with its common type. pandas stores integers with a missing value as floats, hence
#: `_is_number`.
_FAMILIES = (
    (pa.types.is_integer, pa.int64()),
    (_is_number, pa.float64()),
    (_is_text, pa.large_string()),
    (_is_bytes, pa.large_binary()),
    (_is_time, pa.timestamp("us", tz="UTC")),
    (pa.types.is_decimal, pa.decimal256(76, 18)),
)
