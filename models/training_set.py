"""Stage `training_set`: join a feature service, point in time, to the labelled entities of each as-of instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.entry import run
from core.errors import PlanError
from core.files import write_whole
from core.plan.file import read_plan
from core.plan.section import column_of
from core.plan.training_set import GroupedSplit, RandomSplit, TemporalSplit
from core.postgres.database import ensure_database
from core.settings import read_settings
from feature_repo.stores.linked_retrieval import historical_features
from feature_repo.stores.registry import open_store
from feature_repo.upkeep.applied import applied_tables
from models.data.folds import grouped_folds, random_folds, stratified_folds
from models.data.labels import labelled_entities, labelled_instants
from models.data.rows import entity_codes, labels_of, task_of, weights_of
from models.data.split import GAP, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import feast
    from numpy.typing import NDArray

    from core.plan.plan import Plan, Problem
    from core.plan.training_set import Split
    from models.data.labels import Labelled


def part_of(split: TemporalSplit, as_of: datetime) -> str:
    """Return the part of the split of a row as of `as_of`; it is GAP if the label's window reaches into the next part."""
    if as_of >= split.test_from:
        return TEST
    if as_of >= split.validation_from:
        return VALIDATION if as_of + split.gap <= split.test_from else GAP
    return TRAIN if as_of + split.gap <= split.validation_from else GAP


def parts_of(split: Split, rows: pa.Table, key: str, problem: Problem) -> pa.Array:
    """Return the part of the split of each labelled row.

    Raises
    ------
    PlanError
        If there are too few rows, entities or rows of a class for the folds of the split.

    """
    if isinstance(split, TemporalSplit):
        as_of = rows.column("as_of")
        parts = {instant: part_of(split, instant) for instant in as_of.unique().to_pylist()}
        return pa.array([parts[instant] for instant in as_of.to_pylist()], pa.string())
    task = task_of(problem, rows)
    label = labels_of(rows.column("label"), task)
    try:
        if isinstance(split, GroupedSplit):
            units = f"groups of {split.by}" if split.by else "entities"
            folds = grouped_folds(_group_codes(split, rows, key), label, split.folds, task, split.seed, units)
        elif isinstance(split, RandomSplit):
            folds = random_folds(len(label), split.folds, split.seed)
        else:
            folds = stratified_folds(label, split.folds, task, split.seed)
    except PlanError as error:
        raise PlanError(f"training_set.split: {error}") from None
    found = np.full(len(label), TRAIN, dtype=object)
    found[folds[0].check], found[folds[1].check] = TEST, VALIDATION
    return pa.array(found, pa.string())


def _group_codes(split: GroupedSplit, rows: pa.Table, key: str) -> NDArray[np.int64]:
    """Return the number of each row's group: of its entity, or of the feature that the split names."""
    if split.by is None:
        return entity_codes(rows.column(key))
    groups = rows.column(column_of(split.by))
    if groups.null_count:
        raise PlanError(
            f"{split.by} is null for {groups.null_count:,} of {len(rows):,} rows, which then belong to no group; give its SQL "
            "a value for them"
        )
    return entity_codes(groups)


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


def _labelled(plan: Plan, accepted: Path) -> Labelled:
    """Return the labelled entities as of the instants of the plan's training set."""
    as_of, problem = plan.training_set.as_of, plan.project.problem
    if as_of.every is None:
        return labelled_instants(accepted, plan.label, plan.unit, as_of, problem)
    return labelled_entities(accepted, plan.label, plan.unit, as_of, as_of.every, problem, has_time=plan.has_time)


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
    labelled = _labelled(plan, arguments.accepted)
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
