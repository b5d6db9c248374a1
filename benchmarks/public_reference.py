"""The reference of `benchmarks.public`: scikit-learn's HistGradientBoosting on the features of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.data.rows import labels_of, task_of
from models.data.split import TEST, TRAIN, part

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.plan import Plan

_COMPONENTS = 30
#: The library takes at most so many levels; rarer ones share one.
_LEVELS = 250


def reference_rows(
    plan: Plan, table: pa.Table, features: Sequence[ContractFeature], fitted_on: Collection[str]
) -> NDArray[np.float64]:
    """Return the predictions of the test rows by the reference, fitted on parts of the split.

    They are numbers, the probabilities of class 1, or of all classes, of the shape (rows, classes).
    """
    with threadpool_limits(1):  # threads that wait for one another are slow on a busy machine
        return _predictions(plan, table, features, fitted_on)


def _predictions(
    plan: Plan, table: pa.Table, features: Sequence[ContractFeature], fitted_on: Collection[str]
) -> NDArray[np.float64]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    fitting = table.filter(pc.is_in(table.column("split"), pa.array(list(fitted_on))))
    testing, task = part(table, TEST), task_of(plan.project.problem, part(table, TRAIN))
    columns = [_columns(feature, fitting, testing) for feature in features]
    fit_on, check_on = (np.hstack([pair[side] for pair in columns]) for side in (0, 1))
    codes = _categories(features, columns)
    settings: dict[str, Any] = {"categorical_features": codes or None, "random_state": plan.train.seed}
    label = labels_of(fitting.column("label"), task)
    if task.problem == "regression":
        loss = "poisson" if plan.evaluate.primary in {"poisson_deviance", "d2_poisson"} else "squared_error"
        model = HistGradientBoostingRegressor(loss=loss, **settings).fit(fit_on, label)
        return np.asarray(model.predict(check_on), dtype=np.float64)
    classifier = HistGradientBoostingClassifier(**settings).fit(fit_on, label)
    scores = np.asarray(classifier.predict_proba(check_on), dtype=np.float64)
    return scores[:, 1] if task.problem == "binary" else scores


Pair = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _columns(feature: ContractFeature, fitting: pa.Table, testing: pa.Table) -> Pair:
    """Return the columns of one feature, of the shape (rows, columns), for both parts."""
    parts = fitting.column(feature.column), testing.column(feature.column)
    if feature.dtype == "text":
        return _components(*(["" if text is None else text for text in column.to_pylist()] for column in parts))
    if feature.dtype == "string":
        return _codes(*parts)
    if feature.dtype == "timestamp":
        parts = parts[0].cast(pa.int64()), parts[1].cast(pa.int64())
    first, second = (np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))[:, None] for column in parts)
    return first, second


def _components(fitting: list[str], testing: list[str]) -> Pair:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    steps = make_pipeline(TfidfVectorizer(min_df=3), TruncatedSVD(_COMPONENTS, random_state=1))
    return np.asarray(steps.fit_transform(fitting)), np.asarray(steps.transform(testing))


def _codes(fitting: pa.ChunkedArray, testing: pa.ChunkedArray) -> Pair:
    """Return the rank of each level by its frequency: missing if it is missing or unseen, one for all of the rarest."""
    counts = pc.value_counts(fitting.drop_null()).to_pylist()
    levels = [one["values"] for one in sorted(counts, key=lambda one: (-one["counts"], one["values"]))]
    known = pa.array(levels, pa.string())

    def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
        found = pc.index_in(column, value_set=known).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.minimum(np.asarray(found, dtype=np.float64), _LEVELS - 1)[:, None]

    return numbers(fitting), numbers(testing)


def _categories(features: Sequence[ContractFeature], columns: Sequence[Pair]) -> list[int]:
    starts = np.cumsum([0, *(first.shape[1] for first, _ in columns)])
    return [int(start) for start, feature in zip(starts, features, strict=False) if feature.dtype == "string"]
