"""Stage `train`: fit every candidate of the plan on the training rows."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.contracts import ContractFeature
from core.entry import run
from core.errors import PlanError
from core.files import whole_folder
from core.plan_candidates import BlendCandidate, Ensemble, StackingCandidate
from core.plan_file import read_plan
from core.settings import read_settings
from models.candidates import fit, write_candidate
from models.encoding import encode_table
from models.ensembles import blend, stack
from models.folds import grouped_folds
from models.rows import BINARY, Rows, Task, labels_of, task_of
from models.training_set import TRAIN, VALIDATION, read_training_set

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from core.plan import BuildFeatures, Plan
    from core.plan_candidates import Candidate, Train
    from models.candidates import Fitted


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


@dataclass(frozen=True)
class Material:
    """What candidates are fitted on: encoded rows for fitting and for early stopping, and whose each row for fitting is."""

    features: tuple[ContractFeature, ...]
    task: Task
    fitting: Rows
    checking: Rows
    entities: NDArray[np.int64]


def material(plan: Plan, table: pa.Table) -> Material:
    """Encode the training and validation rows of `table` for the plan's service and problem.

    Raises
    ------
    PlanError
        If a feature is infinite, or a class is not among the training rows.

    """
    fitting, checking = part(table, TRAIN), part(table, VALIDATION)
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    refuse_infinite(fitting, features)
    task = task_of(plan.project.problem, fitting)
    rows, checked = (rows_of(each, features, task) for each in (fitting, checking))
    return Material(features, task, rows, checked, entity_codes(fitting.column(plan.unit.key)))


def entity_codes(keys: pa.ChunkedArray) -> NDArray[np.int64]:
    """Give each entity a number, in the order in which they first occur."""
    return np.asarray(keys.combine_chunks().dictionary_encode().indices.to_numpy(), dtype=np.int64)


def fit_candidates(section: Train, given: Material) -> Iterator[tuple[str, Fitted]]:
    """Fit the candidates, those that stand by themselves before those that are made of them.

    Raises
    ------
    PlanError
        If one cannot be fitted; with its name.

    """
    fitted: dict[str, Fitted] = {}
    in_order = sorted(section.candidates.items(), key=lambda item: isinstance(item[1], Ensemble))
    for name, candidate in in_order:
        try:
            fitted[name] = _fit(candidate, section, given, fitted)
        except PlanError as error:
            raise PlanError(f"train.candidates.{name}: {error}") from None
        yield name, fitted[name]


def _fit(candidate: Candidate, section: Train, given: Material, fitted: Mapping[str, Fitted]) -> Fitted:
    if isinstance(candidate, BlendCandidate):
        return blend(candidate, fitted, given.task)
    if not isinstance(candidate, StackingCandidate):
        return fit(candidate, given.features, given.fitting, given.checking, section.seed, given.task)
    folds = grouped_folds(given.entities, given.fitting.label, candidate.folds, given.task, section.seed)
    return stack(
        candidate,
        section.candidates,
        fitted,
        given.features,
        given.fitting,
        given.checking,
        folds,
        section.seed,
        given.task,
    )


def train(section: Train, given: Material, out: Path) -> None:
    """Fit the candidates and write each to a folder of its name below `out`."""
    for name, fitted in fit_candidates(section, given):
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
    given = material(plan, table)
    with whole_folder(arguments.out) as fresh:
        train(plan.train, given, fresh)


if __name__ == "__main__":
    run(main)
