"""Libraries of trees: their formats, their import, and columns in their shapes; nothing here fits."""

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
    """Import a library of trees, which may be an extra that is not installed.

    Raises
    ------
    PantheraError
        If it is not there, or cannot be loaded.

    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise PlanError(f"{name} is not installed; pip install 'pantherapredict[{name}]'") from None
    except OSError as error:  # unlike others of its kind, LightGBM's wheel brings no OpenMP library of its own
        raise PantheraError(
            f"{name} cannot be loaded ({error}); install the system's OpenMP library, on Debian the package libgomp1"
        ) from None


def catboost_columns(columns: Columns, categories: Sequence[int]) -> Any:
    """Write categories as whole numbers, which CatBoost demands; a missing one is a level of its own."""
    if not categories:
        return columns
    numbers = dense(columns)
    mixed = numbers.astype(object)
    for place in categories:
        mixed[:, place] = np.where(np.isnan(numbers[:, place]), -1, numbers[:, place]).astype(np.int64)
    return mixed
