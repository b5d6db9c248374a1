"""The exact Shapley values of boosted trees, which the trees compute themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.scoring.model_file import CatBoostTrees, LightGbmTrees, PreparedModel, XgboostTrees
from models.scoring.trees import catboost_columns, library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.scoring.encoding import Inputs
    from models.scoring.model_file import Estimator, Model


def exact_contributions(model: Model, inputs: Inputs) -> NDArray[np.float64] | None:
    """Return the contributions of the features to the raw scores, then the base; None if the model is not plain trees.

    The shape is (rows, outputs, features + 1).
    """
    if not isinstance(model, PreparedModel) or model.preparation is not None:
        return None
    exact = _of_trees(model.estimator, inputs.matrix)
    return None if exact is None else exact.reshape(len(inputs), -1, inputs.matrix.shape[1] + 1)


def _of_trees(estimator: Estimator, matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the exact contributions of boosted trees with the base last, or None for other estimators.

    The shape is (rows, features + 1), or (rows, outputs, features + 1) for several outputs.

    References
    ----------
    Lundberg, S. M., et al. (2020). From local explanations to global understanding with explainable AI for trees. Nature
    Machine Intelligence 2.

    """
    values = None
    if isinstance(estimator, LightGbmTrees):
        values = estimator.booster.predict(matrix, pred_contrib=True, num_threads=1)
    elif isinstance(estimator, XgboostTrees):
        values = estimator.booster.predict(estimator.data(matrix), pred_contribs=True)
    elif isinstance(estimator, CatBoostTrees):
        categorical = estimator.model.get_cat_feature_indices()
        pool = library("catboost").Pool(catboost_columns(matrix, categorical), cat_features=categorical)
        values = estimator.model.get_feature_importance(pool, type="ShapValues", thread_count=1)
    return None if values is None else np.asarray(values, dtype=np.float64)
