"""Reference distributions of a release: binned training values of its features and its score."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from core.errors import BundleError, PantheraError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FORMAT_VERSION = 1
#: Number of bins by level; rarer levels count as `other`, so that an identifier does not get one bin per row.
MAX_LEVELS = 50
_MICROSECONDS = 1_000_000

#: How a column is binned: by edges (a timestamp as seconds since 1970 in UTC), or by level.
Kind: TypeAlias = Literal["numeric", "timestamp", "levels"]


@dataclass(frozen=True)
class BinCounts:
    """Row counts of one column by bin.

    Attributes
    ----------
    regular : rows in each bin, in order.
    other : rows with a value outside the bins: an unknown level, or a value of another type.
    missing : rows without a value.

    """

    regular: tuple[int, ...]
    other: int
    missing: int

    @property
    def every_bin(self) -> tuple[int, ...]:
        """The counts of the regular bins, then other, then missing."""
        return (*self.regular, self.other, self.missing)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(self.every_bin)


@dataclass(frozen=True)
class ColumnReference:
    """The bins of one column and the number of training rows in each.

    Attributes
    ----------
    edges : of a numeric or timestamp column, strictly increasing; bin i contains edges[i - 1] <= value < edges[i], the
        first bin all values below edges[0], the last all values from edges[-1] on.
    levels : of a string or bool column, the most frequent first; those of a bool are "true" and "false".

    """

    name: str
    kind: Kind
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    counts: BinCounts


@dataclass(frozen=True)
class Reference:
    """The reference distributions of a release, one for each feature and one for the score."""

    columns: tuple[ColumnReference, ...]
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the reference as JSON; equal references yield equal texts."""
        return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> Reference:
        """Return the reference from the JSON of `to_json`; the round trip is exact.

        Raises
        ------
        BundleError
            If the text is not a reference, or has another format version.

        """
        try:
            content = json.loads(text)
            version = content["format_version"]
            if version == FORMAT_VERSION:
                return Reference(tuple(_column_from(column) for column in content["columns"]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"the reference distributions cannot be read ({type(error).__name__}: {error}); train the release again"
            ) from None
        raise BundleError(
            f"the reference distributions have format {version!r}, this version reads {FORMAT_VERSION}; "
            "train the release again"
        )


def _column_from(stored: dict[str, Any]) -> ColumnReference:
    if stored["kind"] not in ("numeric", "timestamp", "levels"):
        raise ValueError(f"found a column of the kind {stored['kind']!r}")
    counts = stored["counts"]
    return ColumnReference(
        name=str(stored["name"]),
        kind=stored["kind"],
        edges=tuple(float(edge) for edge in stored["edges"]),
        levels=tuple(str(level) for level in stored["levels"]),
        counts=BinCounts(
            regular=tuple(int(count) for count in counts["regular"]),
            other=int(counts["other"]),
            missing=int(counts["missing"]),
        ),
    )


def build_reference(columns: pa.Table) -> Reference:
    """Return the reference distribution of every column of `columns`.

    Numbers, decimals and timestamps are binned by their inner deciles, strings and bools by their levels; null and NaN
    are missing. The k-th decile is the smallest value with at least k tenths of the column's values at or below it, so
    each edge is a value of the data. A value that is more than one decile gets a bin of its own.

    Parameters
    ----------
    columns : one row for each training row, at least one.

    Raises
    ------
    PantheraError
        If there are no rows, or a column has a type without bins or an infinite value.

    """
    if columns.num_rows == 0:
        raise PantheraError("reference distributions need at least one training row, found 0; check the training set")
    return Reference(tuple(_bin_column(name, columns.column(name).combine_chunks()) for name in columns.column_names))


def _bin_column(name: str, values: pa.Array) -> ColumnReference:
    kind = _kind_of(name, values.type)
    if kind == "levels":
        return _bin_levels(name, values)
    return _bin_numbers(name, kind, _as_floats(values, kind))


def _kind_of(name: str, dtype: pa.DataType) -> Kind:
    types = pa.types
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return "numeric"
    if types.is_timestamp(dtype):
        return "timestamp"
    if types.is_boolean(dtype) or types.is_string(dtype) or types.is_large_string(dtype) or types.is_dictionary(dtype):
        return "levels"
    raise PantheraError(
        f"column {name!r} is of type {dtype}, which has no reference bins; expected a number, timestamp, string or bool"
    )


def _as_floats(values: pa.Array, kind: Kind) -> NDArray[np.float64]:
    """Return numbers, or timestamps as seconds since 1970, as floats; nulls become NaN at the end of the array."""
    present = values.drop_null()
    if kind == "timestamp":
        microseconds = present.cast(pa.timestamp("us", tz=present.type.tz)).cast(pa.int64())
        floats = microseconds.to_numpy(zero_copy_only=False) / _MICROSECONDS
    else:
        floats = present.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.concatenate([np.asarray(floats, dtype=np.float64), np.full(values.null_count, math.nan)])


def _bin_numbers(name: str, kind: Kind, values: NDArray[np.float64]) -> ColumnReference:
    present = np.sort(values[~np.isnan(values)])
    if present.size and not (math.isfinite(present[0]) and math.isfinite(present[-1])):
        raise PantheraError(
            f"column {name!r} has an infinite value, which neither JSON nor the online store can hold; "
            "correct its SQL (divide by nullif(x, 0))"
        )
    edges = _decile_edges(present)
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), present, side="right")
    regular = np.bincount(bins, minlength=len(edges) + 1)
    counts = BinCounts(tuple(int(count) for count in regular), other=0, missing=int(values.size - present.size))
    return ColumnReference(name, kind, edges, (), counts)


def _decile_edges(ordered: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the distinct inner deciles of sorted values.

    A decile that occurs more than once is a value of a tenth of the rows or more. The next float above it becomes an edge
    too. Otherwise a feature that is 0 in nine rows of ten would have one bin for all values from 0 on, and could not drift.
    """
    if ordered.size == 0:
        return ()
    deciles: Sequence[float] = [float(ordered[(tenth * ordered.size + 9) // 10 - 1]) for tenth in range(1, 10)]
    edges = set(deciles)
    edges.update(math.nextafter(value, math.inf) for value, times in Counter(deciles).items() if times > 1)
    return tuple(sorted(edges - {math.inf}))  # no value lies above the largest float


def _bin_levels(name: str, values: pa.Array) -> ColumnReference:
    texts = values.cast(pa.string()).drop_null().value_counts().to_pylist()
    ordered = sorted(((entry["counts"], entry["values"]) for entry in texts), key=lambda entry: (-entry[0], entry[1]))
    kept, rest = ordered[:MAX_LEVELS], ordered[MAX_LEVELS:]
    counts = BinCounts(
        tuple(count for count, _ in kept), other=sum(count for count, _ in rest), missing=int(values.null_count)
    )
    return ColumnReference(name, "levels", (), tuple(level for _, level in kept), counts)
