"""The sections `label` and `training_set`: the label, the feature service, the as-of instants and the split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plan.leakage import Leakage
from core.plan.section import Name, Section
from core.plan.times import Cadence, Duration, Instant, Period


class Label(Section):
    """The label: `value` aggregates the source's rows in (as of, as of + horizon].

    The training set contains the entities for which `population` holds over the rows known at the as-of instant.
    A null value is no label; an entity without a label is served like any other.
    """

    source: Name
    """Source whose rows make the label."""
    horizon: Duration
    """Length of the label window after the as-of instant."""
    population: str = "count(*) >= 1"
    """SQL condition over the rows known as of the instant; other entities are left out."""
    value: str
    """SQL aggregate over the rows in the label window: true or false, a class, or a number; null is no label."""
    unlabelled: Literal["refuse", "leave_out"] = "refuse"
    """What to do with rows without a label: fail, or leave them out of training and count them."""


class TemporalSplit(Section):
    """Training, validation and test periods in order of time, `gap` apart, so that no label window overlaps the next period."""

    kind: Literal["temporal"]
    validation_from: Instant
    """First as-of instant of the validation part."""
    test_from: Instant
    """First as-of instant of the test part."""
    gap: Duration
    """Time between two parts that is left out; at least the label's horizon keeps their labels apart."""


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
    """Random folds of entities (all rows of one in the same fold): one for testing, one for validation, the rest to train."""

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
    """The feature service, the as-of instants that it is joined to, and the split of the rows.

    `attributes` are extra features for evaluation, such as groups; no model reads them. `leakage` holds the thresholds for
    suspected label leakage.
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
