"""Stage `build_features`: write snapshots of every feature view at its cadence, for every entity that exists then."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.entry import run
from core.files import require, whole_folder
from core.plan.file import read_plan
from core.plan.times import WITHOUT_TIME
from core.settings import read_settings
from feature_repo.files.datasets import snapshots_ledger
from feature_repo.files.kept_snapshots import add_kept, keep_computed
from feature_repo.sources.ledger import changing_ledger
from feature_repo.views.definitions import declared_table
from feature_repo.views.snapshots import build_views


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the accepted rows")
    parser.add_argument("--features", type=Path, required=True, help="folder to write the snapshots to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    for view in plan.build_features.views.values():
        for source in (*view.sources, *plan.entity_of(view).sources):
            require(arguments.accepted / source, "validate")
    ledger = snapshots_ledger(arguments.features.parent)
    with changing_ledger(ledger), whole_folder(arguments.features) as fresh:
        for name, rows in build_views(plan, arguments.accepted, fresh):
            print(f"build_features: {name}: {rows:,} rows")
            versions = ledger / declared_table(plan, name).name
            if plan.build_features.has_time:
                add_kept(versions, fresh / name)
            else:
                keep_computed(versions, fresh / name, WITHOUT_TIME)


if __name__ == "__main__":
    run(main)
