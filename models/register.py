"""Stage `register`: bundle the candidates, register them in MLflow and the ledger, and appoint champion and challenger.

The best candidate on the validation rows becomes the champion, the next one the challenger.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.database import connect, ensure_database
from core.entry import run
from core.files import write_receipt
from core.plan_file import read_plan
from core.settings import read_settings
from models import ledger
from models.bundle import write_bundle
from models.bundling import Revisions, bundle_contents, contract_of
from models.candidates import read_candidate
from models.evaluate import read_evaluation
from models.registry import DIGEST, CandidateRun, open_registry
from models.revisions import code_revision, data_revision, lock_revision
from models.signing import read_signer
from models.train import part
from models.training_set import TRAIN, read_training_set

if TYPE_CHECKING:
    from core.plan import Plan
    from models.evaluate import CandidateResult, Evaluation


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
    data, checkout = data_revision(arguments.training_set), Path(__file__).resolve().parent.parent
    revisions = Revisions(data, code_revision(checkout), lock_revision(checkout))
    signer = read_signer(settings)
    url = ensure_database(settings)
    releases = []
    with open_registry(settings, url, plan.project.name, plan.register_.model) as registry:
        for result in evaluation.results:
            estimator, model = read_candidate(arguments.candidates / result.candidate)
            contract = contract_of(plan, result, estimator, train, revisions)
            digest = write_bundle(settings.bundles, bundle_contents(contract, model, train), signer)
            tags = {
                DIGEST: digest,
                "candidate": result.candidate,
                "data_revision": revisions.data,
                "code_revision": revisions.code,
            }
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
                    data_revision=revisions.data,
                    code_revision=revisions.code,
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
    write_receipt(arguments.receipt, {"model": plan.register_.model, "data_revision": revisions.data, **roles})


if __name__ == "__main__":
    run(main)
