"""The metrics of an experiment besides the label's outcome: guardrails and secondary metrics, from named outcomes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plan.section import Name, Section
from core.plan.times import Duration  # noqa: TC001 - pydantic reads the annotations


class SecondaryMetric(Section):
    """A metric of a named outcome, compared between the arms: a mean, or with `per` a ratio of two means.

    It is reported with a correction for the number of secondary metrics (Holm), and decides nothing.
    """

    better: Literal["higher", "lower"]
    """Which value is better."""
    outcome: Name | None = None
    """Name of the outcome, as `POST /v1/outcomes` takes it; by default that of the metric."""
    per: Name | None = None
    """Name of the outcome in the denominator of a ratio, such as `orders` for revenue per order."""
    value: Literal["first", "sum"] = "first"
    """Value of an entity: its first outcome, unknown without one; or the `sum` of its outcomes, 0 without one."""
    within: Duration | None = None
    """Time after the exposure in which outcomes count; by default as long as for the label."""


class Guardrail(SecondaryMetric):
    """A metric that must not become worse by `margin` or more, or the challenger is not shipped."""

    margin: Annotated[float, Field(gt=0)]
    """Difference between the arms, absolute, by which the challenger may be worse."""


def outcome_names(metrics: dict[str, SecondaryMetric]) -> frozenset[str]:
    """Return the names of the outcomes that metrics read."""
    named = {metric.outcome or name for name, metric in metrics.items()}
    return frozenset(named | {metric.per for metric in metrics.values() if metric.per})
