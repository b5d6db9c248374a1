"""Plans, contracts and prices, and their changes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from worlds.subscription.arrays import Codes, Days, Flags, Floats
from worlds.subscription.happenings import EventHistory
from worlds.subscription.months import Month, MonthGrid
from worlds.subscription.people import DAY_ENDS, DAY_STARTS, People
from worlds.subscription.presence import Presence
from worlds.subscription.settings import SHORTEST_MONTH_DAYS, Behaviour, SubscriptionSettings
from worlds.subscription.tables import dates, records, strings

CONTRACT_DAYS = 365
KINDS = ("signup", "price_change", "upgrade", "downgrade", "contract", "renewal")
SIGNUP, PRICE_CHANGE, UPGRADE, DOWNGRADE, TO_ANNUAL, RENEWAL = range(len(KINDS))
#: An annual contract within so many days of its end is `annual_ending`: the longest month, so each has one such month.
ENDING_DAYS = 31
SMALLEST_RISE = 0.02


@dataclass(frozen=True)
class Moves:
    """Changes of contracts, one value for each; `rows` are indices of customers, prices are in EUR per month."""

    rows: Codes
    days: Days
    kinds: Codes
    plans: Codes
    annual: Flags
    contract_ends: Days
    prices: Floats
    previous_prices: Floats


class Contracts:
    """The contract of each customer of a chunk; `contract_end` is defined only where `annual`."""

    def __init__(self, people: People, settings: SubscriptionSettings) -> None:
        self._behaviour = settings.behaviour
        self._list_prices = np.array([plan.price for plan in settings.plans])
        self._factors = np.array([segment.price_factor for segment in settings.segments])[people.segment]
        self.plan = people.plan.copy()
        self.price = self._price_of(people.plan, np.arange(len(people)))
        self.annual = people.annual.copy()
        self.contract_end = people.signup_day + CONTRACT_DAYS
        self.price_rises = EventHistory(len(people))
        self.downgrades = EventHistory(len(people))

    def _price_of(self, plans: Codes, rows: Codes) -> Floats:
        prices: Floats = np.round(self._list_prices[plans] * self._factors[rows], 2)
        return prices

    def locked(self, day: int) -> Flags:
        """Return the mask of customers whose annual contract ends more than 31 days after `day`."""
        return self.annual & (self.contract_end - day > ENDING_DAYS)

    def ending(self, day: int) -> Flags:
        """Return the mask of customers whose annual contract ends within 31 days after `day`."""
        return self.annual & (self.contract_end - day <= ENDING_DAYS)

    def signups(self, people: People, rows: Codes) -> Moves:
        """Return the first contracts of the customers in `rows`."""
        return Moves(
            rows=rows,
            days=people.signup_day[rows],
            kinds=np.full(len(rows), SIGNUP),
            plans=self.plan[rows],
            annual=self.annual[rows],
            contract_ends=self.contract_end[rows],
            prices=self.price[rows],
            previous_prices=np.full(len(rows), np.nan),
        )

    def change(self, rng: np.random.Generator, presence: Presence, month: Month) -> Moves:
        """Draw and apply a month's changes of contracts, at most one per customer; return them."""
        size = len(self.plan)
        due = self.annual & (self.contract_end >= month.start) & (self.contract_end < month.stop)
        kinds = np.where(due, RENEWAL, _draw_kinds(rng.random(size), self.annual, self._behaviour))
        kinds = self._within_plans(kinds)
        days = np.where(due, self.contract_end, month.start + rng.integers(0, SHORTEST_MONTH_DAYS, size))
        rises = self._draw_rises(rng, size)
        renewed = rng.random(size) < self._behaviour.renewal_rate
        rows = np.flatnonzero((kinds != SIGNUP) & presence.on(np.arange(size), days))
        moves = self._moves(rows, days[rows], kinds[rows], rises[rows], renewed[rows])
        self._apply(moves)
        return moves

    def _draw_rises(self, rng: np.random.Generator, size: int) -> Floats:
        largest = self._behaviour.price_rise_max
        return rng.uniform(min(SMALLEST_RISE, largest), largest, size)

    def _within_plans(self, kinds: Codes) -> Codes:
        """Return `kinds` without upgrades of the largest plan and downgrades of the smallest one."""
        largest = (kinds == UPGRADE) & (self.plan == len(self._list_prices) - 1)
        smallest = (kinds == DOWNGRADE) & (self.plan == 0)
        return np.where(largest | smallest, SIGNUP, kinds)

    def _moves(self, rows: Codes, days: Days, kinds: Codes, rises: Floats, renewed: Flags) -> Moves:
        previous = self.price[rows]
        plans = self.plan[rows] + (kinds == UPGRADE) - (kinds == DOWNGRADE)
        moved = (kinds == UPGRADE) | (kinds == DOWNGRADE)
        raised = np.where(kinds == PRICE_CHANGE, np.round(previous * (1 + rises), 2), previous)
        starts_annual = (kinds == TO_ANNUAL) | ((kinds == RENEWAL) & renewed)
        return Moves(
            rows=rows,
            days=days,
            kinds=kinds,
            plans=plans,
            annual=np.where(kinds == RENEWAL, renewed, self.annual[rows] | (kinds == TO_ANNUAL)),
            contract_ends=np.where(starts_annual, days + CONTRACT_DAYS, self.contract_end[rows]),
            prices=np.where(moved, self._price_of(plans, rows), raised),
            previous_prices=previous,
        )

    def _apply(self, moves: Moves) -> None:
        self.plan[moves.rows] = moves.plans
        self.annual[moves.rows] = moves.annual
        self.contract_end[moves.rows] = moves.contract_ends
        self.price[moves.rows] = moves.prices
        raised = moves.kinds == PRICE_CHANGE
        rise = np.log(moves.prices[raised] / moves.previous_prices[raised])
        self.price_rises.add(moves.rows[raised], moves.days[raised], rise)
        lowered = moves.kinds == DOWNGRADE
        self.downgrades.add(moves.rows[lowered], moves.days[lowered])


def _draw_kinds(draws: Floats, annual: Flags, behaviour: Behaviour) -> Codes:
    """Return the kind of change for one uniform draw per customer; `SIGNUP` means no change."""
    only_monthly = ~annual
    edges = np.cumsum(
        [behaviour.upgrade_rate, behaviour.price_change_rate, behaviour.downgrade_rate, behaviour.annual_switch_rate]
    )
    kinds = np.array([UPGRADE, PRICE_CHANGE, DOWNGRADE, TO_ANNUAL, SIGNUP])[np.searchsorted(edges, draws, "right")]
    return np.where((kinds == UPGRADE) | only_monthly, kinds, SIGNUP)


def plan_records(
    moves: Moves, people: People, plan_names: tuple[str, ...], rng: np.random.Generator, grid: MonthGrid
) -> pa.Table:
    """Return changes as records of `plan_changes`; a signup has the second of the signup."""
    drawn = rng.integers(DAY_STARTS, DAY_ENDS, len(moves.rows))
    seconds = np.where(moves.kinds == SIGNUP, people.signup_second[moves.rows], drawn)
    midnight = np.zeros_like(moves.contract_ends)
    return records(
        "plan_changes",
        customer_id=people.customer_id[moves.rows],
        event_time=grid.moments(moves.days, seconds),
        kind=strings(KINDS, moves.kinds),
        plan=strings(plan_names, moves.plans),
        contract=strings(("monthly", "annual"), moves.annual.astype(np.int64)),
        contract_end=dates(grid.moments(moves.contract_ends, midnight), moves.annual),
        price=moves.prices,
        previous_price=pa.array(moves.previous_prices, from_pandas=True),
    )
