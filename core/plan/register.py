"""The plan's words for releases: the name they are registered under, what they promise, and what a new one must show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plan.evaluate import Metric  # noqa: TC001 - pydantic reads the annotations
from core.plan.section import Section, Share

#: How much of a metric, in its own unit.
Amount = Annotated[float, Field(ge=0)]


class Register(Section):
    """The name under which releases are registered, what they promise, and what one must show to become champion.

    A new release is compared with the champion on the same test rows, metric by metric, with intervals that draw entities
    (`evaluate.intervals` says how many, and how sure). Where `evaluate.fairness` has an `acceptable_gap`, the selection
    rates of its groups must not lie further apart.

    Attributes
    ----------
    unseen_level : what becomes of a string feature's value that training did not have: it is scored `as_missing`, or its
        entity is answered with an error.
    win, win_by : the metric in which a new release must be better, by more than this; without `win`: `evaluate.primary`.
    not_lose : by metric, how much worse it may be and still count as not worse.
    no_part_loses : by metric, how much worse it may be in a part of `evaluate.groups`; a part stands against a release
        where it is surely worse by more.
    max_ece : the largest expected calibration error.
    max_row_us : the longest time to score one row, in microseconds, measured when it is registered.
    max_bundle_mb : the largest bundle, in megabytes of 1,000,000 bytes.

    """

    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)]
    """Name of the model in the ledger of releases and in MLflow."""
    unseen_level: Literal["as_missing", "refuse"] = "as_missing"
    win: Metric | None = None
    win_by: Amount = 0.0
    not_lose: dict[Metric, Amount] = Field(default_factory=dict)
    no_part_loses: dict[Metric, Amount] = Field(default_factory=dict)
    max_ece: Share | None = None
    max_row_us: Annotated[float, Field(gt=0)] | None = None
    max_bundle_mb: Annotated[float, Field(gt=0)] | None = None
