"""How far the score on the test rows may lie from the forecast, by reason.

Two standard deviations are measured by resampling entities: that of the checked rows, and that of the test rows. The change
between periods is measured on earlier periods and averaged with an assumed one, since there are few of them. The other two are
assumed: half of what the learning curve adds beyond the sample, and a share of what the score gains over a constant if slow
candidates were replaced by small trees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from core.plan.train import MajorityCandidate
from core.plan.training_set import TemporalSplit
from planner.decide.learners import SMALL_TREES
from planner.decide.samples import earlier_periods, largest_size
from planner.decide.trials import measure, measured_on

if TYPE_CHECKING:
    from core.plan.training_set import Split
    from planner.decide.learning_curve import LearningCurve
    from planner.decide.trials import Trained

CONFIDENCE = 0.9
#: The assumed standard deviations, as shares of the score's gain over a constant prediction.
PERIODS_SHARE, CANDIDATES_SHARE = 0.05, 0.03
#: The assumed change between periods counts as much as so many measured ones.
_ASSUMED_PERIODS = 3


@dataclass(frozen=True)
class Deviations:
    """The standard deviations of the forecast, in the metric's unit.

    Attributes
    ----------
    checked, tested : sampling of the rows that learners were checked on, and of the test rows.
    periods : change from one period to the next; 0 without a split in time.
    curve : extrapolation of the learning curve; 0 if all training rows were used.
    candidates : distance of the plan's candidates from the fast learners; 0 if they are the same.
    periods_measured : how many earlier periods `periods` is measured on.
    entities : how many entities the rows that were checked have.

    """

    checked: float
    tested: float
    periods: float
    curve: float
    candidates: float
    periods_measured: int
    entities: int

    @property
    def total(self) -> float:
        """The standard deviation of their sum."""
        return math.hypot(self.checked, self.tested, self.periods, self.curve, self.candidates)

    @property
    def reach(self) -> float:
        """Half the width of the interval, by Student's t with the entities checked, or the periods if they are fewer."""
        from scipy.stats import t

        freedom = self.entities - 1
        if self.periods:
            freedom = min(freedom, _ASSUMED_PERIODS + self.periods_measured)
        return float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * self.total


def deviations_of(
    split: Split, trained: Trained, law: LearningCurve, train_rows: int, test_entities: int
) -> Deviations:
    """Return the deviations of the best learner, whose learning curve is `law`."""
    best = trained.measured[trained.best]
    checked = best.variance(trained.metric)
    checked_entities = len(np.unique(np.concatenate([trained.pool.entity[one.checked] for one in trained.samples])))
    gained, changes, size = _gained(trained), _changes(split, trained, law), largest_size(trained.samples)
    return Deviations(
        math.sqrt(checked),
        math.sqrt(checked * checked_entities / test_entities),
        math.sqrt(_change_variance(gained, changes)) if isinstance(split, TemporalSplit) else 0.0,
        abs(law.at(train_rows) - law.at(size)) / 2,
        CANDIDATES_SHARE * gained if SMALL_TREES in trained.learners else 0.0,
        len(changes),
        checked_entities,
    )


def _gained(trained: Trained) -> float:
    """Return what the best score gains over a constant prediction; the score itself where that has none."""
    learner, size = MajorityCandidate(estimator="majority"), largest_size(trained.samples)
    constant = measured_on(trained.pool, "constant", learner, trained.samples, size)
    score = trained.measured[trained.best].score(trained.metric)
    return abs(score - (constant.score(trained.metric) if constant else 0.0))


def _changes(split: Split, trained: Trained, law: LearningCurve) -> list[float]:
    """Return the squared changes of the score from each period to the next, without their sampling variance.

    Earlier periods have fewer rows to fit on: their scores are moved along the learning curve to the rows of the last.
    """
    if not isinstance(split, TemporalSplit):
        return []
    pool, metric, name = trained.pool, trained.metric, trained.best
    last = trained.measured[name]
    found = []
    for sample in earlier_periods(split, pool.as_of, pool.entity, pool.seed):
        measured = measure(pool, name, trained.learners[name], sample.fitted, sample.checked)
        if measured is not None:
            moved = measured.score(metric) + last.score(metric) - law.at(len(sample.fitted))
            found.append((moved, measured.variance(metric)))
    found.append((last.score(metric), last.variance(metric)))
    return [max((two[0] - one[0]) ** 2 - one[1] - two[1], 0.0) for one, two in pairwise(found)]


def _change_variance(gained: float, changes: list[float]) -> float:
    """Return the variance of the change to the test period: the measured changes, averaged with the assumed one."""
    assumed = _ASSUMED_PERIODS * (PERIODS_SHARE * gained) ** 2
    return (assumed + sum(changes)) / (_ASSUMED_PERIODS + len(changes))
