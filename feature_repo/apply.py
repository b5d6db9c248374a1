"""Stage `apply`: bring the plan's entities, views and services into Feast's registry, and make their online tables."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.database import connect, ensure_database
from core.entry import run
from core.errors import StaleStateError
from core.files import read_receipt, write_receipt
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo import online_tables
from feature_repo.registry import REPO, changing_features, open_store
from feature_repo.tables_in_use import record_definitions

if TYPE_CHECKING:
    import feast

    from core.plan import Plan


def apply(store: feast.FeatureStore, plan: Plan, features: Path) -> dict[str, object]:
    """Make the registry say what `plan` says, no more and no less; return the receipt: names, and the online tables."""
    from feature_repo.definitions import ONLINE_TABLE, define

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


def applied_tables(receipt: Path, url: str) -> dict[str, str]:
    """Read from the receipt which online table each view has, and check that each is there.

    Raises
    ------
    StaleStateError
        If one is not: the database was wiped or is another one since.

    """
    views = read_receipt(receipt, "apply")["views"]
    if not isinstance(views, dict):
        raise StaleStateError(f"{receipt}: no views stand in it; run `panthera repair`")
    with connect(url) as connection:
        for view, table in views.items():
            if not online_tables.exists(connection, table):
                raise StaleStateError(
                    f"{receipt} says that the view {view!r} was applied as online.{table}, but the database has no such "
                    "table (it was wiped, or is another one): run `panthera repair`"
                )
    return views


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
