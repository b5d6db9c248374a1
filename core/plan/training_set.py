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
    """Source whose rows make the label."""
    horizon: Duration
    """Length of the label window after the as-of instant."""
    population: str = "count(*) >= 1"
    """SQL condition over the rows known as of the instant; other entities are left out."""
    value: str
    """SQL aggregate over the rows in the label window: true or false, a class, or a number."""


class TemporalSplit(Section):
    """Train, validate and test in that order of time, at least `gap` apart, so that no label looks into the next."""

    kind: Literal["temporal"]
    validation_from: Instant
    """First as-of instant of the validation part."""
    test_from: Instant
    """First as-of instant of the test part."""
    gap: Duration
    """Time between two parts that is left out; at least the label's horizon keeps their labels apart."""


class StratifiedSplit(Section):
    """Deal rows to folds at random, each with its share of every class: one for testing, one for validation, the rest to train.

    For labels that do not depend on time; rows of one entity may be on both sides.
    """

    kind: Literal["stratified"]
    folds: Annotated[int, Field(ge=3)] = 5
    """Number of folds."""
    seed: int = 0
    """Seed of the assignment to folds."""


class GroupedSplit(Section):
    """Deal entities to folds at random, all rows of one to the same: one for testing, one for validation, the rest to train."""

    kind: Literal["grouped"]
    folds: Annotated[int, Field(ge=3)] = 5
    """Number of folds."""
    seed: int = 0
    """Seed of the assignment to folds."""


Split = Annotated[TemporalSplit | StratifiedSplit | GroupedSplit, Field(discriminator="kind")]


class AsOf(Period):
    """The as-of instants of the training set."""

    every: Cadence
    """Distance between two instants."""


class TrainingSet(Section):
    """Which feature service is joined to which as-of instants, and how they are split.

    `attributes` are features that are joined beside the service: evaluation looks at them, and no model sees them.
    `leakage` says when a feature of the service is taken to know the label.
    """

    service: Name
    """Feature service that the models take."""
    as_of: AsOf
    """Instants as of which entities are labelled."""
    split: Split
    """Parts to train, to validate and to test on."""
    leakage: Leakage = Leakage()
    """When a feature is suspected to know the label."""
    attributes: tuple[str, ...] = Field(default=(), strict=False)
    """`view.feature` names that evaluation reads and no model sees."""
