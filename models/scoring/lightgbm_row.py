"""Predict one row by LightGBM's C function for single rows.

`Booster.predict` creates a predictor for every call, which takes several times as long as the trees do for one row.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from models.scoring.trees import library

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Constants of LightGBM's c_api.h.
_PREDICT_NORMAL, _FLOAT64 = 0, 1
_FROM_FIRST, _ALL = 0, -1


class LightGbmRow:
    """Predicts single rows with a booster; the results equal those of `Booster.predict` bit for bit.

    Attributes
    ----------
    width : the number of columns that the trees expect.

    """

    def __init__(self, booster: Any) -> None:
        basic = library("lightgbm").basic
        self._booster = booster  # keeps its memory alive, to which the prepared call points
        self._library, self._check = basic._LIB, basic._safe_call  # noqa: SLF001 - the only access to the C interface
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
        """Return the predictions, of shape (1, outputs), for a row of shape (1, width)."""
        values = np.ascontiguousarray(row, dtype=np.float64)
        predictions, length = np.empty((1, self._outputs)), ctypes.c_int64()
        self._check(
            self._library.LGBM_BoosterPredictForMatSingleRowFast(
                self._prepared,
                ctypes.c_void_p(values.ctypes.data),
                ctypes.byref(length),
                ctypes.c_void_p(predictions.ctypes.data),
            )
        )
        return predictions
