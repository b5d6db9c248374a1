"""One row through LightGBM's trees by the entry of its C interface that is made for it.

`Booster.predict` takes several times as long for one row as its trees do: it makes a predictor for every call.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from models.scoring.trees import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of LightGBM's c_api.h.
_PREDICT_NORMAL, _FLOAT64 = 0, 1
_FROM_FIRST, _ALL = 0, -1


class LightGbmRow:
    """A booster's predictions for single rows; as `Booster.predict` gives them, to the last bit.

    Attributes
    ----------
    width : the number of columns that the trees were made for.

    """

    def __init__(self, booster: Any) -> None:
        basic = library("lightgbm").basic
        self._booster = booster  # whose memory the prepared call points to
        self._library, self._check = basic._LIB, basic._safe_call  # noqa: SLF001 - the binding has no other way to its C interface
        self.width = int(booster.num_feature())
        self._outputs = int(booster.num_model_per_iteration())
        self._prepared = ctypes.c_void_p()
        self._check(
            self._library.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,  # noqa: SLF001
                _PREDICT_NORMAL,
                _FROM_FIRST,
                _ALL,
                _FLOAT64,
                self.width,
                b"num_threads=1",
                ctypes.byref(self._prepared),
            )
        )
        weakref.finalize(self, self._library.LGBM_FastConfigFree, self._prepared)

    def outputs(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict a row of the shape (1, width); the shape is (1, outputs)."""
        given = np.ascontiguousarray(row, dtype=np.float64)
        told, length = np.empty((1, self._outputs)), ctypes.c_int64()
        self._check(
            self._library.LGBM_BoosterPredictForMatSingleRowFast(
                self._prepared,
                ctypes.c_void_p(given.ctypes.data),
                ctypes.byref(length),
                ctypes.c_void_p(told.ctypes.data),
            )
        )
        return told
