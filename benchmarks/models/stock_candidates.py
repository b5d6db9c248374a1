"""The stock counterpart of each candidate in `benchmarks.models.training`: what a team fits itself and serves with MLflow."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from models.data.rows import Labels

_TARIFF, _NOTE = "v__tariff", "v__note"
_ROUNDS = 300


@dataclass(frozen=True)
class StockScores:
    """Functions that score one row, with the fitted estimator and with `mlflow.pyfunc`.

    They start from the row's values, as in a request; `pyfunc_of_frame` starts from a data frame.
    """

    scikit: Callable[[], object]
    pyfunc: Callable[[], object]
    pyfunc_of_frame: Callable[[], object]


def stock_scores(kind: str, table: pa.Table, label: Labels, folder: Path) -> StockScores:
    """Fit the stock estimator, and write it to `folder` as an MLflow model with a signature; return its functions."""
    frame = table.to_pandas()
    if kind in {"lightgbm", "xgboost", "catboost"}:
        # Trees are fitted on codes, since MLflow cannot enforce a schema with a categorical column.
        frame = frame.drop(columns=_NOTE).assign(
            **{_TARIFF: frame[_TARIFF].astype("category").cat.codes.astype("int64")}
        )
    elif kind != "logistic_with_text":
        frame = frame.drop(columns=_NOTE)
    estimator = stock_estimator(kind, [name for name in frame if name.startswith("v__number")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(frame, label, **({"categorical_feature": [_TARIFF]} if kind == "lightgbm" else {}))
        loaded = _as_pyfunc(kind, estimator, frame, folder)
    names, values = list(frame), next(frame.head(1).itertuples(index=False, name=None))

    def row() -> pd.DataFrame:
        return pd.DataFrame([values], columns=names)

    prepared = row()
    return StockScores(
        lambda: estimator.predict_proba(row()), lambda: loaded.predict(row()), lambda: loaded.predict(prepared)
    )


def _as_pyfunc(kind: str, estimator: Any, frame: pd.DataFrame, folder: Path) -> Any:
    import mlflow

    # MLflow warns about every pickle that it writes.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    flavours = {"lightgbm": mlflow.lightgbm, "xgboost": mlflow.xgboost, "catboost": mlflow.catboost}
    # By default MLflow refuses to read the model of scikit-learn that it has just written.
    options = {} if kind in {"xgboost", "catboost"} else {"serialization_format": "cloudpickle"}
    sample = frame.head(1000)
    signature = mlflow.models.infer_signature(sample, estimator.predict(sample))
    flavours.get(kind, mlflow.sklearn).save_model(estimator, str(folder), signature=signature, **options)
    return mlflow.pyfunc.load_model(str(folder))


def stock_estimator(kind: str, numbers: list[str]) -> Any:
    """Return the unfitted stock estimator of a candidate."""
    from catboost import CatBoostClassifier
    from lightgbm import LGBMClassifier
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    line = LogisticRegression(max_iter=1000)
    trees = LGBMClassifier(n_estimators=_ROUNDS, num_leaves=15, n_jobs=1, verbosity=-1)
    members = [("line", line), ("trees", trees)]
    with_preparation = {
        "logistic_regression": line,
        "logistic_with_text": line,
        "linear_svm": CalibratedClassifierCV(LinearSVC(dual=False), ensemble=False),
        "decision_tree": DecisionTreeClassifier(max_depth=5, min_samples_leaf=20),
        "random_forest": RandomForestClassifier(100, max_depth=8, min_samples_leaf=5),
        "mlp": MLPClassifier((32,), early_stopping=True, max_iter=20),
        "blend": VotingClassifier(members, voting="soft"),
        "stacking": StackingClassifier(members, cv=3),
    }
    complete = {
        "majority": DummyClassifier(strategy="prior"),
        "single_feature": make_pipeline(_preparation(numbers[:1], levels=False), line),
        "lightgbm": trees,
        "xgboost": XGBClassifier(n_estimators=_ROUNDS, max_depth=4, n_jobs=1),
        "catboost": CatBoostClassifier(
            iterations=_ROUNDS, depth=4, cat_features=[_TARIFF], thread_count=1, silent=True, allow_writing_files=False
        ),
    }
    if kind in complete:
        return complete[kind]
    return make_pipeline(_preparation(numbers, text=kind == "logistic_with_text"), with_preparation[kind])


def _preparation(numbers: list[str], *, levels: bool = True, text: bool = False) -> Any:
    """Return a transformer that imputes and scales numbers, one-hot encodes levels, and weights words by TF-IDF."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    steps: list[tuple[str, Any, Any]] = [
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers)
    ]
    if levels:
        steps.append(("levels", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [_TARIFF]))
    if text:
        steps.append(("words", TfidfVectorizer(max_features=1000, min_df=2), _NOTE))
    return ColumnTransformer(steps)
