"""The design of an experiment, and its comparison as of an instant: what the service and the command line both return."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from core.experiment.day_ends import decided
from core.experiment.decision import ExperimentTerms
from core.experiment.fetched_arms import fetch_arms
from core.experiment.metrics import MetricTerms, fetch_metric, judge_metrics
from core.experiment.money import MoneyTerms, fetch_money, money_result
from core.experiment.owners import stored_name
from core.experiment.strata import compare
from core.plan.section import column_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import psycopg

    from core.experiment.cohorts import Comparison
    from core.experiment.money import MoneyResult
    from core.plan.plan import Monitor, Plan, Serve
    from core.roles import Role

_NO_LEAD = timedelta()


@dataclass(frozen=True)
class Design:
    """What the plan says about an experiment.

    Attributes
    ----------
    weights : the plan's present weights of the arms.
    horizon, lead : the window of the label's outcome after an exposure, see `fetch_arms`.
    terms : how it is decided; None if it is only compared.
    metrics : guardrails and secondary metrics.
    covariate : `score` or `view__feature`; None without CUPED.
    money : what a decision costs and keeps; None if the plan does not say.
    model : whose experiment it is, if others in the database may have its name.

    """

    experiment: str
    weights: Mapping[Role, int]
    confidence: float
    sample_ratio_alarm: float
    horizon: timedelta | None
    lead: timedelta = _NO_LEAD
    terms: ExperimentTerms | None = None
    metrics: tuple[MetricTerms, ...] = ()
    covariate: str | None = None
    money: MoneyTerms | None = None
    model: str | None = None

    @classmethod
    def of(cls, plan: Plan) -> Design:
        """Return the design that the plan states."""
        design = cls.of_sections(plan.serve, plan.monitor, plan.label.matures_after, plan.label.begins_after)
        return replace(design, money=MoneyTerms.of(plan), model=plan.register_.model)

    @classmethod
    def of_sections(
        cls, serve: Serve, monitor: Monitor, horizon: timedelta | None, lead: timedelta = _NO_LEAD
    ) -> Design:
        """Return the design that the plan's sections state; `horizon` and `lead` are those of the label."""
        stated = monitor.experiment
        return cls(
            serve.experiment,
            serve.arms,
            monitor.confidence,
            monitor.sample_ratio_alarm,
            horizon,
            lead,
            ExperimentTerms.of(monitor),
            MetricTerms.of(monitor, horizon),
            column_of(stated.covariate) if stated and stated.covariate else None,
        )


def compare_arms(connection: psycopg.Connection, design: Design, as_of: datetime) -> Comparison:
    """Return the comparison of the arms over the exposures that are mature as of `as_of`; with terms it has a decision."""
    if design.model is not None:
        design = replace(design, experiment=stored_name(connection, design.experiment, design.model))
    arms = fetch_arms(
        connection,
        design.experiment,
        design.horizon,
        as_of,
        design.lead,
        by_day=design.terms is not None,
        covariate=design.covariate,
    )
    comparison = compare(arms, design.weights, design.confidence, design.sample_ratio_alarm, design.covariate)
    found = {terms: fetch_metric(connection, design.experiment, terms, as_of) for terms in design.metrics}
    metrics = judge_metrics(found, comparison.tested, design.confidence)
    money = _money(connection, design, comparison, as_of) if design.money else None
    return decided(replace(comparison, metrics=metrics, money=money), design.terms)


def _money(connection: psycopg.Connection, design: Design, comparison: Comparison, as_of: datetime) -> MoneyResult:
    assert design.money is not None, "asked for by the caller"
    found = fetch_money(connection, design.experiment, design.money, design.horizon, design.lead, as_of)
    return money_result(design.money, found, comparison.tested, design.confidence)
