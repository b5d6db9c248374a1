"""The plan's words against leakage: when a feature is taken to know the label, and which may."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.plan.section import Section


class Leakage(Section):
    """When a feature is taken to know the label; such a feature fails the run, unless it is allowed by name.

    Attributes
    ----------
    alone : what a feature may reach by itself on the training rows: the area under the ROC curve (of several classes, of
        the one that it tells best from the rest), or R2 of a regression.
    surely : the share of a rare label (at most a fifth of the rows) that some values of a feature may have.
    allow : by `view.feature`, why a feature may look as if it knew the label, or look ahead.

    """

    alone: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    surely: Annotated[float, Field(gt=0.5, le=1)] = 0.98
    allow: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
