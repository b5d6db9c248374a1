"""The section `evaluate`: metrics, the decision threshold, groups, slices, money."""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations of its models
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from core.plan.section import Name, Reference, Section, Share

Metric = Literal[
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
    "ece",
    "lift",
    "gain",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "balanced_accuracy",
    "profit",
    "rmse",
    "mae",
    "r2",
    "pinball",
    "poisson_deviance",
    "d2_poisson",
    "coverage",
    "interval_score",
    "quadratic_kappa",
    "ordinal_mae",
]

#: The metrics of each kind of problem.
METRICS: Mapping[str, tuple[Metric, ...]] = {
    "binary": (
        *("roc_auc", "pr_auc", "log_loss", "brier", "ece", "lift", "gain"),
        *("precision", "recall", "f1", "accuracy", "balanced_accuracy", "profit"),
    ),
    "multiclass": (
        *("roc_auc", "log_loss", "brier", "ece", "accuracy", "balanced_accuracy", "f1"),
        *("quadratic_kappa", "ordinal_mae"),
    ),
    "regression": ("rmse", "mae", "r2", "pinball", "poisson_deviance", "d2_poisson", "coverage", "interval_score"),
}
#: Metrics of `evaluate.interval`, and of classes with a `label.order`.
INTERVAL_METRICS: frozenset[Metric] = frozenset({"coverage", "interval_score"})
ORDINAL_METRICS: frozenset[Metric] = frozenset({"quadratic_kappa", "ordinal_mae"})


class Threshold(Section):
    """The decision threshold of a binary problem: `maximise` a metric on the validation rows, or a fixed number `at`."""

    maximise: Literal["f1", "balanced_accuracy", "profit"] | None = None
    """Metric whose maximum on the validation rows sets the threshold."""
    at: float | None = None
    """Fixed threshold."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        if (self.maximise is None) == (self.at is None):
            raise ValueError("expected one of the keys maximise and at; write {maximise: f1} or {at: 0.5}")
        return self


class Intervals(Section):
    """The confidence level of bootstrap intervals, and the number of resamples of entities."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of every interval of the evaluation and of the gate."""
    repeats: Annotated[int, Field(ge=100, le=10_000)] = 500
    """Number of resamples of entities."""


class Interval(Section):
    """The interval around each prediction of a regression, by split conformal prediction on the validation rows.

    The service answers with it. All predictions have the same distance to their bounds. The metric `coverage` is the share of
    labels inside, `interval_score` also counts the width.
    """

    coverage: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of the labels of new rows that the interval holds."""


class Group(Section):
    """A partition of the entities by a feature or attribute: a string or bool by its values, a number at `edges`.

    An edge belongs to the interval above it: the edges [2, 5] make below 2, 2 to below 5, and 5 and above.
    """

    feature: str
    """`view.feature` of the service or of `training_set.attributes`."""
    edges: tuple[Annotated[float, Field(strict=False)], ...] = Field(default=(), strict=False)
    """Ascending bounds between the parts of a number."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"the edges {list(self.edges)} must ascend")
        return self


class Fairness(Section):
    """The groups whose selection rates are compared, and the largest acceptable gap between them."""

    groups: tuple[Name, ...] = Field(strict=False, min_length=1)
    """Names of `evaluate.groups`."""
    acceptable_gap: Share | None = None
    """Largest gap between the selection rates of two parts; a release with a larger one does not pass the gate."""


class WorstSlices(Section):
    """The search for the slices where the model performs worst: found on validation rows, confirmed on test rows."""

    minimum_entities: Annotated[int, Field(ge=30)] = 200
    """Smallest slice that is searched, in entities."""
    show: Annotated[int, Field(ge=1, le=50)] = 5
    """Number of slices in the report."""


#: The keys of amounts that may differ by row.
AMOUNTS = ("kept_value", "offer_cost", "contact_cost")
#: An amount, or one for each row, of the shape (rows,).
Amount = Any


class Money(Section):
    """The profit of contacting customers with a retention offer; label 1 means that a customer churns.

    After Neslin, S. A., et al. (2006). Defection detection. Journal of Marketing Research, 43(2), equation 1. All churners
    are assumed to accept at the same rate; an offer may in fact move those least who are most likely to leave.

    An amount may differ by row: then it is the `view.feature` of the service or of `training_set.attributes` that holds it.
    There is still one threshold for all rows.

    Attributes
    ----------
    kept_value : value of a customer who would have churned and was kept.
    offer_cost : cost of an accepted offer; customers who would have stayed accept it too.
    contact_cost : cost of contacting a customer, whether or not the offer is accepted.
    acceptance : share of the customers who would have churned that accept the offer and stay.
    capacity : largest share of customers that can be contacted.

    """

    currency: str = ""
    """Unit of all amounts, as reports show it."""
    kept_value: Annotated[float, Field(gt=0)] | Reference
    offer_cost: Annotated[float, Field(ge=0)] | Reference
    contact_cost: Annotated[float, Field(ge=0)] | Reference = 0.0
    acceptance: Annotated[float, Field(gt=0, le=1)]
    capacity: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def references(self) -> dict[str, str]:
        """The `view.feature` names of the amounts that differ by row, by key."""
        amounts = {name: getattr(self, name) for name in AMOUNTS}
        return {name: amount for name, amount in amounts.items() if isinstance(amount, str)}

    def earned(self, kept_value: Amount, offer_cost: Amount, contact_cost: Amount) -> tuple[Amount, Amount]:
        """Return the mean profit of contacting a customer who would otherwise churn, and one who would have stayed."""
        return self.acceptance * (kept_value - offer_cost) - contact_cost, -offer_cost - contact_cost

    @property
    def _constants(self) -> tuple[float, float]:
        """The profits if all amounts are the same for all rows; otherwise NaN."""
        if self.references:
            return math.nan, math.nan
        lost, staying = self.earned(*(getattr(self, name) for name in AMOUNTS))
        return float(lost), float(staying)

    @property
    def earned_of_lost(self) -> float:
        """Mean profit of contacting a customer who would otherwise churn; NaN if it differs by row."""
        return self._constants[0]

    @property
    def earned_of_staying(self) -> float:
        """Profit of contacting a customer who would have stayed, at most 0; NaN if it differs by row."""
        return self._constants[1]

    @property
    def break_even(self) -> float:
        """The churn probability at which contacting has the profit 0; NaN if it never has, or it differs by row."""
        between = self.earned_of_lost - self.earned_of_staying
        return -self.earned_of_staying / between if self.earned_of_lost > 0 else math.nan


class Evaluate(Section):
    """The metrics on the test period, the groups they are computed for, and how a score becomes a decision.

    Attributes
    ----------
    calibration : the curve from scores to probabilities, fitted on the validation rows.
    top : the share of highest scores for which lift and gain are computed.
    quantile : the quantile of the pinball loss.

    """

    primary: Metric
    """Metric by which candidates are ranked; one of `metrics`."""
    metrics: tuple[Metric, ...] = Field(strict=False, min_length=1)
    """Metrics that are computed, each for the problems that it is defined for."""
    threshold: Threshold | None = None
    """How a score becomes a decision; a binary problem needs it, others have none."""
    baseline: Name
    """Name of the candidate that the best one is compared with."""
    calibration: Literal["none", "sigmoid", "isotonic"] = "none"
    top: Annotated[float, Field(gt=0, lt=1)] = 0.1
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    intervals: Intervals = Intervals()
    """Confidence intervals of all metrics."""
    interval: Interval | None = None
    """Interval around each prediction of a regression."""
    money: Money | None = None
    """Amounts behind `profit`."""
    groups: dict[Name, Group] = Field(default_factory=dict)
    """Partitions of the entities by which metrics are shown, by name."""
    fairness: Fairness | None = None
    """Groups that decisions should treat alike."""
    worst_slices: WorstSlices = WorstSlices()
    """Search for the parts of the rows where the model is worst."""

    @model_validator(mode="after")
    def _measures_primary(self) -> Self:
        if self.primary not in self.metrics:
            raise ValueError(f"primary {self.primary!r} is not among the metrics {list(self.metrics)}")
        return self

    @model_validator(mode="after")
    def _has_money_for_profit(self) -> Self:
        chosen_by_profit = self.threshold is not None and self.threshold.maximise == "profit"
        if self.money is None and (chosen_by_profit or "profit" in self.metrics):
            raise ValueError("profit needs the key money, which says what a decision earns")
        return self
