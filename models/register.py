"""Stage `register`: bundle the candidates, register them in MLflow and the ledger, and compare the best with the champion.

`models.releases.role_decision` derives the roles from the verdict.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.files import write_receipt
from core.plan.file import read_plan
from core.postgres.database import connect, ensure_database
from core.settings import read_settings
from feature_repo.stores.registry import open_store
from feature_repo.upkeep.tables_in_use import fingerprints
from models.bundles.bundle import load_bundle, write_bundle
from models.bundles.bundling import Revisions, bundle_contents, contract_of, with_score_reference
from models.bundles.revisions import actor, code_revision, data_revision, lock_revision
from models.bundles.signing import read_signer, read_trusted
from models.candidates.candidates import read_candidate
from models.data.attributes import join_features
from models.data.split import TEST, TRAIN, part, read_training_set
from models.evaluation.evaluation import read_evaluation
from models.releases import ledger
from models.releases.ledger import NewRelease
from models.releases.needed_tables import record_missing_tables
from models.releases.registry import open_registry, run_of, runs_of
from models.releases.role_decision import compare_with_champion, decide_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from core.contracts import Contract, ContractFeature
    from core.plan.plan import Plan
    from core.settings import Settings
    from models.bundles.bundle import Bundle
    from models.evaluation.evaluation import CandidateResult
    from models.releases.ledger import LedgerRelease, Verdict
    from models.releases.registry import Registry


def metrics_of(result: CandidateResult) -> dict[str, float]:
    """Return a candidate's metrics as `validation_<metric>` and `test_<metric>`, and its threshold if it has one."""
    parts = {"validation": result.validation, "test": result.test}
    measured = {f"{name}_{metric}": value for name, values in parts.items() for metric, value in values.items()}
    return measured if math.isnan(result.threshold) else {**measured, "threshold": result.threshold}


def params_of(plan: Plan, candidate: str) -> dict[str, str]:
    """Return the candidate's settings in the plan, as texts."""
    return {key: str(value) for key, value in plan.train.candidates[candidate].model_dump().items()}


def release_of(contract: Contract, digest: str, version: str, metrics: dict[str, float], who: str) -> NewRelease:
    """Return the ledger's entry for a bundle."""
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


def register_all(
    arguments: argparse.Namespace, settings: Settings, plan: Plan, table: pa.Table, registry: Registry, url: str
) -> list[NewRelease]:
    """Write the candidates' bundles and register them in MLflow and the ledger; return the best on validation rows first."""
    checkout = Path(__file__).resolve().parent.parent
    revisions = Revisions(data_revision(arguments.training_set), code_revision(checkout), lock_revision(checkout))
    train = part(table, TRAIN)
    signer, who, releases = read_signer(settings), actor(settings, checkout), []
    for result in read_evaluation(arguments.evaluation).results:
        estimator, model = read_candidate(arguments.candidates / result.candidate)
        contract = with_score_reference(
            contract_of(plan, result, estimator, table, revisions), model, part(table, TEST)
        )
        digest = write_bundle(settings.bundles, bundle_contents(contract, model, train), signer)
        metrics, params = metrics_of(result), params_of(plan, result.candidate)
        version = registry.register(run_of(contract, settings.bundles / digest, params, metrics))
        releases.append(release_of(contract, digest, version, metrics, who))
    with connect(url) as connection:
        for release in releases:
            ledger.enter(connection, release)
        record_missing_tables(connection, settings.bundles, signer.trusted)
    return releases


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
    table, model = read_training_set(arguments.training_set), plan.register_.model
    url = ensure_database(settings)
    key = plan.unit.key

    def load(digest: str) -> Bundle:
        # The trusted keys are read for each bundle, because writing the first one may create the key.
        return load_bundle(settings.bundles / digest, read_trusted(settings))

    def join(rows: pa.Table, features: Sequence[ContractFeature]) -> pa.Table:
        return join_features(open_store(settings), rows, key, features)

    with open_registry(settings, url, plan.project.name, model) as registry:
        releases = register_all(arguments, settings, plan, table, registry, url)

        def compare(release: NewRelease, champion: LedgerRelease) -> Verdict:
            with connect(url) as connection:
                recorded = fingerprints(connection)
            return compare_with_champion(plan, table, load, join, release, champion, recorded)

        decision = decide_roles(url, releases, compare, releases[0].registered_by)
        with connect(url) as connection:
            holders = ledger.holders(connection, model)
        registry.follow(runs_of(holders, settings.bundles))
    roles = {role: release.release_id if release else None for role, release in holders.items()}
    print(f"register: {decision.words}")
    for role, release_id in roles.items():
        print(f"register: {role}: {release_id or 'none'}")
    registered = [release.release_id for release in releases]
    receipt = {"model": model, "data_revision": releases[0].data_revision, "releases": registered}
    write_receipt(arguments.receipt, {**receipt, **{str(role): release_id for role, release_id in roles.items()}})


if __name__ == "__main__":
    run(main)
