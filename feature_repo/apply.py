"""Stage `apply`: bring the plan's entities, views and services into Feast's registry, and make their online tables."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.entry import run
from core.files import write_receipt
from core.plan.file import read_plan
from core.postgres.database import connect, ensure_database
from core.settings import read_settings
from feature_repo.stores.registry import REPO, changing_features, open_store
from feature_repo.upkeep.tables_in_use import record_definitions

if TYPE_CHECKING:
    import feast

    from core.plan.plan import Plan


def apply(store: feast.FeatureStore, plan: Plan, features: Path) -> dict[str, object]:
    """Make the registry say what `plan` says, no more and no less; return the receipt: names, and the online tables."""
    from feature_repo.stores.definitions import ONLINE_TABLE, define

    wanted = define(plan, Path(os.path.relpath(features, REPO)))
    kept = {(type(thing), thing.name) for thing in wanted.all()}  # type: ignore[attr-defined]
    registered = [*store.list_feature_services(), *store.list_feature_views(), *store.list_entities()]
    gone = [thing for thing in registered if (type(thing), thing.name) not in kept and thing.name != "__dummy"]
    store.apply(wanted.all(), objects_to_delete=gone, partial=False)
    return {
        "entities": sorted(wanted.entities),
        "views": {name: view.tags[ONLINE_TABLE] for name, view in sorted(wanted.views.items())},
        "services": sorted(wanted.services),
    }


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="folder of the snapshots")
    parser.add_argument("--receipt", type=Path, required=True, help="receipt to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    with changing_features(url := ensure_database(settings)):
        receipt = apply(open_store(settings), plan, arguments.features)
        with connect(url) as connection:
            record_definitions(connection, plan)
    write_receipt(arguments.receipt, receipt)
    print(f"apply: {json.dumps(receipt['views'])}")


if __name__ == "__main__":
    run(main)
