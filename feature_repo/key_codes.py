"""Small numbers in place of entity keys, so that keys of any type and number of columns are compared as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KeyCodes:
    """The codes 0, 1, ... of the distinct keys of a table.

    Attributes
    ----------
    values : the distinct values of each key column.
    pairs : for each column after the first, the sorted distinct pairs (code so far, code of its value) as one integer.

    """

    values: tuple[pa.Array, ...]
    pairs: tuple[Integers, ...]

    def __len__(self) -> int:
        """How many codes there are."""
        return len(self.pairs[-1] if self.pairs else self.values[0] if self.values else (None,))

    def of(self, columns: Sequence[pa.ChunkedArray], rows: int) -> Integers:
        """Give the code of the key of each of the `rows` rows of `columns`; -1 if it has none, or has a null."""
        if not columns:
            return np.zeros(rows, np.int64)
        codes = _places(columns[0], self.values[0])
        for column, values, pairs in zip(columns[1:], self.values[1:], self.pairs, strict=True):
            paired = _paired(codes, _places(column, values), len(values))
            place = np.minimum(np.searchsorted(pairs, paired), len(pairs) - 1)
            codes = np.where((paired >= 0) & (pairs[place] == paired), place, -1) if len(pairs) else paired
        return codes


def encode(columns: Sequence[pa.ChunkedArray], rows: int) -> tuple[KeyCodes, Integers]:
    """Give the distinct keys of a table of `rows` rows their codes; return these, and the code of each row."""
    values = tuple(pc.unique(column).drop_null() for column in columns)
    pairs: list[Integers] = []
    for number in range(1, len(columns)):
        known = KeyCodes(values[:number], tuple(pairs)).of(columns[:number], rows)
        paired = _paired(known, _places(columns[number], values[number]), len(values[number]))
        pairs.append(np.unique(paired[paired >= 0]))
    keys = KeyCodes(values, tuple(pairs))
    return keys, keys.of(columns, rows)


def _places(column: pa.ChunkedArray, values: pa.Array) -> Integers:
    found: Integers = pc.fill_null(pc.index_in(column, value_set=values), -1).to_numpy()
    return found.astype(np.int64)


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
