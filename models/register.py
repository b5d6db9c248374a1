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
from models.evaluation import read_evaluation
from models.ledger import Act, NewRelease
from models.registry import DIGEST, CandidateRun, open_registry
from models.revisions import actor, code_revision, data_revision, lock_revision
from models.signing import read_signer
from models.train import part
from models.training_set import TRAIN, read_training_set

if TYPE_CHECKING:
    from core.contracts import Contract
    from core.plan import Plan
    from models.evaluation import CandidateResult, Evaluation


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


def release_of(contract: Contract, digest: str, version: str, metrics: dict[str, float], who: str) -> NewRelease:
    """Compose what the ledger says of a bundle."""
    return NewRelease(
        release_id=f"{contract.candidate}-{digest[:12]}",
        model=contract.model,
        candidate=contract.candidate,
        bundle_digest=digest,
        feature_service=contract.feature_service,
        data_revision=contract.data_revision,
        code_revision=contract.code_revision,
        registry_version=version,
        metrics=metrics,
        lock=contract.lock,
        registered_by=who,
    )


def run_of(contract: Contract, bundle: Path, params: dict[str, str], metrics: dict[str, float]) -> CandidateRun:
    """Compose what MLflow is told of a bundle."""
    tags = {
        DIGEST: bundle.name,
        "candidate": contract.candidate,
        "data_revision": contract.data_revision,
        "code_revision": contract.code_revision,
    }
    return CandidateRun(contract.candidate, params, metrics, tags, bundle)


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--candidates", type=Path, required=True, help="folder of the fitted candidates")
    parser.add_argument("--evaluation", type=Path, required=True, help="JSON file of `evaluate`")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    evaluation = read_evaluation(arguments.evaluation)
    train = part(read_training_set(arguments.training_set), TRAIN)
    data, checkout = data_revision(arguments.training_set), Path(__file__).resolve().parent.parent
    revisions = Revisions(data, code_revision(checkout), lock_revision(checkout))
    signer, who, name = read_signer(settings), actor(settings, checkout), plan.register_.model
    url = ensure_database(settings)
    releases = []
    with open_registry(settings, url, plan.project.name, name) as registry:
        for result in evaluation.results:
            estimator, model = read_candidate(arguments.candidates / result.candidate)
            contract = contract_of(plan, result, estimator, train, revisions)
            digest = write_bundle(settings.bundles, bundle_contents(contract, model, train), signer)
            metrics, params = metrics_of(result), params_of(plan, result.candidate)
            version = registry.register(run_of(contract, settings.bundles / digest, params, metrics))
            releases.append(release_of(contract, digest, version, metrics, who))
        with connect(url) as connection:
            ledger.lock_roles(connection, name)
            for release in releases:
                ledger.enter(connection, release)
            for place, role in enumerate(ledger.ROLES):
                act = Act("register", who, reason_of(evaluation, place))
                ledger.appoint(connection, name, role, releases[place].release_id, act)
            versions = ledger.versions(connection, name)
        registry.follow(versions)
    for role, release in zip(ledger.ROLES, releases, strict=False):
        print(f"register: {role}: {release.release_id} (version {release.registry_version})")
    roles: dict[str, object] = {role: release.release_id for role, release in zip(ledger.ROLES, releases, strict=False)}
    write_receipt(arguments.receipt, {"model": name, "data_revision": revisions.data, **roles})


if __name__ == "__main__":
    run(main)
