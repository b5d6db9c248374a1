"""Stage `apply`: write the plan's entities, views and services to Feast's registry, and create their online tables."""

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

#: What its functions import and later stages too, so that they find it imported (see core.launch).
LIBRARIES = (
    "feast",
    *(f"feature_repo.stores.{module}" for module in ("definitions", "offline_store", "online_store")),
)


def apply(store: feast.FeatureStore, plan: Plan, features: Path) -> dict[str, object]:
    """Write exactly the objects of `plan` to the registry; return the receipt: their names, and the views' online tables."""
    from feature_repo.stores.definitions import ONLINE_TABLE, define

    defined = define(plan, Path(os.path.relpath(features, REPO)))
    present = {(type(each), each.name) for each in defined.all()}  # type: ignore[attr-defined]
    registered = [*store.list_feature_services(), *store.list_feature_views(), *store.list_entities()]
    removed = [each for each in registered if (type(each), each.name) not in present and each.name != "__dummy"]
    store.apply(defined.all(), objects_to_delete=removed, partial=False)
    return {
        "entities": sorted(defined.entities),
        "views": {name: view.tags[ONLINE_TABLE] for name, view in sorted(defined.views.items())},
        "services": sorted(defined.services),
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
