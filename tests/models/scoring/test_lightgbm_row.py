"""One row through LightGBM's trees is what the row is among many, to the last bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pytest

from models.scoring.lightgbm_row import LightGbmRow


def _rows() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Draw two numbers and a category, each with gaps; some categories were never trained on."""
    chance = np.random.default_rng(3)
    matrix = np.column_stack([chance.normal(size=(600, 2)), chance.integers(0, 12, 600)])
    matrix[chance.random(matrix.shape) < 0.1] = np.nan
    return matrix


def _booster(**parameters: Any) -> Any:
    matrix = _rows()[:400]
    matrix[matrix[:, 2] > 9, 2] = 0
    label = np.digitize(np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 2]) % 3, [0.5, 1.5])
    known = {"verbosity": -1, "num_leaves": 7, "min_data_per_group": 5, **parameters}
    label = np.minimum(label, 1) if known["objective"] == "binary" else label
    fitted = lightgbm.train(known, lightgbm.Dataset(matrix, label, categorical_feature=[2]), 30)
    return lightgbm.Booster(model_str=fitted.model_to_string())


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "binary"},
        {"objective": "binary", "boosting": "dart"},
        {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"objective": "multiclass", "num_class": 3},
        {"objective": "regression"},
        {"objective": "regression", "linear_tree": True},
    ],
)
def test_a_row_alone_is_what_it_is_among_all(parameters: dict[str, Any]) -> None:
    booster, rows = _booster(**parameters), _rows()
    together = booster.predict(rows).reshape(len(rows), -1)
    one = LightGbmRow(booster)
    alone = np.vstack([one.outputs(row[None, :]) for row in rows])
    np.testing.assert_array_equal(alone, together)
    assert one.width == 3


def test_rows_of_several_threads_do_not_mix() -> None:
    booster, rows = _booster(objective="binary"), _rows()
    one = LightGbmRow(booster)
    with ThreadPoolExecutor(4) as threads:
        alone = list(threads.map(lambda row: one.outputs(row[None, :])[0, 0], rows))
    np.testing.assert_array_equal(alone, booster.predict(rows))


def test_a_row_that_does_not_lie_in_order_is_read_as_its_values() -> None:
    booster, rows = _booster(objective="binary"), np.asfortranarray(_rows())
    assert LightGbmRow(booster).outputs(rows[7:8])[0, 0] == booster.predict(rows[7:8])[0]
