"""Stage `train`: fit every candidate of the plan on the training rows."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from core.entry import run
from core.errors import PlanError
from core.files import whole_folder
from core.plan.file import read_plan
from core.plan.train import BlendCandidate, Ensemble, PreparedCandidate, StackingCandidate
from core.plan.training_set import GroupedSplit, RandomSplit, TemporalSplit
from core.postgres.database import ensure_database
from core.settings import read_settings
from models.bundles.revisions import data_revision
from models.candidates.candidates import fit, write_candidate
from models.candidates.ensembles import blend, stack
from models.candidates.trial_loss import TrialLoss
from models.candidates.tuning import search, study_name
from models.data.folds import grouped_folds, random_folds, stratified_folds, temporal_folds
from models.data.remarks import remarks
from models.data.rows import Rows, Task, entity_codes, task_of
from models.data.split import TRAIN, VALIDATION, contract_features, part, read_training_set, refuse_infinite, rows_of
from models.releases.registry import open_trial_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.plan import Plan
    from core.plan.train import Candidate, Train
    from core.plan.training_set import Split
    from models.candidates.candidates import Fitted
    from models.candidates.tuning import Trial

#: What its functions import and later stages too, so that they find it imported (see core.launch).
LIBRARIES = (
    "models.scoring.skops_library",
    *(
        f"sklearn.{part}"
        for part in ("compose", "dummy", "ensemble", "impute", "linear_model", "pipeline", "preprocessing")
    ),
)


@dataclass(frozen=True)
class TrainingData:
    """The input of fitting all candidates.

    Attributes
    ----------
    fitting, checking : encoded rows to fit on, and for early stopping.
    entities, as_of : for each row to fit on, the number of its entity, and its instant in microseconds since 1970.
    split : the plan's split; folds of trials are of the same kind.

    """

    features: tuple[ContractFeature, ...]
    task: Task
    fitting: Rows
    checking: Rows
    entities: NDArray[np.int64]
    as_of: NDArray[np.int64]
    split: Split


@dataclass(frozen=True)
class Searches:
    """Settings of searches: the folder of their trials, the data revision, and a callback.

    The callback is called with the candidate's name, the name of the study and all finished trials.
    """

    folder: Path
    revision: str
    on_progress: Callable[[str, str, Sequence[Trial]], None]


def training_data(plan: Plan, table: pa.Table) -> TrainingData:
    """Return the training and validation rows of `table`, encoded for the plan's service and problem.

    Raises
    ------
    PlanError
        If a feature is infinite, or a class is not among the training rows.

    """
    fitting, checking = part(table, TRAIN), part(table, VALIDATION)
    features = contract_features(plan.build_features, plan.training_set.service, fitting)
    refuse_infinite(fitting, features)
    task = task_of(plan.project.problem, fitting, plan.label.ordered)
    fit_rows, check_rows = (
        rows_of(each, features, task, plan.training_set.weight_column) for each in (fitting, checking)
    )
    as_of = fitting.column("as_of").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    entities = entity_codes(fitting.column(plan.cluster_column))
    return TrainingData(features, task, fit_rows, check_rows, entities, as_of, plan.training_set.split)


def fit_candidates(section: Train, data: TrainingData, searches: Searches) -> Iterator[tuple[str, Fitted]]:
    """Yield the name and the fitted candidate of each candidate of the plan; ensembles come after all others.

    Raises
    ------
    PlanError
        If a candidate cannot be fitted; with its name.

    """
    fitted: dict[str, Fitted] = {}
    chosen: dict[str, Candidate] = {}
    in_order = sorted(section.candidates.items(), key=lambda item: isinstance(item[1], Ensemble))
    for name, candidate in in_order:
        try:
            chosen[name] = _tuned(name, candidate, data, searches, section.seed)
            fitted[name] = _fit(chosen[name], chosen, data, fitted, section.seed)
        except PlanError as error:
            raise PlanError(f"train.candidates.{name}: {error}") from None
        yield name, fitted[name]


def _tuned(name: str, candidate: Candidate, data: TrainingData, searches: Searches, seed: int) -> Candidate:
    """Return the candidate with the best parameters of its search, or unchanged if it has no search."""
    if not isinstance(candidate, PreparedCandidate) or candidate.tune is None:
        return candidate
    study = study_name(candidate, searches.revision, seed)
    loss = TrialLoss(data.features, tuning_folds(data, candidate.tune.folds, seed), data.task, seed)
    found = search(
        candidate,
        candidate.tune,
        loss,
        searches.folder / f"{study}.journal",
        seed,
        lambda trials: searches.on_progress(name, study, trials),
    )
    print(f"train: {name}: {found.best.values} of {len(found.trials)} trials, loss {found.best.loss:.6f}")
    return found.candidate


def searched_revision(plan: Plan, training_set: Path) -> str:
    """Return the revision of the rows that trials are measured on: the training set, and the column of their weights."""
    weight = plan.training_set.weight
    return data_revision(training_set) + (f" weighted by {weight}" if weight else "")


def tuning_folds(data: TrainingData, count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Return (rows to fit on, rows to check on) for trials: the two parts, or `count` folds of the split's kind."""
    if count == 1:
        return [(data.fitting, data.checking)]
    label, task, split = data.fitting.label, data.task, data.split
    if isinstance(split, TemporalSplit):
        folds = temporal_folds(data.as_of, label, count, split.gap, task)
    elif isinstance(split, GroupedSplit):
        folds = grouped_folds(data.entities, label, count, task, seed)
    elif isinstance(split, RandomSplit):
        folds = random_folds(len(label), count, seed)
    else:
        folds = stratified_folds(label, count, task, seed)
    return [(data.fitting.take(fold.fit), data.fitting.take(fold.check)) for fold in folds]


def _fit(
    candidate: Candidate, chosen: Mapping[str, Candidate], data: TrainingData, fitted: Mapping[str, Fitted], seed: int
) -> Fitted:
    if isinstance(candidate, BlendCandidate):
        return blend(candidate, fitted, data.task)
    if not isinstance(candidate, StackingCandidate):
        return fit(candidate, data.features, data.fitting, data.checking, seed, data.task)
    folds = grouped_folds(data.entities, data.fitting.label, candidate.folds, data.task, seed)
    return stack(candidate, chosen, fitted, data.features, data.fitting, data.checking, folds, seed, data.task)


def train(section: Train, data: TrainingData, searches: Searches, out: Path) -> None:
    """Fit the candidates and write each to a folder of its name in `out`."""
    for name, fitted in fit_candidates(section, data, searches):
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
    settings = read_settings()
    plan = read_plan(settings.plan)
    table = read_training_set(arguments.training_set)
    data = training_data(plan, table)
    for remark in remarks(part(table, TRAIN), data.features, plan.train.candidates):
        print(f"train: {remark}")
    with ExitStack() as contexts, whole_folder(arguments.out) as fresh:
        log = None
        if any(isinstance(each, PreparedCandidate) and each.tune for each in plan.train.candidates.values()):
            log = contexts.enter_context(open_trial_log(settings, ensure_database(settings), plan.project.name))
        searches = Searches(
            settings.state / "tuning",
            searched_revision(plan, arguments.training_set),
            log.log if log else lambda *_: None,
        )
        train(plan.train, data, searches, fresh)


if __name__ == "__main__":
    run(main)
