"""Stage `train`: fit every candidate of the plan on the training rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from core.contracts import ContractFeature
from core.entry import run
from core.errors import PlanError
from core.files import whole_folder
from core.plan_file import read_plan
from core.settings import read_settings
from models.candidates import fit, write_candidate
from models.encoding import encode_table
from models.rows import BINARY, Rows, Task, labels_of, task_of
from models.training_set import TRAIN, VALIDATION, read_training_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan import BuildFeatures
    from core.plan_candidates import Train


def contract_features(section: BuildFeatures, service: str, train: pa.Table) -> tuple[ContractFeature, ...]:
    """List the inputs of `service` in order; string features get the levels they have in the training rows."""
    found = []
    for view, name in section.service_features(service):
        feature = ContractFeature(view, name, section.views[view].features[name].dtype)
        if feature.dtype == "string":
            levels = sorted(level for level in train.column(feature.column).unique().to_pylist() if level is not None)
            feature = ContractFeature(view, name, feature.dtype, tuple(levels))
        found.append(feature)
    return tuple(found)


def part(table: pa.Table, name: str) -> pa.Table:
    """Select the rows of one part of the split."""
    return table.filter(pc.equal(table.column("split"), name))


def rows_of(table: pa.Table, features: Sequence[ContractFeature], task: Task = BINARY) -> Rows:
    """Encode the rows of a training table."""
    return Rows(encode_table(table, features), labels_of(table.column("label"), task))


def refuse_infinite(table: pa.Table, features: Sequence[ContractFeature]) -> None:
    """Refuse a table with an infinite number: no scale, mean or online store can hold it.

    Raises
    ------
    PlanError
        If there is one; with the feature's name.

    """
    for feature in features:
        column = table.column(feature.column)
        if pa.types.is_floating(column.type):
            infinite = pc.sum(pc.is_inf(column)).as_py()
            if infinite:
                raise PlanError(
                    f"build_features: {feature.view}.{feature.name} is infinite in {infinite:,} of {len(table):,} training "
                    "rows; correct its SQL (divide by nullif(x, 0))"
                )


def train(section: Train, features: Sequence[ContractFeature], table: pa.Table, task: Task, out: Path) -> None:
    """Fit the candidates on the rows of `table` and write each to a folder of its name below `out`."""
    fitting, checking = (rows_of(part(table, name), features, task) for name in (TRAIN, VALIDATION))
    for name, candidate in section.candidates.items():
        try:
            fitted = fit(candidate, features, fitting, checking, section.seed, task)
        except PlanError as error:
            raise PlanError(f"train.candidates.{name}: {error}") from None
        folder = out / name
        folder.mkdir()
        write_candidate(folder, fitted)
        print(f"train: {name}: {len(fitted.content):,} bytes {fitted.facts or ''}".rstrip())


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training-set", type=Path, required=True, help="parquet file of `training_set`")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the fitted candidates to")
    arguments = parser.parse_args()
    plan = read_plan(read_settings().plan)
    table = read_training_set(arguments.training_set)
    fitting = part(table, TRAIN)
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    refuse_infinite(fitting, features)
    task = task_of(plan.project.problem, fitting)
    with whole_folder(arguments.out) as fresh:
        train(plan.train, features, table, task, fresh)


if __name__ == "__main__":
    run(main)
