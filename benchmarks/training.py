"""Training and scoring against the stock ways; the last line is one JSON object.

Run it as `python benchmarks/training.py`, or `make bench-training`. Every comparison is made in this one process, on rows
that are drawn here: 24 numbers with gaps, one category, one free text, and a label that follows some of them.

- `tune_speedup`: 40 trials over training parameters of LightGBM, as the plan's `tune` runs them, against a loop that makes
  the Dataset anew for each of the same 40 parameters and fits it to its end; `tune_speedup_unpruned` is the same without
  giving up trials, so the Dataset alone.
- `bundle_load_ms`: loading a bundle whole: signature, hashes, model, golden rows.
- `score_row_us`: one row from its values to its score, by candidate: `panthera` by its bundle, `scikit` by the fitted
  pipeline or wrapper over a data frame of one row, `pyfunc` by `mlflow.pyfunc` over the same.
- `rows_per_second`: by number of rows, how many are encoded, fitted (LightGBM, 100 rounds) and scored a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from core.contracts import Contract, ContractFeature, ContractView
from core.plan_candidates import Candidate, LightGbmCandidate
from core.plan_tuning import Tune
from models.boosting import lightgbm_parameters
from models.bundle import load_bundle, write_bundle
from models.bundling import bundle_contents
from models.candidates import fit
from models.encoding import encode_table, vectors_of
from models.model_file import load_model
from models.rows import BINARY, Rows
from models.signing import Signer
from models.trial_loss import TrialLoss
from models.tuning import search

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from core.contracts import Value
    from models.bundle import Bundle

    Score = Callable[[], object]

_NUMBERS = 24
_MISSING = 0.05
_LEVELS = ("basic", "family", "plus", "premium")
_WORDS = ("late", "slow", "good", "fast", "price", "invoice", "cancel", "thanks")
FEATURES = (
    *(ContractFeature("v", f"number{place}", "float64") for place in range(_NUMBERS)),
    ContractFeature("v", "tariff", "string", _LEVELS),
    ContractFeature("v", "note", "text"),
)
_TEXT = ["tfidf"]
KINDS: dict[str, dict[str, Any]] = {
    "majority": {"estimator": "majority"},
    "single_feature": {"estimator": "single_feature", "feature": "v.number0"},
    "logistic_regression": {"estimator": "logistic_regression"},
    "logistic_with_text": {"estimator": "logistic_regression", "text": _TEXT},
    "linear_svm": {"estimator": "linear_svm"},
    "decision_tree": {"estimator": "decision_tree"},
    "random_forest": {"estimator": "random_forest", "trees": 100, "max_depth": 8},
    "mlp": {"estimator": "mlp", "rounds": 20},
    "lightgbm": {"estimator": "lightgbm", "rounds": 300, "early_stopping": 300, "params": {"num_leaves": 15}},
    "xgboost": {"estimator": "xgboost", "rounds": 300, "early_stopping": 300, "params": {"max_depth": 4}},
    "catboost": {"estimator": "catboost", "rounds": 300, "early_stopping": 300, "params": {"depth": 4}},
}
_SEARCH = {
    "params.num_leaves": {"low": 7, "high": 31},
    "params.learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "params.min_data_in_leaf": {"low": 10, "high": 200, "log": True},
}
_TRIALS = 40
_TUNE_ROUNDS = 30
_REPEATS = 300


def draw(rows: int) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int32]]]:
    """Draw a table of the features, and labels."""
    chance = np.random.default_rng(7)
    numbers = chance.normal(size=(rows, _NUMBERS))
    tariff = chance.integers(0, len(_LEVELS), rows)
    chosen = chance.integers(0, len(_WORDS), (rows, 4))
    truth = numbers[:, 0] + 0.5 * numbers[:, 1] * numbers[:, 2] + (tariff == 1) + (chosen[:, 0] == 0) - 1
    label = (truth + chance.logistic(size=rows) > 0).astype(np.int32)
    columns: dict[str, Any] = {
        f"v__number{place}": pa.array(numbers[:, place], mask=chance.random(rows) < _MISSING)
        for place in range(_NUMBERS)
    }
    columns["v__tariff"] = pa.array(np.array(_LEVELS)[tariff])
    columns["v__note"] = pa.array([" ".join(_WORDS[place] for place in words) for words in chosen.tolist()])
    return pa.table(columns), label


def candidate(spec: dict[str, Any]) -> Candidate:
    """Read a candidate as the plan does."""
    read: Candidate = TypeAdapter(Candidate).validate_python(spec)
    return read


def measure_tuning(fitting: Rows, checking: Rows, scratch: Path) -> dict[str, float]:
    """Time the search, and a loop over the same parameters that shares nothing."""
    tuned = LightGbmCandidate(estimator="lightgbm", rounds=_TUNE_ROUNDS, early_stopping=_TUNE_ROUNDS)
    seconds, values = {}, []
    for name, prune in (("unpruned", False), ("pruned", True)):
        tune = Tune.model_validate({"search": _SEARCH, "trials": _TRIALS, "prune": prune, "sampler": "random"})
        started = time.perf_counter()
        loss = TrialLoss(FEATURES, [(fitting, checking)], BINARY, 1)
        found = search(tuned, tune, loss, scratch / f"{name}.journal", 1, lambda _: None)
        seconds[name] = time.perf_counter() - started
        values = [dict(trial.values) for trial in found.trials]
    started = time.perf_counter()
    for tried in values:
        rebuilt(tuned, {path.removeprefix("params."): value for path, value in tried.items()}, fitting, checking)
    alone = time.perf_counter() - started
    return {
        "tune_speedup": round(alone / seconds["pruned"], 2),
        "tune_speedup_unpruned": round(alone / seconds["unpruned"], 2),
        "tune_seconds": round(seconds["pruned"], 2),
        "tune_rebuilt_seconds": round(alone, 2),
    }


def rebuilt(tuned: LightGbmCandidate, params: dict[str, Any], fitting: Rows, checking: Rows) -> None:
    """Fit as a loop does that shares nothing between its trials."""
    import lightgbm

    data = lightgbm.Dataset(fitting.inputs.matrix, fitting.label, categorical_feature=[_NUMBERS])
    lightgbm.train(
        lightgbm_parameters(replace_params(tuned, params), BINARY, 1),
        data,
        num_boost_round=_TUNE_ROUNDS,
        valid_sets=[lightgbm.Dataset(checking.inputs.matrix, checking.label, reference=data)],
        callbacks=[lightgbm.early_stopping(_TUNE_ROUNDS, verbose=False)],
    )


def replace_params(tuned: LightGbmCandidate, params: dict[str, Any]) -> LightGbmCandidate:
    """Give the candidate with other parameters."""
    return tuned.model_copy(update={"params": params})


def contract_for(kind: str, model_format: str) -> Contract:
    """Write the contract of a candidate over the features."""
    return Contract(
        format_version=2,
        project="benchmark",
        problem="binary",
        candidate=kind,
        estimator=model_format,
        feature_service="all",
        entity_key="who",
        entity_dtype="int64",
        views=(ContractView("v", "v__1", timedelta(days=1)),),
        features=FEATURES,
        threshold=0.5,
        horizon=timedelta(days=30),
        data_revision="drawn",
        code_revision="here",
    )


def measure_scoring(table: pa.Table, rows: Rows, scratch: Path) -> dict[str, dict[str, Any]]:
    """Time a row's score and a bundle's load, by candidate."""
    frame = table.drop_columns("v__note").to_pandas()
    frame["v__tariff"] = frame["v__tariff"].astype("category")
    signer = Signer(Ed25519PrivateKey.generate())
    loads, scores = {}, {}
    for kind, spec in KINDS.items():
        fitted = fit(candidate(spec), FEATURES, rows, rows, 1)
        contract = contract_for(kind, fitted.model_format)
        digest = write_bundle(scratch, bundle_contents(contract, fitted.content, table), signer)
        loads[kind] = round(microseconds(lambda d=digest: load_bundle(scratch / d, signer.trusted), 10) / 1000, 2)  # type: ignore[misc]
        bundle = load_bundle(scratch / digest, signer.trusted)
        scores[kind] = row_times(kind, bundle, vectors_of(table.slice(0, 50), FEATURES), frame, rows, scratch)
    return {"bundle_load_ms": loads, "score_row_us": scores}


def row_times(
    kind: str, bundle: Bundle, vectors: Sequence[Sequence[Value]], frame: pd.DataFrame, rows: Rows, scratch: Path
) -> dict[str, float]:
    """Time one row by the bundle, by the stock estimator, and by pyfunc."""
    turn = iter(range(10**9))
    found = {"panthera": microseconds(lambda: bundle.score([vectors[next(turn) % len(vectors)]]), _REPEATS)}
    stock = stock_estimator(kind)
    if stock is not None:
        stock.fit(frame, rows.label)
        one = frame.iloc[[0]]
        found["scikit"] = microseconds(lambda: stock.predict_proba(one), _REPEATS // 3)
        found["pyfunc"] = microseconds(pyfunc_score(stock, frame, scratch / f"pyfunc_{kind}"), _REPEATS // 6)
        found["times_faster_than_pyfunc"] = found["pyfunc"] / found["panthera"]
    return {name: round(value, 1) for name, value in found.items()}


def stock_estimator(kind: str) -> Any | None:
    """Give what a team would fit by itself for the same candidate; None where there is nothing of the kind."""
    from lightgbm import LGBMClassifier
    from sklearn.compose import ColumnTransformer
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    numbers = [f"v__number{place}" for place in range(_NUMBERS)]
    prepared = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("levels", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["v__tariff"]),
        ]
    )
    behind = {
        "logistic_regression": LogisticRegression(max_iter=1000),
        "decision_tree": DecisionTreeClassifier(max_depth=5, min_samples_leaf=20),
        "random_forest": RandomForestClassifier(100, max_depth=8, min_samples_leaf=5),
        "mlp": MLPClassifier((32,), early_stopping=True, max_iter=20),
    }
    alone = {
        "majority": DummyClassifier(strategy="prior"),
        "lightgbm": LGBMClassifier(n_estimators=300, num_leaves=15, n_jobs=1, verbosity=-1),
    }
    return make_pipeline(prepared, behind[kind]) if kind in behind else alone.get(kind)


def pyfunc_score(stock: Any, frame: pd.DataFrame, folder: Path) -> Score:
    """Save the stock estimator with its signature as MLflow does, load it as a pyfunc, and give its call for one row."""
    import mlflow

    one = frame.iloc[[0]]
    flavour = mlflow.lightgbm if type(stock).__name__.startswith("LGBM") else mlflow.sklearn
    options = {} if flavour is mlflow.lightgbm else {"serialization_format": "cloudpickle"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = mlflow.models.infer_signature(frame.head(5), stock.predict(frame.head(5)))
        flavour.save_model(stock, str(folder), signature=signature, **options)
        loaded = mlflow.pyfunc.load_model(str(folder))
    return lambda: loaded.predict(one)


def microseconds(call: Score, repeats: int) -> float:
    """Give the median time of a call."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(taken)


def measure_rates(rows: int) -> dict[str, int]:
    """Say how many rows a second are encoded, fitted and scored."""
    table, label = draw(rows)
    trees = candidate({"estimator": "lightgbm", "rounds": 100, "early_stopping": 100, "params": {"num_leaves": 15}})
    started = time.perf_counter()
    inputs = encode_table(table, FEATURES)
    encoded = time.perf_counter()
    given = Rows(inputs, label)
    fitted = fit(trees, FEATURES, given, given.take(np.arange(0, rows, 10)), 1)
    learned = time.perf_counter()
    load_model(fitted.model_format, fitted.content).outputs(inputs)
    scored = time.perf_counter()
    return {
        "encode": round(rows / (encoded - started)),
        "fit": round(rows / (learned - encoded)),
        "score": round(rows / (scored - learned)),
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the search")
    parser.add_argument("--rates", type=int, nargs="*", default=[100_000, 1_000_000], help="rows to measure rates at")
    parsed = parser.parse_args()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    warnings.filterwarnings("ignore", category=FutureWarning)
    table, label = draw(parsed.rows)
    whole = Rows(encode_table(table, FEATURES), label)
    later = parsed.rows * 4 // 5
    fitting, checking = whole.take(np.arange(later)), whole.take(np.arange(later, parsed.rows))
    few = min(parsed.rows, 20_000)
    with tempfile.TemporaryDirectory() as scratch:
        found: dict[str, Any] = measure_tuning(fitting, checking, Path(scratch))
        print(f"tuning: {found}")
        found.update(measure_scoring(table.slice(0, few), whole.take(np.arange(few)), Path(scratch)))
    found["rows_per_second"] = {str(rows): measure_rates(rows) for rows in parsed.rates}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
