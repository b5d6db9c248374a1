"""Findings about the best candidate: metrics by group, worst slices, fairness and profit."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.plan.evaluate import Threshold
from models.measures.fairness import GroupFairness, fairness
from models.measures.groups import Grouping, PartResult, by_part
from models.measures.metrics import confusion
from models.measures.money import MoneyResult, best_threshold, money_result
from models.measures.slices import WorstSlice, confirm, suspects
from models.measures.thresholds import choose_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.contracts import ContractFeature
    from core.plan.evaluate import Evaluate
    from models.measures.intervals import Resampling
    from models.measures.metrics import Observed

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ScoredFeatures:
    """Scores of the best candidate on one part of the split, with the encoded features of the same rows."""

    observed: Observed
    matrix: NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """Findings about one candidate on the test rows.

    Attributes
    ----------
    confusion : numbers of rows by (label, decision), of shape (classes, classes); empty without decisions.
    parts : each part of each group of the plan.
    worst_slices : found on the validation rows, measured on the test rows.

    """

    candidate: str
    rows: int
    entities: int
    confusion: list[list[int]]
    parts: tuple[PartResult, ...]
    worst_slices: tuple[WorstSlice, ...]
    fairness: tuple[GroupFairness, ...]
    money: MoneyResult | None

    def to_json(self) -> str:
        """Compose the JSON of the findings; undefined numbers are null."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(_plain(content), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def findings_of(
    section: Evaluate,
    candidate: str,
    features: Sequence[ContractFeature],
    validation: ScoredFeatures,
    test: ScoredFeatures,
    groups: Sequence[Grouping],
    resampling: Resampling,
) -> Findings:
    """Return the findings about one candidate; `groups` are those of the test rows."""
    rows, search = test.observed, section.worst_slices
    has_decisions = rows.problem == "multiclass" or not math.isnan(rows.threshold)
    slices = suspects(validation.observed, validation.matrix, features, search.minimum_entities, search.show)
    compared = section.fairness.groups if section.fairness else ()
    return Findings(
        candidate=candidate,
        rows=len(rows.label),
        entities=rows.entities,
        confusion=confusion(rows).tolist() if has_decisions else [],
        parts=by_part(rows, groups, section.metrics, resampling),
        worst_slices=confirm(rows, test.matrix, slices, search.minimum_entities),
        fairness=tuple(fairness(rows, group, resampling) for group in groups if group.name in compared),
        money=_money(section, validation.observed, rows, resampling),
    )


def _money(section: Evaluate, validation: Observed, test: Observed, resampling: Resampling) -> MoneyResult | None:
    if section.money is None:
        return None
    label = validation.label.astype(np.int32)
    goal, weight, earned = Threshold(maximise="profit"), validation.weight, validation.earned
    chosen = choose_threshold(goal, section.money, label, validation.score, weight, earned)
    best = best_threshold(validation, chosen, section.money.capacity, resampling)
    return money_result(section.money.currency, section.money.break_even, best, test, resampling)
