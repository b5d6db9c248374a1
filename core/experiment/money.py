"""Money per arm: what the decisions at the exposures cost, and what they kept, from the outcomes that followed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from core.experiment.confidence_sequence import sequence_margin
from core.experiment.label_window import first_outcome
from core.experiment.logged_numbers import logged_number
from core.experiment.means import has_enough_units, mean_difference
from core.experiment.metrics import fetch_metric_arms
from core.experiment.owners import model_of_experiment
from core.json_text import plain
from core.plan.evaluate import AMOUNTS
from core.plan.section import column_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import psycopg

    from core.experiment.metrics import MetricArms
    from core.plan.evaluate import Money
    from core.plan.plan import Plan

_FETCH = sql.SQL("""
SELECT exposure.phase_id, exposure.arm, count(outcome.value) AS mature, count(known.y) AS units,
    coalesce(sum(known.y), 0) AS y, count(known.y) AS d, coalesce(sum(known.y * known.y), 0) AS yy, count(known.y) AS dd,
    coalesce(sum(known.y), 0) AS yd
FROM panthera.exposure
JOIN panthera.prediction AS exposing ON exposing.prediction_id = exposure.prediction_id
{first_outcome}
CROSS JOIN LATERAL (
    SELECT -outcome.value * {kept_value}
        - (exposing.decision = {above})::int * ({contact_cost} + (1 - outcome.value) * {offer_cost}) AS y
) AS known
WHERE exposure.experiment = {experiment} AND exposure.exposed_at <= {as_of}
GROUP BY exposure.phase_id, exposure.arm
""")


@dataclass(frozen=True)
class MoneyTerms:
    """What a decision costs and what it keeps.

    Attributes
    ----------
    above : name of the decision to contact.
    amounts : each of `AMOUNTS`, a number or the column (`view__feature`) of the logged vector that has it.

    """

    currency: str
    above: str
    amounts: tuple[tuple[str, float | str], ...]

    @staticmethod
    def of(plan: Plan) -> MoneyTerms | None:
        """Return the terms of `evaluate.money`; None without it, without `monitor.experiment`, or without a decision."""
        money, above = plan.evaluate.money, plan.serve.decisions.above
        if money is None or plan.monitor.experiment is None or not above:
            return None
        return MoneyTerms(money.currency, above, tuple((name, _amount(money, name)) for name in AMOUNTS))


def _amount(money: Money, name: str) -> float | str:
    stated = getattr(money, name)
    return column_of(stated) if isinstance(stated, str) else float(stated)


@dataclass(frozen=True)
class MoneyResult:
    """The money of a unit in each arm, in `currency`: amounts lost and spent are negative.

    Attributes
    ----------
    units, unknown : units with an outcome whose amounts are known, and whose are not.
    champion, challenger : mean of a unit over the compared phases.
    ci_lower, ci_upper : confidence interval of challenger - champion, for one look.
    sequence_lower, sequence_upper : its confidence sequence, which holds at all looks together.

    Undefined numbers are NaN.

    """

    currency: str
    units: int
    unknown: int
    champion: float = math.nan
    challenger: float = math.nan
    ci_lower: float = math.nan
    ci_upper: float = math.nan
    sequence_lower: float = math.nan
    sequence_upper: float = math.nan

    @property
    def difference(self) -> float:
        """Challenger - champion."""
        return self.challenger - self.champion

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return {**plain(self), "difference": plain(self.difference)}


def fetch_money(
    connection: psycopg.Connection,
    experiment: str,
    terms: MoneyTerms,
    horizon: timedelta | None,
    lead: timedelta,
    as_of: datetime,
) -> tuple[MetricArms, ...]:
    """Fetch the sums of the units' money by phase, over units with an outcome y (1: the customer was lost).

    A unit has -y kept_value, and if the decision at its exposure was to contact, -contact_cost - (1 - y) offer_cost. In
    expectation the difference between contacting and not is that of `core.plan.evaluate.Money`; the share that accepts the
    offer is not assumed, since the outcomes have it.
    """
    window = (model_of_experiment(sql.Literal(experiment)), *map(sql.Literal, (lead, horizon, as_of)))
    amounts = {
        name: logged_number("exposing", amount) if isinstance(amount, str) else sql.Literal(amount)
        for name, amount in terms.amounts
    }
    query = _FETCH.format(
        first_outcome=first_outcome("exposure", "exposed_at", *window),
        above=terms.above,
        experiment=experiment,
        as_of=as_of,
        **amounts,
    )
    return fetch_metric_arms(connection, query)


def money_result(
    terms: MoneyTerms, phases: Sequence[MetricArms], compared: set[int | None], confidence: float
) -> MoneyResult:
    """Return the money in the two arms over the `compared` phases, with the intervals of a difference of means."""
    from scipy.stats import t

    chosen = [phase for phase in phases if phase.phase_id in compared]
    unknown = sum(phase.unknown for phase in chosen)
    pairs = [phase.means for phase in chosen if has_enough_units(phase.means)]
    found = mean_difference(pairs) if pairs else None
    if found is None or not found.variance > 0:
        return MoneyResult(terms.currency, sum(arm.units for phase in chosen for arm in phase.means), unknown)
    error = math.sqrt(found.variance)
    once = float(t.ppf((1 + confidence) / 2, found.df)) * error
    always = sequence_margin(error, found.units, confidence)
    bounds = [found.difference + sign * margin for margin in (once, always) for sign in (-1, 1)]
    return MoneyResult(terms.currency, found.units, unknown, found.champion_rate, found.challenger_rate, *bounds)
