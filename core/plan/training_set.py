"""The plan's sections `label` and `training_set`: what is predicted from which features, as of when, and how that is split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plan.leakage import Leakage
from core.plan.section import Name, Section
from core.plan.times import Cadence, Duration, Instant, Period


class Label(Section):
    """What is to be predicted: `value` over the source's rows in (as of, as of + horizon].

    Only entities for which `population` holds over the rows known as of then are in the training set.
    """

    source: Name
    horizon: Duration
    population: str = "count(*) >= 1"
    value: str


class TemporalSplit(Section):
    """Train, validate and test in that order of time, at least `gap` apart, so that no label looks into the next."""

    kind: Literal["temporal"]
    validation_from: Instant
    test_from: Instant
    gap: Duration


class StratifiedSplit(Section):
    """Deal rows to folds at random, each with its share of every class: one for testing, one for validation, the rest to train.

    For labels that do not depend on time; rows of one entity may be on both sides.
    """

    kind: Literal["stratified"]
    folds: Annotated[int, Field(ge=3)] = 5
    seed: int = 0


class GroupedSplit(Section):
    """Deal entities to folds at random, all rows of one to the same: one for testing, one for validation, the rest to train."""

    kind: Literal["grouped"]
    folds: Annotated[int, Field(ge=3)] = 5
    seed: int = 0


Split = Annotated[TemporalSplit | StratifiedSplit | GroupedSplit, Field(discriminator="kind")]


class AsOf(Period):
    """The as-of instants of the training set."""

    every: Cadence


class TrainingSet(Section):
    """Which feature service is joined to which as-of instants, and how they are split.

    `attributes` are features that are joined beside the service: evaluation looks at them, and no model sees them.
    `leakage` says when a feature of the service is taken to know the label.
    """

    service: Name
    as_of: AsOf
    split: Split
    leakage: Leakage = Leakage()
    attributes: tuple[str, ...] = Field(default=(), strict=False)
