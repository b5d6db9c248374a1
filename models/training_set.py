"""Stage `training_set`: join a feature service, point in time, to the labelled entities of each as-of instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.entry import run
from core.errors import PlanError
from core.files import write_whole
from core.plan.file import read_plan
from core.postgres.database import ensure_database
from core.settings import read_settings
from feature_repo.stores.linked_retrieval import historical_features
from feature_repo.stores.registry import open_store
from feature_repo.upkeep.applied import applied_tables
from models.data.labels import plan_labels
from models.data.parts import parts_of
from models.data.rows import weights_of
from models.data.split import GAP, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    import feast

    from core.plan.plan import Problem
    from core.plan.training_set import Split


def training_set(
    store: feast.FeatureStore,
    labelled: pa.Table,
    service: str,
    split: Split,
    problem: Problem = "binary",
    attributes: Sequence[str] = (),
) -> pa.Table:
    """Return the labelled entities joined with the features of `service` and the `attributes` (`view.feature`).

    Returns
    -------
    One row for each labelled entity outside the gaps of the split: key, as_of, label, split, then the features in the
    service's order as `view__feature`, then the attributes that are not among them.

    """
    entity_rows = labelled.rename_columns(
        ["event_timestamp" if name == "as_of" else name for name in labelled.column_names]
    )
    listed = [
        f"{projection.name}:{feature.name}"
        for projection in store.get_feature_service(service).feature_view_projections
        for feature in projection.features
    ]
    beside = [reference.replace(".", ":") for reference in attributes]
    joined = historical_features(store, entity_rows, list(dict.fromkeys([*listed, *beside])))
    joined = joined.rename_columns(["as_of" if name == "event_timestamp" else name for name in joined.column_names])
    joined = joined.add_column(3, "split", parts_of(split, joined, labelled.column_names[0], problem))
    return joined.filter(pc.not_equal(joined.column("split"), GAP))


def check_parts(table: pa.Table, problem: Problem = "binary", order: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of rows of each part of the split; `order` has the classes that the plan orders.

    Raises
    ------
    PlanError
        If a part is empty or has one label only, or the training rows lack a class of a later part or of the order: nothing
        could be fitted or measured on it.

    """
    labels = {
        part: table.filter(pc.equal(table.column("split"), part)).column("label") for part in (TRAIN, VALIDATION, TEST)
    }
    wanted = (
        "different numbers" if problem == "regression" else "both classes" if problem == "binary" else "all classes"
    )
    for part, found in labels.items():
        if len(found.unique()) < 2:  # noqa: PLR2004 - nothing varies
            held = f"only the label {found[0].as_py()}" if len(found) else "no row"
            raise PlanError(
                f"training_set.split: the {part} part has {held}; it needs rows of {wanted}: "
                "bring more labelled rows, or move the dates of a temporal split, or widen as_of"
            )
        unknown = set(found.unique().to_pylist()) - set(labels[TRAIN].unique().to_pylist())
        if problem == "multiclass" and unknown:
            raise PlanError(
                f"training_set.split: the {part} part has rows of the class {min(unknown)!r}, the {TRAIN} part has none; "
                "merge rare classes in label.value, bring more rows, or move the dates of a temporal split"
            )
    lacking = [name for name in order if name not in labels[TRAIN].unique().to_pylist()]
    if lacking:
        raise PlanError(
            f"label.order: the {TRAIN} part has no row of the class {lacking[0]!r}; take it out, merge it with its neighbour "
            "in label.value, or bring more rows"
        )
    return {part: len(found) for part, found in labels.items()}


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accepted", type=Path, required=True, help="folder of the accepted rows")
    parser.add_argument("--applied", type=Path, required=True, help="receipt of `apply`")
    parser.add_argument("--out", type=Path, required=True, help="parquet file to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    applied_tables(arguments.applied, ensure_database(settings))
    section, problem = plan.training_set, plan.project.problem
    labelled = plan_labels(plan, arguments.accepted)
    store = open_store(settings)
    table = training_set(store, labelled.rows, section.service, section.split, problem, section.read_besides)
    counts = check_parts(table, problem, plan.label.ordered)
    for name in counts:
        weights_of(table.filter(pc.equal(table.column("split"), name)), section.weight_column)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(arguments.out, sink.getvalue().to_pybytes())
    counts |= {"without a label, left out": labelled.unlabelled} if labelled.unlabelled else {}
    print("training_set: " + ", ".join(f"{rows:,} {part}" for part, rows in counts.items()))


if __name__ == "__main__":
    run(main)
