"""Search a candidate's parameters: every trial is kept on disk, so that a run that was killed goes on where it was."""

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
    from models.candidates.boosting import Watch

#: The loss of a candidate; NaN if `Watch` gave it up.
Objective: TypeAlias = "Callable[[PreparedCandidate, Watch], float]"

#: Trials before the first one that may be given up, and before TPE trusts what it has seen.
_FIRST_TRIALS = 5
#: Rounds before a trial may be given up: a small learning rate is behind at first.
_FIRST_ROUNDS = 100


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes
    ----------
    values : what was tried, by dotted path.
    loss : log loss or RMSE; of a trial that was given up, the last one that it told, NaN if none.
    seconds : how long it took.

    """

    number: int
    values: Mapping[str, Any]
    loss: float
    given_up: bool
    seconds: float


@dataclass(frozen=True)
class Search:
    """A finished search: the candidate with the best trial's values, and all trials in the order of their numbers."""

    candidate: PreparedCandidate
    best: Trial
    trials: tuple[Trial, ...]


def study_name(candidate: PreparedCandidate, revision: str, seed: int) -> str:
    """Name the search for a candidate on the data of `revision`: trials count for the very same question only."""
    asked = json.dumps([candidate.model_dump(mode="json"), revision, seed], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def search(
    candidate: PreparedCandidate,
    tune: Tune,
    objective: Objective,
    journal: Path,
    seed: int,
    told: Callable[[Sequence[Trial]], None],
) -> Search:
    """Try values for `candidate` until the plan's budget is spent.

    What a trial tries depends on the finished trials and `seed` alone, so that a search that was killed and run again ends
    as one that was not, but for the trials that a budget of seconds leaves time for.

    Parameters
    ----------
    journal : the file in which trials are kept; those that it holds count.
    told : called with all finished trials, at the start and after each.

    Raises
    ------
    PlanError
        If no trial was finished with a loss.

    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open_study(tune, journal)
    grid = _grid(tune)
    wanted = min(tune.trials, len(grid)) if tune.sampler == "grid" else tune.trials
    while True:
        finished = _finished(study)
        told(finished)
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
        # Its process was killed: nobody will finish it.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


class _KernelLock:
    """A lock that a killed process leaves open, unlike Optuna's own, whose file the next run would wait for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._held = self._path.open("wb")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let the next one have it."""
        if self._held:
            self._held.close()


def _finished(study: optuna.Study) -> list[Trial]:
    from optuna.trial import TrialState

    found = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
    return [
        Trial(
            number=place,
            values=dict(trial.user_attrs["values"]),
            loss=math.nan if trial.value is None else float(trial.value),
            given_up=trial.state is TrialState.PRUNED,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        )
        for place, trial in enumerate(found)
    ]


def _sampler(tune: Tune, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    if tune.sampler == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=_FIRST_TRIALS, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _grid(tune: Tune) -> list[dict[str, Any]]:
    if tune.sampler != "grid":
        return []
    places = {path: range(len(values.values)) for path, values in tune.search.items() if isinstance(values, Choices)}
    return [dict(zip(places, chosen, strict=True)) for chosen in itertools.product(*places.values())]


def _run(
    study: optuna.Study, trial: optuna.Trial, candidate: PreparedCandidate, tune: Tune, objective: Objective
) -> None:
    from optuna.trial import TrialState

    values = {path: _suggest(trial, path, searched) for path, searched in tune.search.items()}
    trial.set_user_attr("values", values)

    def watch(round_: int, loss: float) -> bool:
        trial.report(loss, round_)
        return tune.prune and trial.should_prune()

    loss = objective(replaced(candidate, {**values, "tune": None}), watch)
    if math.isnan(loss):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, loss)


def _suggest(trial: optuna.Trial, path: str, searched: Range | Choices) -> Any:
    if isinstance(searched, Choices):
        # By place: a choice may be a list or a mapping, which Optuna cannot keep.
        return searched.values[trial.suggest_categorical(path, list(range(len(searched.values))))]
    if isinstance(searched.low, int) and isinstance(searched.high, int):
        return trial.suggest_int(path, searched.low, searched.high, log=searched.log)
    return trial.suggest_float(path, searched.low, searched.high, log=searched.log)


def _best(trials: Sequence[Trial]) -> Trial:
    judged = [trial for trial in trials if not trial.given_up]
    if not judged:
        raise PlanError(f"none of {len(trials)} trials was finished; ask for more trials, or write prune: false")
    return min(judged, key=lambda trial: trial.loss)
