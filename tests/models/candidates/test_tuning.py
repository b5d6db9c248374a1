"""A search finds the best values, goes on after a kill as if there had been none, and makes once what trials share."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from core.errors import PlanError
from core.plan.train import LogisticCandidate, PreparedCandidate, replaced
from core.plan.tuning import Tune
from models.candidates.candidates import fit
from models.candidates.trial_loss import TrialLoss, loss_of
from models.candidates.tuning import Search, Trial, search, study_name
from models.scoring.model_file import load_model
from tests.models.candidates.candidate_kinds import FEATURES, KINDS, TASKS, candidate, rows_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.plan.plan import Problem
    from models.candidates.boosted_trees import PruneCallback

_RANGE = {"penalty_inverse": {"low": 0.001, "high": 1000.0, "log": True}}
_LINE = LogisticCandidate(estimator="logistic_regression")


def _distance(tried: PreparedCandidate, watch: PruneCallback) -> float:
    """Give the distance of the penalty to 10, in decades."""
    assert isinstance(tried, LogisticCandidate)
    return abs(math.log10(tried.penalty_inverse) - 1)


def _tune(**told: Any) -> Tune:
    return Tune.model_validate({"search": _RANGE, **told})


def _search(tune: Tune, journal: Path, objective: Any = _distance, seed: int = 1) -> Search:
    return search(_LINE, tune, objective, journal, seed, lambda _: None)


def test_tpe_comes_near_the_best_value(tmp_path: Path) -> None:
    found = _search(_tune(trials=40), tmp_path / "journal")
    assert found.best.loss < 0.2
    assert _distance(found.candidate, lambda *_: False) == found.best.loss
    assert found.candidate.tune is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials(sampler: str, tmp_path: Path) -> None:
    once, again = (_search(_tune(trials=12, sampler=sampler), tmp_path / name) for name in ("a", "b"))
    other = _search(_tune(trials=12, sampler=sampler), tmp_path / "c", seed=100)
    assert [trial.values for trial in once.trials] == [trial.values for trial in again.trials]
    assert once.trials[0].values != other.trials[0].values


def test_a_grid_tries_every_combination_once(tmp_path: Path) -> None:
    grid = {"penalty_inverse": {"values": [1, 10]}, "penalty": {"values": ["l1", "l2"]}}
    found = _search(_tune(search=grid, sampler="grid", trials=99), tmp_path / "journal")
    assert sorted((trial.values["penalty_inverse"], trial.values["penalty"]) for trial in found.trials) == [
        *((1, "l1"), (1, "l2"), (10, "l1"), (10, "l2"))
    ]
    assert found.best.values == {"penalty_inverse": 10, "penalty": "l1"}


def test_a_search_that_is_run_again_has_nothing_to_do(tmp_path: Path) -> None:
    first = _search(_tune(trials=5), tmp_path / "journal")

    def never(*_: Any) -> float:
        raise AssertionError

    assert _search(_tune(trials=5), tmp_path / "journal", never) == first


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.models.candidates.test_tuning import _distance, _search, _tune

def dying(tried, watch):
    with open(sys.argv[2], "a") as counted:
        counted.write("x")
    if os.path.getsize(sys.argv[2]) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return _distance(tried, watch)

_search(_tune(trials=10), Path(sys.argv[1]), dying)
"""


def test_after_a_kill_in_the_middle_of_a_trial_the_search_ends_as_one_that_was_not_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _KILLED, str(tmp_path / "killed"), str(tmp_path / "count")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(arguments, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    tried: list[float] = []

    def counting(candidate: LogisticCandidate, watch: PruneCallback) -> float:
        tried.append(candidate.penalty_inverse)
        return _distance(candidate, watch)

    resumed = _search(_tune(trials=10), tmp_path / "killed", counting)
    whole = _search(_tune(trials=10), tmp_path / "whole")
    assert len(tried) == 5  # five were finished before the sixth was killed
    assert [(trial.number, trial.values, trial.loss) for trial in resumed.trials] == [
        (trial.number, trial.values, trial.loss) for trial in whole.trials
    ]


def test_a_budget_of_seconds_ends_the_search(tmp_path: Path) -> None:
    import time

    def slow(tried: PreparedCandidate, watch: PruneCallback) -> float:
        time.sleep(0.4)
        return _distance(tried, watch)

    assert len(_search(_tune(trials=100, seconds=1), tmp_path / "journal", slow).trials) == 3


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    """All trials but the first five are worse than those at every round."""
    count = iter(range(100))

    def worse(tried: PreparedCandidate, watch: PruneCallback) -> float:
        number = next(count)
        for round_ in range(0, 300, 10):
            if watch(round_, 1.0 + number):
                return math.nan
        return 1.0 + number

    found = _search(_tune(trials=8), tmp_path / "journal", worse)
    assert [trial.pruned for trial in found.trials] == [False] * 5 + [True] * 3
    assert found.best.number == 0
    patient = _search(_tune(trials=8, prune=False), tmp_path / "patient", lambda *_: 1.0)
    assert not any(trial.pruned for trial in patient.trials)


def test_a_search_without_a_finished_trial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="all 2 trials were pruned"):
        _search(_tune(trials=2), tmp_path / "journal", lambda *_: math.nan)


def test_those_who_are_told_hear_of_every_finished_trial(tmp_path: Path) -> None:
    heard: list[int] = []

    def told(trials: Sequence[Trial]) -> None:
        heard.append(len(trials))

    search(_LINE, _tune(trials=3), _distance, tmp_path / "journal", 1, told)
    assert heard == [0, 1, 2, 3]


def test_a_study_is_of_one_candidate_on_one_training_set() -> None:
    names = {
        study_name(_LINE, "md5:1", 1),
        study_name(_LINE, "md5:2", 1),
        study_name(_LINE, "md5:1", 2),
        study_name(_LINE.model_copy(update={"penalty": "l1"}), "md5:1", 1),
    }
    assert len(names) == 4
    assert study_name(_LINE, "md5:1", 1) in names


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [("params.num_leaves", 7, 7), ("rounds", 9, 9), ("numeric.0.lower", 0.2, 0.2)],
)
def test_a_value_is_put_at_its_path(path: str, value: float, found: float) -> None:
    trees = candidate({"estimator": "lightgbm", "numeric": ["winsorise"], "params": {"num_leaves": 3}})
    assert isinstance(trees, PreparedCandidate)
    told: Any = replaced(trees, {path: value}).model_dump()
    for key in path.split("."):
        told = told[int(key)] if key.isdigit() else told[key]
    assert told == found


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["lightgbm", "lightgbm_with_text", "xgboost", "catboost", "decision_tree"])
def test_a_trials_loss_is_that_of_the_fitted_candidate(kind: str, problem: Problem) -> None:
    tried = candidate(KINDS[kind])
    assert isinstance(tried, PreparedCandidate)
    rows, task = rows_for(problem), TASKS[problem]
    fitting, checking = rows.take(np.arange(200)), rows.take(np.arange(200, 300))
    loss = TrialLoss(FEATURES, [(fitting, checking)], task, 1)
    fitted = fit(tried, FEATURES, fitting, checking, 1, task)
    outputs = load_model(fitted.model_format, fitted.content).outputs(checking.inputs)
    assert loss(tried, lambda *_: False) == pytest.approx(loss_of(outputs, checking.label), rel=1e-5)


def test_loss_by_hand() -> None:
    assert loss_of(np.array([[0.8], [0.25]]), np.array([1, 0])) == pytest.approx(-(math.log(0.8) + math.log(0.75)) / 2)
    assert loss_of(np.array([[0.5, 0.3, 0.2]]), np.array([2])) == pytest.approx(-math.log(0.2))
    assert loss_of(np.array([[3.0], [1.0]]), np.array([0.0, 1.0])) == pytest.approx(math.sqrt(4.5))


def test_trials_over_training_parameters_share_one_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    construct = lightgbm.Dataset.construct

    def counted(dataset: Any) -> Any:
        made.extend([1] if dataset._handle is None else [])
        return construct(dataset)

    monkeypatch.setattr(lightgbm.Dataset, "construct", counted)
    rows = rows_for("binary")
    loss = TrialLoss(FEATURES, [(rows, rows)] * 2, TASKS["binary"], 1)
    for spec in ({"num_leaves": 3}, {"num_leaves": 7, "min_data_in_leaf": 40}, {"min_data_in_leaf": 2}):
        tried = candidate({**KINDS["lightgbm"], "params": spec})
        assert isinstance(tried, PreparedCandidate)
        loss(tried, lambda *_: False)
    assert len(made) == 4  # for fitting and for checking, on two folds
    other = candidate({**KINDS["lightgbm"], "params": {"max_bin": 15}})
    assert isinstance(other, PreparedCandidate)
    loss(other, lambda *_: False)
    assert len(made) == 8


def test_lightgbm_asks_while_it_grows_and_folds_after_one_another() -> None:
    rows = rows_for("binary")
    told: list[int] = []

    def watch(round_: int, loss: float) -> bool:
        assert loss > 0
        told.append(round_)
        return False

    tried = candidate({**KINDS["lightgbm"], "rounds": 25, "early_stopping": 25})
    assert isinstance(tried, PreparedCandidate)
    TrialLoss(FEATURES, [(rows, rows)] * 2, TASKS["binary"], 1)(tried, watch)
    assert told == [0, 10, 20, 1_000_000]
    assert math.isnan(TrialLoss(FEATURES, [(rows, rows)], TASKS["binary"], 1)(tried, lambda *_: True))


def test_a_journal_is_plain_lines_of_json(tmp_path: Path) -> None:
    """Nothing in it is code: whoever can write it cannot make the next run do anything but count its trials."""
    _search(_tune(trials=2), tmp_path / "journal")
    assert all(json.loads(line) for line in (tmp_path / "journal").read_text().splitlines())
