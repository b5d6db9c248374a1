"""The section `register`: the model name of releases, their guarantees, and the criteria for promotion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.plan.evaluate import Metric  # noqa: TC001 - pydantic reads the annotations
from core.plan.section import Section, Share

#: A difference of a metric, in the metric's unit.
Amount = Annotated[float, Field(ge=0)]


class Register(Section):
    """The model name of releases, their guarantees, and the criteria for a release to become champion.

    A new release is compared with the champion on the same test rows, metric by metric, with bootstrap intervals over
    entities (`evaluate.intervals`). If `evaluate.fairness` has an `acceptable_gap`, the gap between the selection rates of
    its groups must not exceed it.

    Attributes
    ----------
    unseen_level : policy for a string value that does not occur in the training rows: score it `as_missing`, or `refuse`
        the entity with an error.
    win, win_by : the metric in which a new release must be better, and the margin; the default of `win` is
        `evaluate.primary`.
    not_lose : by metric, the non-inferiority margin.
    no_part_loses : by metric, the non-inferiority margin in each part of `evaluate.groups`; a part fails a release if the
        whole interval is worse than the margin.
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
