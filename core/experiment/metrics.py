"""The metrics of an experiment besides the label's outcome: fetched from named outcomes, and judged at all looks together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from psycopg import sql
from psycopg.rows import class_row

from core.experiment.confidence_sequence import sequence_margin, sequence_p_value
from core.experiment.means import RatioSums, has_enough_units, mean_difference
from core.experiment.owners import model_of_experiment, outcome_of
from core.experiment.phases import CONTROL, TREATMENT
from core.json_text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    import psycopg
    from psycopg.sql import Composable, Composed

    from core.experiment.means import MeanDifference, Pair
    from core.plan.experiments.metrics import SecondaryMetric
    from core.plan.plan import Monitor

Verdict = Literal["not worse", "worse", "better", "not shown", "withheld"]

_FETCH = sql.SQL("""
SELECT exposure.phase_id, exposure.arm, count(*) AS mature, count(known.y) AS units,
    coalesce(sum(known.y), 0) AS y, coalesce(sum(known.d), 0) AS d, coalesce(sum(known.y * known.y), 0) AS yy,
    coalesce(sum(known.d * known.d), 0) AS dd, coalesce(sum(known.y * known.d), 0) AS yd
FROM panthera.exposure
LEFT JOIN LATERAL (
    SELECT numerator.value AS y, denominator.value AS d FROM ({numerator}) AS numerator, ({denominator}) AS denominator
) AS known ON known.y IS NOT NULL AND known.d IS NOT NULL
WHERE exposure.experiment = {experiment} AND exposure.exposed_at <= {as_of}
    AND coalesce(exposure.exposed_at + {within}::interval <= {as_of}, true)
GROUP BY exposure.phase_id, exposure.arm
""")
_IN_WINDOW = sql.SQL("""
FROM panthera.outcome
WHERE outcome.entity = exposure.entity AND outcome.name = {name} AND outcome.observed_at > exposure.exposed_at
    AND outcome.observed_at <= coalesce(exposure.exposed_at + {within}::interval, {as_of}) AND {of_model}
""")
_VALUES = {
    "first": sql.SQL('SELECT value {in_window} ORDER BY outcome.observed_at, outcome.outcome_id COLLATE "C" LIMIT 1'),
    "sum": sql.SQL("SELECT coalesce(sum(value), 0) AS value {in_window}"),
}
_ONE = sql.SQL("SELECT 1.0::double precision AS value")


@dataclass(frozen=True)
class MetricTerms:
    """What a metric is, and what is asked of it.

    Attributes
    ----------
    outcome, per : names of the outcomes in the numerator and, for a ratio, in the denominator.
    value : the value of a unit: its first outcome in the window, or the sum of them.
    within : length of the window from the exposure on; None is without an end.
    margin : of a guardrail, how much worse the challenger may be, absolute; None for a secondary metric.

    """

    name: str
    better: Literal["higher", "lower"]
    outcome: str
    per: str | None = None
    value: Literal["first", "sum"] = "first"
    within: timedelta | None = None
    margin: float | None = None

    @staticmethod
    def of(monitor: Monitor, horizon: timedelta | None) -> tuple[MetricTerms, ...]:
        """Return the terms of all metrics of `monitor.experiment`; `horizon` is the window of the label."""
        if monitor.experiment is None:
            return ()
        guardrails = monitor.experiment.guardrails
        return tuple(
            _terms(name, stated, horizon, guardrails[name].margin if name in guardrails else None)
            for name, stated in monitor.experiment.metrics.items()
        )


def _terms(name: str, stated: SecondaryMetric, horizon: timedelta | None, margin: float | None) -> MetricTerms:
    outcome, within = stated.outcome or name, stated.within or horizon
    return MetricTerms(name, stated.better, outcome, stated.per, stated.value, within, margin)


@dataclass(frozen=True)
class MetricArms:
    """The sums of a metric over the units of each arm in one phase; `unknown` are mature units without a value."""

    phase_id: int | None
    champion: RatioSums
    challenger: RatioSums
    unknown: int = 0

    @property
    def means(self) -> Pair:
        """The metric in the two arms."""
        return self.champion.ratio, self.challenger.ratio


@dataclass(frozen=True)
class MetricResult:
    """A metric in the two arms.

    Attributes
    ----------
    units, unknown : mature units with and without a value.
    champion, challenger : the metric over the compared phases, each weighted by its units.
    sequence_lower, sequence_upper : confidence sequence of challenger - champion, which holds at all looks together.
    p_value : p-value of no difference, at all looks together; of a secondary metric after Holm's correction.
    verdict : of a guardrail "not worse" (by the margin, which the sequence excludes), "worse" (by the margin or more, which
        is all that the sequence holds) or "not shown"; of a secondary metric "better", "worse" or "not shown". "withheld"
        if there are too few units.

    Undefined numbers are NaN.

    """

    name: str
    better: Literal["higher", "lower"]
    margin: float | None
    units: int
    unknown: int
    champion: float
    challenger: float
    sequence_lower: float
    sequence_upper: float
    p_value: float
    verdict: Verdict

    @property
    def difference(self) -> float:
        """Challenger - champion."""
        return self.challenger - self.champion

    @property
    def is_guardrail(self) -> bool:
        """Whether it has a margin."""
        return self.margin is not None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return {**plain(self), "difference": plain(self.difference)}


def fetch_metric(
    connection: psycopg.Connection, experiment: str, terms: MetricTerms, as_of: datetime
) -> tuple[MetricArms, ...]:
    """Fetch the sums of a metric by phase, over the units whose window has closed as of `as_of`."""
    query = _FETCH.format(
        numerator=_values(terms, terms.outcome, experiment, as_of),
        denominator=_values(terms, terms.per, experiment, as_of) if terms.per else _ONE,
        experiment=experiment,
        within=terms.within,
        as_of=as_of,
    )
    return fetch_metric_arms(connection, query)


def fetch_metric_arms(connection: psycopg.Connection, query: Composed) -> tuple[MetricArms, ...]:
    """Fetch the sums of a metric by phase with a query whose rows are those of `_Row`, one for each phase and arm."""
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(query).fetchall()
    return tuple(_arms(phase_id, rows) for phase_id in {row.phase_id: None for row in rows})


def _values(terms: MetricTerms, name: str, experiment: str, as_of: datetime) -> Composable:
    of_model = outcome_of(model_of_experiment(sql.Literal(experiment)))
    in_window = _IN_WINDOW.format(name=name, within=terms.within, as_of=as_of, of_model=of_model)
    return _VALUES[terms.value].format(in_window=in_window)


@dataclass(frozen=True)
class _Row:
    phase_id: int | None
    arm: str
    mature: int
    units: int
    y: float
    d: float
    yy: float
    dd: float
    yd: float

    @property
    def sums(self) -> RatioSums:
        return RatioSums(self.units, self.y, self.d, self.yy, self.dd, self.yd)


def _arms(phase_id: int | None, rows: Sequence[_Row]) -> MetricArms:
    by_arm = {row.arm: row for row in rows if row.phase_id == phase_id}
    control, treatment = (by_arm[arm].sums if arm in by_arm else RatioSums() for arm in (CONTROL, TREATMENT))
    return MetricArms(phase_id, control, treatment, sum(row.mature - row.units for row in by_arm.values()))


def judge_metrics(
    found: Mapping[MetricTerms, Sequence[MetricArms]], compared: set[int | None], confidence: float
) -> tuple[MetricResult, ...]:
    """Return the results of metrics over the `compared` phases, in their order.

    A guardrail is judged by non-inferiority: it passes once the confidence sequence of its difference excludes a loss of the
    margin. All guardrails must pass, so none of them needs a correction for their number. The p-values of the secondary
    metrics are corrected by Holm's method.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics, 6(2).
    Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling. Technometrics, 24(4).

    """
    measured = {
        terms: _measured(terms, [phase for phase in phases if phase.phase_id in compared], confidence)
        for terms, phases in found.items()
    }
    secondary = [terms for terms in measured if terms.margin is None]
    corrected = dict(zip(secondary, holm([measured[terms].p_value for terms in secondary]), strict=True))
    return tuple(
        _secondary(result, corrected[terms], confidence) if terms in corrected else _guardrail(result)
        for terms, result in measured.items()
    )


def _measured(terms: MetricTerms, phases: Sequence[MetricArms], confidence: float) -> MetricResult:
    pairs = [phase.means for phase in phases if has_enough_units(phase.means)]
    difference = mean_difference(pairs) if pairs else None
    unknown = sum(phase.unknown for phase in phases)
    if difference is None or not difference.variance > 0:
        units = sum(arm.units for phase in phases for arm in phase.means)
        rates = (difference.champion_rate, difference.challenger_rate) if difference else (math.nan, math.nan)
        none = (math.nan, math.nan, math.nan)
        return MetricResult(terms.name, terms.better, terms.margin, units, unknown, *rates, *none, "withheld")
    return _with_sequence(terms, difference, unknown, confidence)


def _with_sequence(terms: MetricTerms, found: MeanDifference, unknown: int, confidence: float) -> MetricResult:
    error = math.sqrt(found.variance)
    margin = sequence_margin(error, found.units, confidence)
    return MetricResult(
        terms.name,
        terms.better,
        terms.margin,
        found.units,
        unknown,
        found.champion_rate,
        found.challenger_rate,
        found.difference - margin,
        found.difference + margin,
        sequence_p_value(found.difference / error, found.units, confidence),
        "not shown",
    )


def _guardrail(result: MetricResult) -> MetricResult:
    if result.verdict == "withheld" or result.margin is None:
        return result
    gains = (result.sequence_lower, result.sequence_upper)
    least, most = gains if result.better == "higher" else (-gains[1], -gains[0])
    if least > -result.margin:
        return replace(result, verdict="not worse")
    return replace(result, verdict="worse") if most <= -result.margin else result


def _secondary(result: MetricResult, p_value: float, confidence: float) -> MetricResult:
    if result.verdict == "withheld" or not p_value < 1 - confidence:
        return replace(result, p_value=p_value)
    is_better = (result.difference > 0) == (result.better == "higher")
    return replace(result, p_value=p_value, verdict="better" if is_better else "worse")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's correction, in the same order; NaN stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    ranked = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = list(p_values), 0.0
    for rank, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        corrected[index] = largest
    return corrected
