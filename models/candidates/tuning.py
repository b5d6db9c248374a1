"""Search a candidate's parameters; every trial is written to disk, so that a killed run resumes."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from core.errors import PlanError
from core.plan.train import replaced
from core.plan.tuning import Choices, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import optuna

    from core.plan.train import PreparedCandidate
    from core.plan.tuning import Tune
    from models.candidates.boosted_trees import PruneCallback

#: Returns the loss of a candidate; NaN if the callback pruned the trial.
Objective: TypeAlias = "Callable[[PreparedCandidate, PruneCallback], float]"

#: Trials before pruning starts, and random trials before TPE starts.
_FIRST_TRIALS = 5
#: Rounds before a trial may be pruned: a small learning rate has a higher loss at first.
_FIRST_ROUNDS = 100


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes
    ----------
    values : the tried values, by dotted path.
    loss : log loss or RMSE; for a pruned trial the last reported one, NaN if none.
    pruned : whether the trial was pruned.
    seconds : its duration.

    """

    number: int
    values: Mapping[str, Any]
    loss: float
    pruned: bool
    seconds: float


@dataclass(frozen=True)
class Search:
    """A finished search: the candidate with the best trial's values, the best trial, and all trials by number."""

    candidate: PreparedCandidate
    best: Trial
    trials: tuple[Trial, ...]


def study_name(candidate: PreparedCandidate, revision: str, seed: int) -> str:
    """Return the name of a search: a hash of the candidate, the data revision and the seed.

    Trials are resumed only if all of these are unchanged.
    """
    # Candidates had no loss before, so that of a squared one is not part of the name.
    later = {"loss", "quantile", "tweedie_power"} if getattr(candidate, "loss", "squared") == "squared" else None
    identity = json.dumps([candidate.model_dump(mode="json", exclude=later), revision, seed], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def search(
    candidate: PreparedCandidate,
    tune: Tune,
    objective: Objective,
    journal: Path,
    seed: int,
    on_progress: Callable[[Sequence[Trial]], None],
) -> Search:
    """Return the result of trying values for `candidate` until the plan's budget is spent.

    The values of a trial depend only on the finished trials and `seed`. A search that was killed and resumed therefore ends
    like an uninterrupted one, except for the number of trials that fit into a budget of seconds.

    Parameters
    ----------
    journal : the file with the finished trials; it is created, or resumed.
    on_progress : called with all finished trials, at the start and after each trial.

    Raises
    ------
    PlanError
        If no trial finished with a loss.

    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open_study(tune, journal)
    grid = _grid(tune)
    wanted = min(tune.trials, len(grid)) if tune.sampler == "grid" else tune.trials
    while True:
        finished = _finished(study)
        on_progress(finished)
        spent = sum(trial.seconds for trial in finished)
        if len(finished) >= wanted or (finished and tune.seconds is not None and spent >= tune.seconds):
            break
        study.sampler = _sampler(tune, seed + len(finished))
        if tune.sampler == "grid":
            study.enqueue_trial(grid[len(finished)])
        _run(study, study.ask(), candidate, tune, objective)
    best = _best(finished)
    return Search(replaced(candidate, {**best.values, "tune": None}), best, tuple(finished))


def _open_study(tune: Tune, journal: Path) -> optuna.Study:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    journal.parent.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(journal), lock_obj=_KernelLock(journal.with_suffix(".lock")))
    pruner = (
        optuna.pruners.MedianPruner(_FIRST_TRIALS, n_warmup_steps=_FIRST_ROUNDS)
        if tune.prune
        else optuna.pruners.NopPruner()
    )
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend), study_name="search", pruner=pruner, load_if_exists=True
    )
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING]):
        # Its process was killed.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


class _KernelLock:
    """A lock that the kernel releases when the process is killed; Optuna's own lock file would block the next run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._held = self._path.open("wb")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._held:
            self._held.close()


def _finished(study: optuna.Study) -> list[Trial]:
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
    return [
        Trial(
            number=number,
            values=dict(trial.user_attrs["values"]),
            loss=math.nan if trial.value is None else float(trial.value),
            pruned=trial.state is TrialState.PRUNED,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        )
        for number, trial in enumerate(found)
    ]


def _sampler(tune: Tune, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    if tune.sampler == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=_FIRST_TRIALS, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _grid(tune: Tune) -> list[dict[str, Any]]:
    if tune.sampler != "grid":
        return []
    indices = {path: range(len(values.values)) for path, values in tune.search.items() if isinstance(values, Choices)}
    return [dict(zip(indices, chosen, strict=True)) for chosen in itertools.product(*indices.values())]


def _run(
    study: optuna.Study, trial: optuna.Trial, candidate: PreparedCandidate, tune: Tune, objective: Objective
) -> None:
    from optuna.trial import TrialState

    values = {path: _suggest(trial, path, searched) for path, searched in tune.search.items()}
    trial.set_user_attr("values", values)

    def report(round_: int, loss: float) -> bool:
        trial.report(loss, round_)
        return tune.prune and trial.should_prune()

    loss = objective(replaced(candidate, {**values, "tune": None}), report)
    if math.isnan(loss):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, loss)


def _suggest(trial: optuna.Trial, path: str, searched: Range | Choices) -> Any:
    if isinstance(searched, Choices):
        # By index: a choice may be a list or a mapping, which Optuna cannot store.
        return searched.values[trial.suggest_categorical(path, list(range(len(searched.values))))]
    if isinstance(searched.low, int) and isinstance(searched.high, int):
        return trial.suggest_int(path, searched.low, searched.high, log=searched.log)
    return trial.suggest_float(path, searched.low, searched.high, log=searched.log)


def _best(trials: Sequence[Trial]) -> Trial:
    completed = [trial for trial in trials if not trial.pruned]
    if not completed:
        raise PlanError(
            f"all {len(trials)} trials were pruned; expected one that finishes; set tune.prune: false, or more tune.trials"
        )
    return min(completed, key=lambda trial: trial.loss)
