"""The section `training_set.leakage`: thresholds for suspected label leakage, and the features exempt from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.plan.section import Section


class Leakage(Section):
    """Thresholds above which a feature is suspected to leak the label; it fails the run unless it is in `allow`.

    Attributes
    ----------
    alone : the largest ROC AUC that one feature may reach on the training rows; for a multiclass problem the best
        one-versus-rest AUC, for a regression R2.
    surely : the largest share of a rare label (at most a fifth of the rows) among the rows with some values of a feature.
    allow : by `view.feature`, the reason why a feature may exceed the thresholds, or use later rows.

    """

    alone: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    surely: Annotated[float, Field(gt=0.5, le=1)] = 0.98
    allow: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
