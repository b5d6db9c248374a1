"""Performance of served predictions by cohort: metrics of matured outcomes, estimates before them, and their gap."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.json_text import plain
from core.plan.evaluate import AMOUNTS
from core.plan.section import column_of
from models.measures.intervals import Estimate, Resampling, estimates
from models.measures.metrics import Observed, additive, statistic
from models.measures.score_reference import fit_score_reference
from monitoring.cbpe import ASSUMPTION, Simulation, estimate_metrics
from monitoring.concept_drift import LIMIT, NO_SUMS, CohortGaps, Sums, cohort_gaps, cusum

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray
    from rich.table import Table

    from core.calibration import ScoreReference
    from core.plan.evaluate import Metric, Money
    from core.plan.plan import Problem
    from core.prediction_interval import PredictionInterval
    from models.measures.metrics import Earned, Statistic
    from monitoring.served_outcomes import Period, ServedCohort

#: Metrics of classes that follow from the decision alone; the log has no probabilities of the other classes.
_DECIDED: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "f1", "quadratic_kappa", "ordinal_mae")
#: Metrics that `monitoring.cbpe` estimates and outcomes can be compared with.
_ESTIMATED: tuple[Metric, ...] = ("roc_auc", "accuracy", "precision", "recall", "log_loss")
#: The least share of a cohort's rows whose outcome must be known; missing ones could explain the gap otherwise.
MINIMUM_KNOWN = 0.8
#: A reference made of the log has at least this many rows of each outcome.
MINIMUM_OF_EACH = 30
ALARM = "outcomes differ from what the scores promise: the relation changed"


@dataclass(frozen=True)
class Measuring:
    """What the metrics need to know of the release and the plan.

    Attributes
    ----------
    metrics : of the plan, for the problem.
    classes : names of the classes of a multiclass problem, in the order of the numbers of outcomes.
    threshold, top, quantile, interval : as in `models.measures.metrics.Observed`.
    money : the amounts behind the profit; those that differ by row are in the cohorts.
    reference : outcomes of the release's test rows by score; None if the release has none.

    """

    problem: Problem
    metrics: tuple[Metric, ...]
    threshold: float = np.nan
    money: Money | None = None
    top: float = 0.1
    quantile: float = 0.5
    interval: PredictionInterval | None = None
    classes: tuple[str, ...] = ()
    reference: ScoreReference | None = None
    resampling: Resampling = field(default_factory=Resampling)

    @property
    def simulation(self) -> Simulation:
        """The settings of simulated outcomes: those of the bootstrap."""
        return Simulation(self.resampling.repeats, self.resampling.confidence, self.resampling.seed)


@dataclass(frozen=True)
class CohortPerformance:
    """The performance of one cohort.

    Attributes
    ----------
    start, end : of its week or month; `end` is exclusive.
    state : "mature", "immature", or "reference" for a mature cohort that the estimates of the others are made of.
    predictions : rows, one per entity.
    known, unmatched, unusable : rows with an outcome; mature rows without one, which are never taken as negative; rows
        whose outcome is not a label of the problem.
    replays : rows that were requests as of a past instant.
    realised : metrics of the rows with a known outcome, with intervals by resampling entities; empty if immature.
    estimated : estimates of a binary problem, of the rows with a known outcome if mature, else of all rows.
    offset : mean outcome - mean score; of several classes, the share of right decisions - mean score. NaN if immature.
    independent : rows that count for concept drift: with an outcome no other row has counted.
    level, discrimination : the sums of the CUSUM after the cohort.

    """

    start: datetime
    end: datetime
    state: str
    predictions: int
    known: int
    unmatched: int
    unusable: int
    replays: int
    realised: Mapping[str, Estimate]
    estimated: Mapping[str, Estimate]
    offset: Estimate
    independent: int = 0
    level: Sums = NO_SUMS
    discrimination: Sums = NO_SUMS


@dataclass(frozen=True)
class DriftAlarm:
    """An alarm of concept drift: the gap, what it says, the start of the first cohort above the limit, and its sum."""

    gap: str
    finding: str
    cohort: datetime
    cusum: float


@dataclass(frozen=True)
class PerformanceResult:
    """The performance of a release's predictions by cohort, the earliest first, as of `as_of`.

    `reference` says in words what the estimates are made of, or why there are none.
    """

    release_id: str
    problem: str
    as_of: datetime
    period: Period
    confidence: float
    primary: str
    reference: str
    cohorts: tuple[CohortPerformance, ...]
    alarms: tuple[DriftAlarm, ...]

    @property
    def verdict(self) -> str:
        """One sentence about concept drift."""
        if self.alarms:
            findings = "; ".join(f"{one.finding}, cohort of {one.cohort:%Y-%m-%d}" for one in self.alarms)
            return f"{ALARM} ({findings})"
        followed = sum(cohort.state == "mature" and cohort.independent > 0 for cohort in self.cohorts)
        if self.problem != "binary":
            return "concept drift is followed in binary problems only"
        if not followed:
            return "concept drift is not followed yet: no mature cohort has enough known outcomes and a reference"
        return f"concept drift: no alarm in {followed} mature cohorts"

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types: instants as ISO 8601, NaN as None."""
        return {
            **{name: value for name, value in plain(self).items() if name not in {"cohorts", "alarms"}},
            "assumption": ASSUMPTION,
            "cusum_limit": LIMIT,
            "verdict": self.verdict,
            "alarms": plain(self.alarms),
            "cohorts": plain(self.cohorts),
        }

    def table(self) -> Table:
        """Return a terminal table of the cohorts."""
        from monitoring.performance_page import performance_table

        return performance_table(self)


class _Reference(NamedTuple):
    blocks: ScoreReference | None
    words: str
    cohorts: int


def measure_performance(
    release_id: str,
    cohorts: Sequence[ServedCohort],
    measuring: Measuring,
    *,
    period: Period,
    as_of: datetime,
    primary: str,
) -> PerformanceResult:
    """Return the performance of `cohorts`, the earliest first, and the alarms of concept drift."""
    reference = _reference_of(cohorts, measuring)
    measured = [
        _measure(cohort, measuring, reference.blocks, is_reference=number < reference.cohorts)
        for number, cohort in enumerate(cohorts)
    ]
    if reference.blocks is not None:
        measured = _followed(measured, cohorts, measuring, reference.blocks)
    return PerformanceResult(
        release_id=release_id,
        problem=measuring.problem,
        as_of=as_of,
        period=period,
        confidence=measuring.resampling.confidence,
        primary=primary,
        reference=reference.words,
        cohorts=tuple(measured),
        alarms=tuple(_alarms(measured)),
    )


def _reference_of(cohorts: Sequence[ServedCohort], measuring: Measuring) -> _Reference:
    """Return the reference of the release, or one of the earliest mature cohorts of the log, and their number."""
    if measuring.problem != "binary":
        return _Reference(None, "none: estimates before outcomes are made of binary problems", 0)
    if measuring.reference is not None:
        rows, entities = sum(measuring.reference.rows), measuring.reference.entities
        words = f"the release's test rows ({rows:,.0f} of {entities:,} entities)"
        return _Reference(measuring.reference, words, 0)
    score, outcome = np.empty(0), np.empty(0)
    for number, cohort in enumerate((cohort for cohort in cohorts if cohort.mature), 1):
        counted = _comparable(cohort, measuring)
        score, outcome = np.append(score, cohort.score[counted]), np.append(outcome, cohort.outcome[counted])
        positives = int(outcome.sum())
        if min(positives, len(outcome) - positives) >= MINIMUM_OF_EACH:
            words = f"{len(outcome):,} predictions of the {number} earliest mature cohorts, since the release has none"
            return _Reference(fit_score_reference(score, outcome, len(score)), words, number)
    return _Reference(
        None,
        f"none: the release has no scores of test rows (train again), and the log not yet {MINIMUM_OF_EACH} matured "
        "predictions of each outcome",
        0,
    )


def _usable(cohort: ServedCohort, measuring: Measuring) -> NDArray[np.bool_]:
    """Return which rows have a score, and an outcome that is a label of the problem."""
    scored = np.isfinite(cohort.score)
    if measuring.problem == "regression":
        return scored & np.isfinite(cohort.outcome)
    labels = np.arange(len(measuring.classes) if measuring.problem == "multiclass" else 2)
    return scored & np.isin(cohort.outcome, labels)


def _comparable(cohort: ServedCohort, measuring: Measuring) -> NDArray[np.bool_]:
    """Return the independent usable rows; none if too many outcomes are unknown."""
    usable = _usable(cohort, measuring)
    return cohort.independent & usable if usable.mean() >= MINIMUM_KNOWN else np.zeros_like(usable)


def _measure(
    cohort: ServedCohort, measuring: Measuring, reference: ScoreReference | None, *, is_reference: bool
) -> CohortPerformance:
    usable = _usable(cohort, measuring) & cohort.mature
    reported = ~np.isnan(cohort.outcome)
    realised = _realised(cohort, usable, measuring) if usable.any() else {}
    offset = realised.pop("offset", Estimate(np.nan, np.nan, np.nan))
    return CohortPerformance(
        start=cohort.start,
        end=cohort.end,
        state="reference" if is_reference else "mature" if cohort.mature else "immature",
        predictions=len(cohort.score),
        known=int(usable.sum()),
        unmatched=int((~reported).sum()) if cohort.mature else 0,
        unusable=int((reported & ~usable).sum()) if cohort.mature else 0,
        replays=cohort.replays,
        realised=realised,
        estimated={} if reference is None or is_reference else _estimated(cohort, usable, measuring, reference),
        offset=offset,
    )


def _estimated(
    cohort: ServedCohort, usable: NDArray[np.bool_], measuring: Measuring, reference: ScoreReference
) -> dict[str, Estimate]:
    rows = usable if cohort.mature else np.isfinite(cohort.score)
    earned = _earned(cohort, rows, measuring.money)
    return _defined(estimate_metrics(cohort.score[rows], reference, measuring.threshold, earned, measuring.simulation))


def _earned(cohort: ServedCohort, rows: NDArray[np.bool_], money: Money | None) -> Earned:
    """Return the profit of deciding a row as 1, with outcome 1 and 0; NaN without money, or where an amount is not logged."""
    if money is None:
        return np.nan, np.nan
    columns = {name: column_of(reference) for name, reference in money.references.items()}
    lost, staying = money.earned(
        *(cohort.amounts[columns[name]][rows] if name in columns else getattr(money, name) for name in AMOUNTS)
    )
    return lost, staying


def _realised(cohort: ServedCohort, usable: NDArray[np.bool_], measuring: Measuring) -> dict[str, Estimate]:
    rows = _observed(cohort, usable, measuring)
    wanted = {
        "binary": tuple(dict.fromkeys((*_ESTIMATED, "profit", *measuring.metrics))),
        "multiclass": tuple(metric for metric in _DECIDED if metric in {"accuracy", "f1", *measuring.metrics}),
        "regression": measuring.metrics,
    }[measuring.problem]
    one = np.ones(len(rows.label))
    difference = _correct(rows) - cohort.score[usable]
    statistics: dict[str, Statistic] = {metric: statistic(metric, rows) for metric in wanted}
    statistics["offset"] = additive(rows, [difference, one], lambda total, count: total / count)
    if measuring.problem == "binary":
        statistics["positives"] = additive(rows, [rows.label.astype(np.float64)], lambda total: total)
    return _defined(estimates(statistics, rows.entities, measuring.resampling))


def _correct(rows: Observed) -> NDArray[np.float64]:
    """Return what the mean of the scores promises: the outcome, or of several classes whether the decision is right."""
    correct = rows.decided == rows.label if rows.score.ndim > 1 else rows.label
    return np.asarray(correct, dtype=np.float64)


def _observed(cohort: ServedCohort, usable: NDArray[np.bool_], measuring: Measuring) -> Observed:
    outcome, score = cohort.outcome[usable], cohort.score[usable]
    if measuring.problem == "multiclass":
        # The log has the decision and its probability: metrics of decisions need no more.
        decided = np.asarray(cohort.decision)[usable]
        score = (decided[:, None] == np.asarray(measuring.classes)).astype(np.float64)
    return Observed(
        problem=measuring.problem,
        label=outcome if measuring.problem == "regression" else outcome.astype(np.int32),
        score=score,
        entity=np.arange(len(outcome)),
        threshold=measuring.threshold,
        top=measuring.top,
        quantile=measuring.quantile,
        earned=_earned(cohort, usable, measuring.money),
        interval=measuring.interval,
    )


def _defined(found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: estimate for name, estimate in found.items() if np.isfinite(estimate.value)}


def _followed(
    measured: Sequence[CohortPerformance],
    cohorts: Sequence[ServedCohort],
    measuring: Measuring,
    reference: ScoreReference,
) -> list[CohortPerformance]:
    """Return the cohorts with the sums of the CUSUM.

    A cohort that is too small for a gap is added to the next one. One with too many unknown outcomes is left out.
    """
    gaps: list[CohortGaps | None] = []
    rows: list[int] = []
    score, outcome = np.empty(0), np.empty(0)
    for one, cohort in zip(measured, cohorts, strict=True):
        counted = _comparable(cohort, measuring) & (one.state == "mature")
        rows.append(int(counted.sum()))
        score, outcome = np.append(score, cohort.score[counted]), np.append(outcome, cohort.outcome[counted])
        gaps.append(cohort_gaps(score, outcome, reference))
        if gaps[-1] is not None:
            score, outcome = np.empty(0), np.empty(0)
    levels = cusum([gap.level if gap else None for gap in gaps])
    discriminations = cusum([gap.discrimination if gap else None for gap in gaps])
    return [
        replace(one, independent=count, level=level, discrimination=discrimination)
        for one, count, level, discrimination in zip(measured, rows, levels, discriminations, strict=True)
    ]


def _alarms(measured: Sequence[CohortPerformance]) -> Iterator[DriftAlarm]:
    findings = {
        ("level", "upper"): "more positives than promised",
        ("level", "lower"): "fewer positives than promised",
        ("discrimination", "upper"): "outcomes follow the score more than promised",
        ("discrimination", "lower"): "outcomes follow the score less than promised",
    }
    for (gap, side), finding in findings.items():
        sums = ((cohort.start, getattr(getattr(cohort, gap), side)) for cohort in measured)
        first = next(((start, total) for start, total in sums if total > LIMIT), None)
        if first is not None:
            yield DriftAlarm(gap, finding, *first)
