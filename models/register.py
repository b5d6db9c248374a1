"""Stage `register`: bundle the candidates, register them in MLflow and the ledger, and appoint champion and challenger.

The best candidate on the validation rows becomes the champion, the next one the challenger.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.contracts import Contract, ContractView
from core.database import connect, ensure_database
from core.entry import run
from core.files import write_receipt
from core.plan_file import read_plan
from core.reference import build_reference
from core.settings import read_settings
from feature_repo.online_tables import declared_table
from models import ledger
from models.bundle import FORMAT_VERSION, contract_to_json, golden_rows, write_bundle
from models.candidates import load_model, read_candidate
from models.encoding import encode_table, vectors_of
from models.evaluate import read_evaluation
from models.registry import DIGEST, CandidateRun, open_registry
from models.revisions import code_revision, data_revision
from models.train import contract_features, part
from models.training_set import TRAIN, read_training_set

if TYPE_CHECKING:
    from core.plan import Plan
    from models.evaluate import CandidateResult, Evaluation

_GOLDEN_ROWS = 20
_REFERENCE_SAMPLE_ROWS = 10_000


def contract_of(plan: Plan, result: CandidateResult, estimator: str, train: pa.Table, data: str, code: str) -> Contract:
    """Write down what a candidate takes and says, and from which data and code it came."""
    features = contract_features(plan.build_features, plan.training_set.service, train)
    views = tuple(
        ContractView(name, declared_table(plan, name).name, view.ttl)
        for name, view in plan.build_features.views.items()
        if any(feature.view == name for feature in features)
    )
    return Contract(
        format_version=FORMAT_VERSION,
        project=plan.project.name,
        problem=plan.project.problem,
        candidate=result.candidate,
        estimator=estimator,
        feature_service=plan.training_set.service,
        entity_key=plan.unit.key,
        entity_dtype=plan.unit.dtype,
        views=views,
        features=features,
        threshold=result.threshold,
        horizon=plan.label.horizon,
        data_revision=data,
        code_revision=code,
    )


def spread(rows: int, wanted: int) -> pa.Array:
    """Choose `wanted` places, spread evenly over `rows`; all of them if there are no more."""
    return pa.array(np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(np.int64)))


def bundle_contents(contract: Contract, model: bytes, train: pa.Table) -> dict[str, bytes]:
    """Compose the files of a bundle from a fitted model and the rows it was trained on."""
    scores = load_model(contract.estimator, model).score(encode_table(train, contract.features))
    # Free text has no bins to compare, and may say more about a person than a sample of rows should keep.
    binned = [feature.column for feature in contract.features if feature.dtype != "text"]
    columns = train.select(binned).append_column("score", pa.array(scores))
    sample = pa.BufferOutputStream()
    pq.write_table(columns.take(spread(len(columns), _REFERENCE_SAMPLE_ROWS)), sample, compression="zstd")
    golden = spread(train.num_rows, _GOLDEN_ROWS)
    golden_scores = scores[golden.to_numpy()].tolist()
    return {
        "contract.json": contract_to_json(contract).encode(),
        "golden.json": golden_rows(vectors_of(train.take(golden), contract.features), golden_scores).encode(),
        "model": model,
        "reference.json": build_reference(columns).to_json().encode(),
        "reference.parquet": sample.getvalue().to_pybytes(),
    }


def metrics_of(result: CandidateResult) -> dict[str, float]:
    """Name all of a candidate's measures by their part of the split."""
    parts = {"validation": result.validation, "test": result.test}
    measured = {f"{name}_{metric}": value for name, values in parts.items() for metric, value in values.items()}
    return {**measured, "threshold": result.threshold}


def params_of(plan: Plan, candidate: str) -> dict[str, str]:
    """Name the candidate's settings in the plan."""
    return {key: str(value) for key, value in plan.train.candidates[candidate].model_dump().items()}


def reason_of(evaluation: Evaluation, place: int) -> str:
    """Say why the candidate at `place` has its role."""
    result = evaluation.results[place]
    value = result.validation[evaluation.primary]
    return (
        f"{('best', 'second best')[place]} of {len(evaluation.results)} by validation {evaluation.primary}, {value:.6f}"
    )


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the fitted candidates")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file of `evaluate`")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    evaluation = read_evaluation(arguments.metrics)
    train = part(read_training_set(arguments.training_set), TRAIN)
    data, code = data_revision(arguments.training_set), code_revision(Path(__file__).resolve().parent)
    url = ensure_database(settings)
    releases = []
    with open_registry(settings, url, plan.project.name, plan.register_.model) as registry:
        for result in evaluation.results:
            estimator, model = read_candidate(arguments.candidates / result.candidate)
            contract = contract_of(plan, result, estimator, train, data, code)
            digest = write_bundle(settings.bundles, bundle_contents(contract, model, train))
            tags = {DIGEST: digest, "candidate": result.candidate, "data_revision": data, "code_revision": code}
            metrics, params = metrics_of(result), params_of(plan, result.candidate)
            version = registry.register(
                CandidateRun(result.candidate, params, metrics, tags, settings.bundles / digest)
            )
            releases.append(
                ledger.NewRelease(
                    release_id=f"{result.candidate}-{digest[:12]}",
                    model=plan.register_.model,
                    candidate=result.candidate,
                    bundle_digest=digest,
                    feature_service=contract.feature_service,
                    data_revision=data,
                    code_revision=code,
                    registry_version=version,
                    metrics=metrics,
                )
            )
        with connect(url) as connection:
            for release in releases:
                ledger.enter(connection, release)
            for place, role in enumerate(ledger.ROLES):
                reason = reason_of(evaluation, place)
                ledger.appoint(connection, plan.register_.model, role, releases[place].release_id, reason)
        for role, release in zip(ledger.ROLES, releases, strict=False):
            registry.alias(role, release.registry_version)
            print(f"register: {role}: {release.release_id} (version {release.registry_version})")
    roles: dict[str, object] = {role: release.release_id for role, release in zip(ledger.ROLES, releases, strict=False)}
    write_receipt(arguments.receipt, {"model": plan.register_.model, "data_revision": data, **roles})


if __name__ == "__main__":
    run(main)
