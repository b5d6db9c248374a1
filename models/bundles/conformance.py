"""Check a vector against a contract, so that the refusal of a value unlike the training values names its feature."""

from __future__ import annotations

import math
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from core.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import Contract, ContractFeature, UnseenLevel, Value

_Conforms: TypeAlias = "Callable[[Value], bool]"

_INFINITE = (math.inf, -math.inf)
_KINDS: dict[str, type] = {"bool": bool, "timestamp": datetime}
_LONGEST_SHOWN = 40
_FLOAT_TYPES = frozenset({float, type(None)})


class Conformance:
    """The checks of one contract, built once and used for every vector.

    A missing value always conforms: None, and for floats also NaN and infinity, which the encoding treats as missing in
    training and serving. The candidate's steps handle missing values, and the plan's policy decides whether to answer.
    """

    def __init__(self, contract: Contract) -> None:
        self._features = contract.features
        self._unseen_level = contract.unseen_level
        self._checks = tuple(_check(feature, contract.unseen_level) for feature in contract.features)
        floats = [index for index, feature in enumerate(contract.features) if feature.dtype == "float64"]
        #: Returns the 64-bit floats of a vector: they conform by their type alone, so that they are checked together.
        self._floats = itemgetter(*floats) if len(floats) > 1 else None
        self._others = [
            (index, check) for index, check in enumerate(self._checks) if self._floats is None or index not in floats
        ]

    def fault(self, vector: Sequence[Value]) -> str | None:
        """Return the first violation in `vector` as a sentence, or None."""
        if len(vector) != len(self._checks):
            return f"a vector has {len(vector)} values, expected the contract's {len(self._checks)} features"
        if self._conforms(vector):
            return None
        wrong = next(
            (index, value)
            for index, (value, conforms) in enumerate(zip(vector, self._checks, strict=True))
            if value is not None and not conforms(value)
        )
        return self._sentence(wrong[1], self._features[wrong[0]])

    def _conforms(self, vector: Sequence[Value]) -> bool:
        if self._floats and not _FLOAT_TYPES.issuperset(map(type, self._floats(vector))):
            return all(value is None or conforms(value) for value, conforms in zip(vector, self._checks, strict=True))
        for index, conforms in self._others:
            value = vector[index]
            if value is not None and not conforms(value):
                return False
        return True

    def unfit(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Return which rows have a fault; `rows` has the contract's columns as an online store's typed columns.

        A typed column holds no value of another dtype, so that only an unseen level can be a fault.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        unfit = np.zeros(rows.num_rows, dtype=np.bool_)
        for feature in self._features if self._unseen_level == "refuse" else ():
            if feature.dtype == "string":
                column = rows.column(feature.column)
                known = pc.is_in(column, value_set=pa.array(feature.levels, column.type))
                unfit |= pc.and_not(column.is_valid(), known).to_numpy()
        return unfit

    def _sentence(self, value: Value, feature: ContractFeature) -> str:
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
        expected = feature.dtype
        if isinstance(value, str) and feature.dtype == "string":
            expected = f"one of the {len(feature.levels)} levels that it had in training"
        return f"{feature.view}.{feature.name} is {shown}, expected {expected}"


def _check(feature: ContractFeature, unseen_level: UnseenLevel) -> _Conforms:
    allowed, largest = DTYPES[feature.dtype].bounds, DTYPES[feature.dtype].largest
    if allowed is not None:
        return lambda value: type(value) is int and value in allowed
    if largest is not None:
        # `not >` lets NaN through.
        return lambda value: type(value) in {float, int} and (not abs(value) > largest or value in _INFINITE)  # type: ignore[arg-type]
    if feature.dtype == "string" and unseen_level == "refuse":
        levels = frozenset(feature.levels)
        return lambda value: value in levels
    kind = _KINDS.get(feature.dtype, str)
    return lambda value: isinstance(value, kind)
