"""The comparison of a shadow with the champion on the same requests: scores, decisions, money, and metrics of outcomes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from core.json_text import plain
from core.plan.evaluate import AMOUNTS
from core.plan.section import column_of
from models.measures.intervals import MINIMUM_ENTITIES, Difference, difference
from models.measures.metrics import LOWER_IS_BETTER, Observed
from monitoring.paired.statistics import AreaTest, delong_test, mcnemar_test

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from core.plan.evaluate import Metric
    from models.measures.metrics import Earned
    from monitoring.paired.pairs import Pairs
    from monitoring.performance import Measuring


@dataclass(frozen=True)
class ChangedDecisions:
    """The decisions that the shadow would change in one direction, over all pairs.

    Attributes
    ----------
    expected_profit : by `evaluate.money`, of acting as the shadow does in place of the champion; the probability of a row is
        the mean of the two scores. NaN without money.
    known, profit : rows with a mature outcome, and the same profit by their outcomes.

    """

    decisions: int = 0
    expected_profit: float = math.nan
    known: int = 0
    profit: float = math.nan


@dataclass(frozen=True)
class ShadowComparison:
    """The shadow against the champion on the pairs: predictions that both have scored.

    Attributes
    ----------
    mean_difference, mean_absolute_difference : of the scores, shadow - champion, over all pairs.
    to_act, to_leave : decisions that the shadow would change from 0 to 1, and from 1 to 0; binary problems only.
    known : entities whose first pair has a mature outcome; the metrics are over these, one row each.
    metrics : shadow - champion, with an interval by resampling entities under the same draws.
    areas : DeLong's test, `first` is the champion; of a binary problem.
    right_only_champion, right_only_shadow, mcnemar_p : decisions that one of the two has right, and McNemar's test.

    Undefined numbers are NaN.

    """

    champion: str
    shadow: str
    primary: Metric
    pairs: int
    mean_difference: float = math.nan
    mean_absolute_difference: float = math.nan
    to_act: ChangedDecisions = ChangedDecisions()
    to_leave: ChangedDecisions = ChangedDecisions()
    known: int = 0
    metrics: Mapping[str, Difference] = field(default_factory=dict)
    areas: AreaTest = field(default_factory=AreaTest)
    right_only_champion: int = 0
    right_only_shadow: int = 0
    mcnemar_p: float = math.nan

    @property
    def verdict(self) -> str:
        """The comparison in one sentence."""
        if not self.pairs:
            return "Nothing to compare: no prediction has the scores of both releases."
        changed = self.to_act.decisions + self.to_leave.decisions
        scores = f"The shadow would change {changed:,} of {self.pairs:,} decisions"
        found = self.metrics.get(self.primary)
        if found is None or math.isnan(found.lower):
            return f"{scores}; {self.known:,} entities have a mature outcome, too few for a verdict on {self.primary}."
        shown = f"{found.difference:+.4f} [{found.lower:+.4f}, {found.upper:+.4f}] over {self.known:,} mature outcomes"
        if found.lower <= 0 <= found.upper:
            return f"{scores}; no difference in {self.primary} is shown: {shown}."
        is_better = (found.difference > 0) != (self.primary in LOWER_IS_BETTER)
        return f"{scores}; it is {'better' if is_better else 'worse'} in {self.primary}: {shown}."

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as JSON types."""
        return {**plain(self), "verdict": self.verdict}

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the figures with their names, for a terminal."""
        yield "requests with both scores", f"{self.pairs:,}"
        yield "mean difference of the scores", f"{self.mean_difference:+.6g}"
        yield "mean absolute difference", f"{self.mean_absolute_difference:.6g}"
        for name, changed in (("to act", self.to_act), ("to leave", self.to_leave)):
            profit = "" if math.isnan(changed.expected_profit) else f", expected profit {changed.expected_profit:+.2f}"
            known = "" if math.isnan(changed.profit) else f", by {changed.known:,} outcomes {changed.profit:+.2f}"
            yield f"decisions changed {name}", f"{changed.decisions:,}{profit}{known}"
        for name, found in self.metrics.items():
            yield f"{name}, shadow - champion", f"{found.difference:+.4f} [{found.lower:+.4f}, {found.upper:+.4f}]"
        if not math.isnan(self.areas.p_value):
            yield "DeLong's test of the ROC areas", f"p = {self.areas.p_value:.3g}"
        if not math.isnan(self.mcnemar_p):
            shares = f"{self.right_only_shadow:,} against {self.right_only_champion:,} right alone"
            yield "McNemar's test of the decisions", f"p = {self.mcnemar_p:.3g} ({shares})"


@dataclass(frozen=True)
class Contestant:
    """A release of the comparison, and the threshold of its decisions; NaN if it has none."""

    release_id: str
    threshold: float


def compare_pairs(
    pairs: Pairs, champion: Contestant, shadow: Contestant, measuring: Measuring, primary: Metric
) -> ShadowComparison:
    """Return the comparison; `measuring` is that of the champion."""
    found = ShadowComparison(champion.release_id, shadow.release_id, primary, len(pairs.champion))
    if not found.pairs:
        return found
    apart = pairs.shadow - pairs.champion
    found = replace(found, mean_difference=float(apart.mean()), mean_absolute_difference=float(np.abs(apart).mean()))
    if measuring.problem == "multiclass":
        return found
    if measuring.problem == "binary":
        found = _with_decisions(found, pairs, champion, shadow, _earned(pairs, measuring))
    return _with_outcomes(found, pairs, champion, shadow, measuring)


def _earned(pairs: Pairs, measuring: Measuring) -> Earned:
    """Return the profit of acting on each row with outcome 1, and with outcome 0; NaN without money."""
    money = measuring.money
    if money is None:
        return np.nan, np.nan
    columns = {name: column_of(reference) for name, reference in money.references.items()}
    amounts = (pairs.amounts[columns[name]] if name in columns else getattr(money, name) for name in AMOUNTS)
    return money.earned(*amounts)


def _with_decisions(
    found: ShadowComparison, pairs: Pairs, champion: Contestant, shadow: Contestant, earned: Earned
) -> ShadowComparison:
    acts, would_act = pairs.champion >= champion.threshold, pairs.shadow >= shadow.threshold
    lost, staying = (np.broadcast_to(each, pairs.champion.shape) for each in earned)
    chance = (pairs.champion + pairs.shadow) / 2
    expected, realised = (each * lost + (1 - each) * staying for each in (chance, pairs.outcome))
    return replace(
        found,
        to_act=_changed(would_act & ~acts, expected, realised, pairs.outcome),
        to_leave=_changed(acts & ~would_act, -expected, -realised, pairs.outcome),
    )


def _changed(
    rows: NDArray[np.bool_],
    expected: NDArray[np.float64],
    realised: NDArray[np.float64],
    outcome: NDArray[np.float64],
) -> ChangedDecisions:
    known = rows & np.isin(outcome, (0, 1))
    return ChangedDecisions(
        int(rows.sum()), float(expected[rows].sum()), int(known.sum()), float(realised[known].sum())
    )


def _with_outcomes(
    found: ShadowComparison, pairs: Pairs, champion: Contestant, shadow: Contestant, measuring: Measuring
) -> ShadowComparison:
    """Add what the mature outcomes say, one row for each entity."""
    usable = np.isfinite(pairs.outcome) if measuring.problem == "regression" else np.isin(pairs.outcome, (0, 1))
    rows = pairs.first & usable
    found = replace(found, known=int(rows.sum()))
    if found.known < MINIMUM_ENTITIES:
        return found
    earned = tuple(each[rows] if isinstance(each, np.ndarray) else each for each in _earned(pairs, measuring))
    one, two = (
        _observed(score[rows], pairs.outcome[rows], threshold, earned, measuring)
        for score, threshold in ((pairs.champion, champion.threshold), (pairs.shadow, shadow.threshold))
    )
    metrics = {str(metric): difference(metric, two, one, measuring.resampling) for metric in measuring.metrics}
    found = replace(found, metrics={name: each for name, each in metrics.items() if math.isfinite(each.difference)})
    return _with_tests(found, one, two) if measuring.problem == "binary" else found


def _observed(
    score: NDArray[np.float64],
    outcome: NDArray[np.float64],
    threshold: float,
    earned: tuple[float | NDArray[np.float64], ...],
    measuring: Measuring,
) -> Observed:
    return Observed(
        problem=measuring.problem,
        label=outcome if measuring.problem == "regression" else outcome.astype(np.int32),
        score=score,
        entity=np.arange(len(outcome)),
        threshold=threshold,
        top=measuring.top,
        quantile=measuring.quantile,
        earned=(earned[0], earned[1]),
    )


def _with_tests(found: ShadowComparison, champion: Observed, shadow: Observed) -> ShadowComparison:
    right, shadow_right = champion.decided == champion.label, shadow.decided == shadow.label
    alone, shadow_alone = int((right & ~shadow_right).sum()), int((shadow_right & ~right).sum())
    return replace(
        found,
        areas=delong_test(champion.label.astype(np.int32), champion.score, shadow.score),
        right_only_champion=alone,
        right_only_shadow=shadow_alone,
        mcnemar_p=mcnemar_test(alone, shadow_alone),
    )
