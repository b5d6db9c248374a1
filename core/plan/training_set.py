"""The sections `label` and `training_set`: the label, the feature service, the as-of instants and the split."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.plan.leakage import Leakage
from core.plan.rows.expressions import Expression  # noqa: TC001 - pydantic reads the annotations
from core.plan.section import Name, Reference, Section, column_of
from core.plan.times import LONGEST, WITHOUT_TIME, Cadence, Duration, Instant, Period, without_end


class Label(Section):
    """The label: `value` aggregates the source's rows in (as of + lead, as of + lead + horizon].

    The training set contains the entities for which `population` holds over the rows known at the as-of instant. Null means
    that there is no label; the service answers for an entity without a label as for any other.

    If its source has no `event_time`, the label is in the entity's only row: in `column`, or as the expression `value`. No
    feature may read a column of the label. If `training_set.as_of` has `each_row_of: <the label's source>`, the label may be in
    the row of the example in the same way: then there is no `horizon`, and `delay` is the time until it is known.
    """

    source: Name = ""
    """Source that the label is computed from; may be left out if exactly one source has no `event_time`."""
    horizon: Duration = Field(default_factory=without_end)
    """Length of the label window after the as-of instant; required with `event_time`, unless the label is in the row."""
    lead: Duration | None = None
    """Time between the as-of instant and the beginning of the label window, such as the days needed to act."""
    delay: Duration | None = None
    """Time after the end of the window until the label is known, such as the days until a payment is called overdue."""
    population: Expression = "count(*) >= 1"
    """SQL condition over the rows known as of the instant; entities for which it is false are left out."""
    value: Expression = ""
    """SQL aggregate over the rows in the label window: true or false, a class, or a number; null is no label.

    `any_value` is the smallest value.
    """
    column: Name | None = None
    """Column of the row that holds the label, in place of `value`."""
    positive: bool | int | str | None = None
    """Value of `column` that is class 1 of a binary problem; all other values are class 0. Required if `column` is a text."""
    names: Annotated[tuple[str, str], Field(strict=False)] | None = None
    """Names of class 0 and class 1 of a binary problem, in answers and outcomes; by default class 1 is named by `positive`."""
    order: Annotated[tuple[int | str, ...], Field(strict=False, min_length=2)] | None = None
    """Classes of a multiclass problem from lowest to highest; all of them, each with training rows."""
    unlabelled: Literal["refuse", "leave_out"] = "refuse"
    """What to do with rows without a label: fail, or leave them out of training and count them."""

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if bool(self.value) == (self.column is not None):
            raise ValueError(
                "a label needs either value (an SQL expression) or column (which holds it); write one of them"
            )
        if self.positive is not None and self.column is None:
            raise ValueError(
                "positive is a value of column, which is missing; add column, or write the condition as value"
            )
        if self.names is not None and len(set(filter(None, self.names))) < len(self.names):
            raise ValueError(
                f"found the names {list(self.names)}; expected two different ones, of class 0 and of class 1"
            )
        if self.order is not None and len(set(self.ordered)) < len(self.order):
            raise ValueError(f"the order {list(self.ordered)} lists a class twice; keep one")
        return self

    @property
    def expression(self) -> str:
        """SQL of the label: the aggregate, or the expression over the row."""
        if self.column is None:
            return self.value
        column = f'"{self.column}"'
        if self.positive is None:
            return column
        return f"{column} = {sql_constant(self.positive)}"

    @property
    def begins_after(self) -> timedelta:
        """Time from the as-of instant to the beginning of the label window."""
        return self.lead or timedelta()

    @property
    def closes_after(self) -> timedelta:
        """Time from the as-of instant to the end of the label window."""
        return self.begins_after + self.horizon

    @property
    def known_after(self) -> timedelta:
        """Time from the as-of instant until the label is known."""
        return self.closes_after + (self.delay or timedelta())

    @property
    def matures_after(self) -> timedelta | None:
        """Time from an exposure until its outcome is known; None if the label has no time."""
        return self.known_after if self.horizon < LONGEST else None

    @property
    def positive_name(self) -> str:
        """Name of class 1 of a binary problem; empty if the plan states none."""
        if self.names:
            return self.names[1]
        return "" if self.positive is None else class_name(self.positive)

    @property
    def negative_name(self) -> str:
        """Name of class 0 of a binary problem; empty if the plan states none."""
        return self.names[0] if self.names else ""

    @property
    def ordered(self) -> tuple[str, ...]:
        """Classes from lowest to highest; empty if the plan states no order."""
        return tuple(map(class_name, self.order or ()))

    @property
    def states_population(self) -> bool:
        """Whether the plan limits the training set to some entities."""
        return "population" in self.model_fields_set

    @property
    def path(self) -> str:
        """Key of the plan that defines the label."""
        return "label.value" if self.column is None else "label.column"


def class_name(value: bool | int | str) -> str:
    """Return the name of a class: the text, or that of a number or a truth value."""
    return value if isinstance(value, str) else str(value).lower()


def sql_constant(value: bool | int | str) -> str:
    """Compose the SQL of a constant."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()


class TemporalSplit(Section):
    """Training, validation and test periods in order of time, `gap` apart, so that no label window overlaps the next period."""

    kind: Literal["temporal"]
    validation_from: Instant
    """First as-of instant of the validation part."""
    test_from: Instant
    """First as-of instant of the test part."""
    gap: Duration
    """Time left out between two parts; at least lead + horizon + delay of the label, so that label windows do not overlap."""


class StratifiedSplit(Section):
    """Random folds of rows, stratified by class: one for testing, one for validation, the rest for training.

    For labels that do not depend on time; rows of one entity may fall into different folds.
    """

    kind: Literal["stratified"]
    folds: Annotated[int, Field(ge=3)] = 5
    """Number of folds."""
    seed: int = 0
    """Seed of the assignment to folds."""


class GroupedSplit(Section):
    """Random folds of entities (all rows of one in the same fold): one for testing, one for validation, the rest to train.

    With `by`, they are folds of the values of a feature, such as a household, patient or shop: all rows with the same value are
    in the same fold. Intervals of metrics then resample these groups instead of entities.
    """

    kind: Literal["grouped"]
    by: Reference | None = None
    """`view.feature` whose values are the groups, instead of the entities; a model reads it only if it is in the service."""
    folds: Annotated[int, Field(ge=3)] = 5
    """Number of folds."""
    seed: int = 0
    """Seed of the assignment to folds."""


class RandomSplit(Section):
    """Random folds of rows: one for testing, one for validation, the rest for training."""

    kind: Literal["random"]
    folds: Annotated[int, Field(ge=3)] = 5
    """Number of folds; one tests, one validates, the rest train."""
    seed: int = 0
    """Seed of the draw."""


Split = Annotated[TemporalSplit | StratifiedSplit | GroupedSplit | RandomSplit, Field(discriminator="kind")]


class AsOf(Period):
    """The as-of instants of the training set: a grid of all entities, or the instants of rows.

    With `each_row_of`, each row of a source is an example: its entity, as of the time when the row became known. A feature
    includes the row itself if its view has a snapshot at that time (`every: row`). Several rows of an entity at one time are
    one example.
    """

    every: Cadence | None = None
    """Distance between two instants."""
    each_row_of: Name | None = None
    """Source of the predicted entity whose rows between start and end are the examples; instead of `every`."""

    @model_validator(mode="after")
    def _has_one_kind_of_instants(self) -> Self:
        if (self.every is None) == (self.each_row_of is None):
            raise ValueError(
                "expected either every (the distance between two instants) or each_row_of (a source); write one"
            )
        return self


class TrainingSet(Section):
    """The feature service, the as-of instants that it is joined to, and the split of the rows.

    `attributes` are extra features for evaluation, such as groups; no model reads them. `leakage` holds the thresholds for
    suspected label leakage.

    `weight` names a feature with the weight of each row: a row with weight 2 counts like two equal rows, in fitting, early
    stopping and searches, in the calibration and the threshold, and in all metrics and the gate. No part of the split may have
    a weight that is null, negative or infinite, or only weights of 0.
    """

    service: Name
    """Feature service that the models read."""
    as_of: AsOf = Field(default_factory=lambda: AsOf(start=WITHOUT_TIME, end=WITHOUT_TIME, every="1 day"))
    """Instants as of which entities are labelled."""
    split: Split
    """How the rows are split into the parts for training, validation and testing."""
    leakage: Leakage = Leakage()
    """Thresholds above which a feature is suspected to leak the label."""
    attributes: tuple[str, ...] = Field(default=(), strict=False)
    """`view.feature` names that evaluation reads and no model sees."""

    weight: Reference | None = None
    """`view.feature` with the weight of each row, a number >= 0; a model reads it only if it is in the service."""

    @property
    def split_by(self) -> str | None:
        """`view.feature` whose groups the split keeps together; None if those are the entities."""
        return self.split.by if isinstance(self.split, GroupedSplit) else None

    @property
    def read_besides(self) -> tuple[str, ...]:
        """`view.feature` names in the training set besides the service: attributes, the groups of the split, and weights."""
        return (*self.attributes, *(name for name in (self.split_by, self.weight) if name))

    @property
    def weight_column(self) -> str | None:
        """Column of the training set with the weight of each row; None if all rows count alike."""
        return column_of(self.weight) if self.weight else None
