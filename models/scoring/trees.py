"""Tree libraries: the names of their formats, their import, and columns for CatBoost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import PantheraError, PlanError
from models.scoring.columns import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.scoring.columns import Columns


LIGHTGBM_TEXT, XGBOOST_UBJ, CATBOOST_CBM = "lightgbm", "xgboost", "catboost"


def library(name: str) -> Any:
    """Import a tree library, which may be an optional dependency.

    Raises
    ------
    PantheraError
        If it is not installed, or cannot be loaded.

    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise PlanError(f"{name} is not installed; pip install 'pantherapredict[{name}]'") from None
    except OSError as error:  # LightGBM's wheel does not contain the OpenMP library
        raise PantheraError(
            f"{name} cannot be loaded ({error}); install the system's OpenMP library, on Debian the package libgomp1"
        ) from None


def catboost_columns(columns: Columns, categories: Sequence[int]) -> Any:
    """Return columns with categories as integers, which CatBoost requires; a missing one becomes the level -1."""
    if not categories:
        return columns
    numbers = dense(columns)
    mixed = numbers.astype(object)
    for index in categories:
        mixed[:, index] = np.where(np.isnan(numbers[:, index]), -1, numbers[:, index]).astype(np.int64)
    return mixed
