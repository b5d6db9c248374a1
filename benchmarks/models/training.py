"""Compare training and scoring with the stock tools; the last line is one JSON object.

Run it as `python -m benchmarks.models.training`, or `make bench-training`. All comparisons run in this one process, on random
rows: 24 numbers with missing values, one category, one free text, and a label that depends on some of them.

- `tune_speedup`: 40 trials over training parameters of LightGBM, as the plan's `tune` runs them but without pruning, compared
  with a loop that builds the Dataset anew for each of the same 40 parameters. `tune_losses_equal` is whether both have the
  same losses.
- `bundle_load_ms`: loading a complete bundle, by candidate: signature, hashes, model, golden rows.
- `score_row_us`: one row from its values to its score, by candidate. `panthera` uses the bundle. `scikit` uses the estimator
  that a team would fit by itself (a pipeline, or the library's scikit-learn wrapper), and `pyfunc` uses `mlflow.pyfunc`. Both
  build a data frame from the values; `pyfunc_of_frame` starts from an existing one.
- `rows_per_second`: the rows that are encoded, fitted (LightGBM, 100 rounds) and scored a second, by number of rows.
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
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from benchmarks.models.stock_candidates import stock_scores
from core.contracts import Contract, ContractFeature, ContractView
from core.plan.train import BlendCandidate, Candidate, LightGbmCandidate, StackingCandidate
from core.plan.tuning import Tune
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import bundle_contents
from models.bundles.signing import Signer
from models.candidates.candidates import fit
from models.candidates.ensembles import blend, stack
from models.candidates.lightgbm_fit import lightgbm_parameters
from models.candidates.trial_loss import TrialLoss
from models.candidates.tuning import search
from models.data.folds import stratified_folds
from models.data.rows import BINARY, Rows
from models.scoring.encoding import encode_table, vectors_of
from models.scoring.model_file import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from core.contracts import Value
    from models.bundles.bundle import Bundle
    from models.candidates.candidates import Fitted

_NUMBERS = 24
_MISSING = 0.05
_LEVELS = ("basic", "family", "plus", "premium")
_WORDS = ("late", "slow", "good", "fast", "price", "invoice", "cancel", "thanks")
FEATURES = (
    *(ContractFeature("v", f"number{number}", "float64") for number in range(_NUMBERS)),
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
BLEND = {"estimator": "blend", "of": ["logistic_regression", "lightgbm"]}
STACKING = {"estimator": "stacking", "of": ["logistic_regression", "lightgbm"], "folds": 3}
_SEARCH = {
    "params.num_leaves": {"low": 7, "high": 31},
    "params.learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "params.min_data_in_leaf": {"low": 10, "high": 200, "log": True},
}
_TRIALS = 40
_TUNE_ROUNDS = 30
_TUNED = LightGbmCandidate(estimator="lightgbm", rounds=_TUNE_ROUNDS, early_stopping=_TUNE_ROUNDS)
_REPEATS = 300
_VECTORS = 50


def draw(rows: int) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int32]]]:
    """Draw a table of the features, and labels."""
    rng = np.random.default_rng(7)
    numbers = rng.normal(size=(rows, _NUMBERS))
    tariff = rng.integers(0, len(_LEVELS), rows)
    words = rng.integers(0, len(_WORDS), (rows, 4))
    truth = numbers[:, 0] + 0.5 * numbers[:, 1] * numbers[:, 2] + (tariff == 1) + (words[:, 0] == 0) - 1
    label = (truth + rng.logistic(size=rows) > 0).astype(np.int32)
    columns: dict[str, Any] = {
        f"v__number{number}": pa.array(numbers[:, number], mask=rng.random(rows) < _MISSING)
        for number in range(_NUMBERS)
    }
    columns["v__tariff"] = pa.array(np.array(_LEVELS)[tariff])
    columns["v__note"] = pa.array([" ".join(_WORDS[word] for word in note) for note in words.tolist()])
    return pa.table(columns), label


def candidate(spec: dict[str, Any]) -> Candidate:
    """Return a candidate, validated as in a plan."""
    parsed: Candidate = TypeAdapter(Candidate).validate_python(spec)
    return parsed


def measure_tuning(fitting: Rows, checking: Rows, scratch: Path) -> dict[str, Any]:
    """Return the times of the search, and of a loop over the same parameters that shares nothing between its trials."""
    tune = Tune.model_validate({"search": _SEARCH, "trials": _TRIALS, "prune": False, "sampler": "random"})
    started = time.perf_counter()
    loss = TrialLoss(FEATURES, [(fitting, checking)], BINARY, 1)
    result = search(_TUNED, tune, loss, scratch / "trials.journal", 1, lambda _: None)
    search_seconds = time.perf_counter() - started
    started = time.perf_counter()
    losses = [
        fit_from_scratch(
            {path.removeprefix("params."): value for path, value in trial.values.items()}, fitting, checking
        )
        for trial in result.trials
    ]
    loop_seconds = time.perf_counter() - started
    return {
        "tune_speedup": round(loop_seconds / search_seconds, 2),
        "tune_seconds": round(search_seconds, 2),
        "tune_rebuilt_seconds": round(loop_seconds, 2),
        "tune_losses_equal": [trial.loss for trial in result.trials] == losses,
    }


def fit_from_scratch(params: dict[str, Any], fitting: Rows, checking: Rows) -> float:
    """Fit LightGBM with new Datasets; return the loss."""
    import lightgbm

    data = lightgbm.Dataset(fitting.inputs.matrix, fitting.label, categorical_feature=[_NUMBERS])
    booster = lightgbm.train(
        lightgbm_parameters(_TUNED.model_copy(update={"params": params}), BINARY, 1),
        data,
        num_boost_round=_TUNE_ROUNDS,
        valid_sets=[lightgbm.Dataset(checking.inputs.matrix, checking.label, reference=data)],
        callbacks=[lightgbm.early_stopping(_TUNE_ROUNDS, verbose=False)],
    )
    return float(booster.best_score["valid_0"]["binary_logloss"])


def contract_for(kind: str, model_format: str) -> Contract:
    """Return the contract of a candidate over the features."""
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


def fit_all(rows: Rows) -> dict[str, Fitted]:
    """Return every candidate, fitted."""
    fitted = {kind: fit(candidate(spec), FEATURES, rows, rows, 1) for kind, spec in KINDS.items()}
    blended, stacked = (candidate(spec) for spec in (BLEND, STACKING))
    assert isinstance(blended, BlendCandidate)
    assert isinstance(stacked, StackingCandidate)
    folds = stratified_folds(rows.label, stacked.folds, BINARY, 1)
    members = {name: candidate(KINDS[name]) for name in stacked.of}
    return {
        **fitted,
        "blend": blend(blended, fitted, BINARY),
        "stacking": stack(stacked, members, fitted, FEATURES, rows, rows, folds, 1, BINARY),
    }


def measure_scoring(table: pa.Table, rows: Rows, scratch: Path) -> dict[str, dict[str, Any]]:
    """Return the times to score a row and to load a bundle, by candidate."""
    signer = Signer(Ed25519PrivateKey.generate())
    vectors = vectors_of(table.slice(0, _VECTORS), FEATURES)
    loads, scores = {}, {}
    for kind, fitted in fit_all(rows).items():
        contents = bundle_contents(contract_for(kind, fitted.model_format), fitted.content, table)
        folder = scratch / write_bundle(scratch, contents, signer)
        loads[kind] = round(microseconds(partial(load_bundle, folder, signer.trusted), 10) / 1000, 2)
        bundle = load_bundle(folder, signer.trusted)
        own = microseconds(partial(_score_next, bundle, cycle(vectors)), _REPEATS)
        stock = stock_scores(kind, table, rows.label, scratch / f"pyfunc_{kind}")
        scikit, pyfunc, of_frame = (
            microseconds(call, _REPEATS // 3) for call in (stock.scikit, stock.pyfunc, stock.pyfunc_of_frame)
        )
        times = {"panthera": own, "scikit": scikit, "pyfunc": pyfunc, "pyfunc_of_frame": of_frame}
        times["times_faster_than_pyfunc"] = pyfunc / own
        scores[kind] = {name: round(value, 1) for name, value in times.items()}
        print(f"{kind}: loads in {loads[kind]} ms, a row {scores[kind]}")
    return {"bundle_load_ms": loads, "score_row_us": scores}


def _score_next(bundle: Bundle, vectors: Iterator[Sequence[Value]]) -> None:
    bundle.score([next(vectors)])


def microseconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, in microseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - started) / 1000)
    return statistics.median(times)


def measure_rates(rows: int) -> dict[str, int]:
    """Return the rows a second that are encoded, fitted and scored."""
    table, label = draw(rows)
    trees = candidate({"estimator": "lightgbm", "rounds": 100, "early_stopping": 100, "params": {"num_leaves": 15}})
    started = time.perf_counter()
    inputs = encode_table(table, FEATURES)
    encoded_at = time.perf_counter()
    encoded = Rows(inputs, label)
    fitted = fit(trees, FEATURES, encoded, encoded.take(np.arange(0, rows, 10)), 1)
    fitted_at = time.perf_counter()
    load_model(fitted.model_format, fitted.content).outputs(inputs)
    scored_at = time.perf_counter()
    return {
        "encode": round(rows / (encoded_at - started)),
        "fit": round(rows / (fitted_at - encoded_at)),
        "score": round(rows / (scored_at - fitted_at)),
    }


def main() -> None:
    """Read the arguments, measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the search")
    parser.add_argument("--rates", type=int, nargs="*", default=[100_000, 1_000_000], help="rows to measure rates at")
    parsed = parser.parse_args()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    warnings.filterwarnings("ignore", category=FutureWarning)
    table, label = draw(parsed.rows)
    encoded = Rows(encode_table(table, FEATURES), label)
    later = parsed.rows * 4 // 5
    fitting, checking = encoded.take(np.arange(later)), encoded.take(np.arange(later, parsed.rows))
    few = min(parsed.rows, 20_000)
    with tempfile.TemporaryDirectory() as scratch:
        measures: dict[str, Any] = measure_tuning(fitting, checking, Path(scratch))
        print(f"tuning: {measures}")
        measures.update(measure_scoring(table.slice(0, few), encoded.take(np.arange(few)), Path(scratch)))
    measures["rows_per_second"] = {str(rows): measure_rates(rows) for rows in parsed.rates}
    print(json.dumps(measures))


if __name__ == "__main__":
    main()
