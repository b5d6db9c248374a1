"""Scikit-learn objects as skops files: no pickle, only trusted types, and equal objects give equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

#: The types of candidates that skops does not trust by default: scikit-learn types whose state is plain arrays, and the
#: transformers of this project.
TRUSTED = (
    *(
        f"{module}.{name}"
        for module in ("models.scoring.transformers", "models.transformers")  # the second in files of earlier versions
        for name in ("LevelRanks", "NearestRowsImputer", "SignedLog", "Winsoriser")
    ),
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
)
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


#: The scikit-learn estimators that candidates hold, by the modules that define them.
_ESTIMATORS = {
    "calibration": ("CalibratedClassifierCV",),
    "decomposition._pca": ("PCA",),
    "decomposition._truncated_svd": ("TruncatedSVD",),
    "dummy": ("DummyClassifier", "DummyRegressor"),
    "ensemble._forest": (
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
    ),
    "feature_extraction.text": ("CountVectorizer", "TfidfTransformer", "TfidfVectorizer"),
    "impute._base": ("MissingIndicator", "SimpleImputer"),
    "impute._knn": ("KNNImputer",),
    "linear_model._base": ("LinearRegression",),
    "linear_model._bayes": ("BayesianRidge",),
    "linear_model._coordinate_descent": ("ElasticNet", "Lasso"),
    "linear_model._logistic": ("LogisticRegression",),
    "linear_model._ridge": ("Ridge",),
    "neural_network._multilayer_perceptron": ("MLPClassifier", "MLPRegressor"),
    "pipeline": ("Pipeline",),
    "preprocessing._data": ("MinMaxScaler", "PowerTransformer", "RobustScaler", "StandardScaler"),
    "preprocessing._encoders": ("OneHotEncoder",),
    "preprocessing._label": ("LabelBinarizer", "LabelEncoder"),
    "preprocessing._polynomial": ("PolynomialFeatures",),
    "preprocessing._target_encoder": ("TargetEncoder",),
    "svm._classes": ("LinearSVC", "LinearSVR"),
    "tree._classes": (
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
    ),
}
ESTIMATORS = tuple(f"sklearn.{module}.{name}" for module, names in _ESTIMATORS.items() for name in names)


def write_skops(value: Any) -> bytes:
    """Compose the skops file of fitted scikit-learn objects, or of lists and mappings of them."""
    return _canonical(_skops().dumps(value))


def read_skops(content: bytes) -> Any:
    """Return the objects of a skops file; skops raises its own error for an untrusted type before it creates any object."""
    skops = _skops()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.loads(content, trusted=[*TRUSTED, *ESTIMATORS])
    except UntrustedTypesFoundException:
        return skops.loads(content, trusted=[*TRUSTED, *_every_estimator()])


def _skops() -> Any:
    """Import skops.io when it is first used."""
    from models.scoring.skops_library import skops_io

    return skops_io


def _every_estimator() -> list[str]:
    """Return the names that skops trusts by default: those of all of scikit-learn's estimators."""
    from sklearn.utils import all_estimators

    names = (f"{estimator.__module__}.{estimator.__name__}" for _, estimator in all_estimators())
    return [name for name in names if name.startswith("sklearn.")]


def _canonical(content: bytes) -> bytes:
    """Return a skops file without memory addresses and write times, so that equal models give equal bytes."""
    names: dict[int, int] = {}

    def renumber(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: _number(names, value) if key == "__id__" else renumber(value) for key, value in node.items()}
        if isinstance(node, list):
            return [renumber(item) for item in node]
        return node

    canonical = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(canonical, "w", zipfile.ZIP_DEFLATED) as new:
        schema = renumber(json.loads(old.read("schema.json")))
        text = json.dumps(schema)
        for number, member in enumerate(sorted(set(old.namelist()) - {"schema.json"}, key=text.find)):
            name = f"array{number}.npy"
            text = text.replace(f'"{member}"', f'"{name}"')
            new.writestr(zipfile.ZipInfo(name, ZIP_TIME), old.read(member))
        new.writestr(zipfile.ZipInfo("schema.json", ZIP_TIME), text)
    return canonical.getvalue()


def _number(names: dict[int, int], address: int) -> int:
    return names.setdefault(address, len(names) + 1)
