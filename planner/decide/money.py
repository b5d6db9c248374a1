"""What the plan's amounts say before there is a model: break-even, and bounds of the profit of any model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.plan.evaluate import Money


@dataclass(frozen=True)
class ProfitBounds:
    """The profit per 1,000 units, between what no model does worse than and what none does better than.

    Attributes
    ----------
    break_even : probability from which on contacting earns.
    contact_all : of contacting units at random, as many as the capacity allows.
    perfect : of contacting only those with label 1, as many as the capacity allows.
    best_effect : relative change of the base rate if all with label 1 within the capacity are contacted.

    """

    break_even: float
    contact_all: float
    perfect: float
    best_effect: float


def profit_bounds(money: Money, base_rate: float) -> ProfitBounds:
    """Return the bounds; NaN where amounts differ by row."""
    lost, staying, capacity = money.earned_of_lost, money.earned_of_staying, money.capacity
    reached = min(base_rate, capacity)
    return ProfitBounds(
        money.break_even,
        1000 * capacity * (base_rate * lost + (1 - base_rate) * staying),
        1000 * reached * lost if lost > 0 else 0.0,
        money.acceptance * reached / base_rate if base_rate > 0 else float("nan"),
    )
