"""A decision in words: statements and tables that are stated, measured or assumed, for terminals and documents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from core.plan.times import in_units
from planner.decide.length import LONGEST_DAYS
from planner.document.parts import Row, Statement, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.plan.plan import Plan
    from planner.decide.decision import Decision, HorizonDecision
    from planner.decide.label_rates import LabelRate
    from planner.decide.length import ErrorRates, ExperimentLength
    from planner.decide.money import ProfitBounds

_HEAD = (
    *("horizon", "labelled rows", "label 1", "base rate", "test rows", "test label 1"),
    *("change", "units per arm", "enrolment", "length"),
)


def statements(plan: Plan, decision: Decision) -> tuple[Statement, ...]:
    """Return the verdict, then what it is based on."""
    parts = [Statement(verdict(decision), "measured")]
    planned = decision.planned
    if planned is not None:
        parts += [*_of_units(decision), *_of_alternatives(decision, planned)]
    parts += _of_money(plan, decision)
    return tuple(parts)


def lengths_table(decision: Decision) -> Table:
    """Return the table of the test's length by horizon and change of the base rate."""
    rows = [
        Row((*_rate_cells(one.rate), *_length_cells(length)), "measured")
        for one in decision.horizons
        for length in one.lengths
    ]
    return Table("Length of the A/B test", _HEAD, tuple(rows))


def _rate_cells(rate: LabelRate) -> tuple[str, ...]:
    horizon = "none" if rate.horizon is None else in_units(rate.horizon)
    tested = ["" if count is None else f"{count:,}" for count in (rate.test_rows, rate.test_positives)]
    planned = f"{horizon} (the plan's)" if rate.is_planned and rate.horizon is not None else horizon
    return planned, f"{rate.rows:,}", f"{rate.positives:,}", _percent(rate.base_rate), *tested


def _length_cells(length: ExperimentLength) -> tuple[str, ...]:
    return (
        *(_percent(length.effect), f"{length.units_per_arm:,}"),
        *map(_days, (length.enrolment_days, length.days)),
    )


def verdict(decision: Decision) -> str:
    """Compose whether an A/B test can decide within a year, with the numbers that say so."""
    length = decision.length
    if length is None:
        return f"The length of an A/B test cannot be said: {decision.why_not}."
    change = f"A relative change of {_percent(length.effect)} in the base rate"
    return f"{change} {_ends(length)}: needs {length.units_per_arm:,} units per arm, {_arriving(decision)}."


def _ends(length: ExperimentLength) -> str:
    if length.within_a_year:
        return f"can be decided in {_days(length.days)}"
    if math.isnan(length.days):
        known = math.isfinite(length.enrolment_days)
        enrolled = f"; its units are enrolled in {_days(length.enrolment_days)}" if known else ""
        return f"may be decided, but after how many days is unknown{enrolled}"
    return "cannot be decided within a year at this traffic"


def _arriving(decision: Decision) -> str:
    arrivals = decision.arrivals
    waiting = [f"{arrivals.waiting:,} wait"] if arrivals.waiting else []
    if arrivals.daily is None:
        return " and ".join([*waiting, "how many arrive is unknown (give --traffic)"])
    return " and ".join([*waiting, f"{7 * arrivals.daily:,.0f} a week arrive"])


def _of_units(decision: Decision) -> Iterator[Statement]:
    """Yield what the length of the test depends on."""
    effect, share = _percent(decision.effect), _percent(decision.arm_share)
    yield Statement(f"The test is to find a relative change of {effect} in the base rate.", decision.effect_basis)
    yield Statement(f"Of the units, {_arriving(decision)}.", decision.arrivals_basis)
    if decision.arrivals.waiting:
        yield Statement("All who wait are enrolled on the first day.", "assumed")
    yield Statement(f"The smaller arm has {share} of the units.", decision.arm_basis)
    yield Statement(_errors(decision.errors), decision.errors_basis)


def _errors(errors: ErrorRates) -> str:
    looks = "one look" if errors.looks == 1 else f"{errors.looks} looks"
    without, missed = _percent(errors.alpha), _percent(1 - errors.power)
    return f"Errors of {without} without a change and of {missed} with it are accepted; the test has {looks}."


def _of_alternatives(decision: Decision, planned: HorizonDecision) -> Iterator[Statement]:
    """Yield when an outcome is known, and what other effects, arms and horizons would do."""
    length, known_after = decision.length, planned.rate.known_after
    if known_after is None:
        yield Statement("When an outcome is known cannot be said: the tables have no times.", "stated")
    else:
        yield Statement(f"An outcome is known {in_units(known_after)} after the start of a unit.", "stated")
    if not math.isnan(planned.smallest_effect):
        found = _percent(planned.smallest_effect)
        yield Statement(f"The smallest relative change that a year can show is {found}.", "measured")
    if length is not None and not math.isnan(length.smallest_arm_share):
        least = _percent(length.smallest_arm_share)
        yield Statement(f"Within a year it would be enough to hold out {least} of the units.", "measured")
    if quicker := _quickest(decision, planned):
        yield Statement(quicker, "measured")


def _quickest(decision: Decision, planned: HorizonDecision) -> str:
    """Compose which other horizon would be decided earlier; empty if none would."""
    days = {one: _length_at(one, decision.effect).days for one in decision.horizons}
    known = {one: length for one, length in days.items() if length <= LONGEST_DAYS}
    best = min(known, key=lambda one: known[one], default=planned)
    if best is planned or best.rate.horizon is None:
        return ""
    rate = _percent(best.rate.base_rate)
    return f"With a horizon of {in_units(best.rate.horizon)}, whose base rate is {rate}, it would take {_days(known[best])}."


def _length_at(horizon: HorizonDecision, effect: float) -> ExperimentLength:
    return next(length for length in horizon.lengths if length.effect == effect)


def _of_money(plan: Plan, decision: Decision) -> Iterator[Statement]:
    """Yield what the plan's amounts say about threshold, capacity and profit."""
    money, planned = plan.evaluate.money, decision.planned
    if money is None:
        yield Statement("The plan states no evaluate.money: no break-even, profit or cost of the test.", "stated")
        return
    if money.references:
        yield Statement(
            "Amounts differ by row: each row has a break-even of its own, and a run measures profit.", "stated"
        )
        return
    if not money.earned_of_lost > 0:
        yield Statement("Contacting never earns: with label 1 it costs as much as it keeps, or more.", "stated")
        return
    yield Statement(f"Contacting earns from a probability of {_percent(money.break_even)} on.", "stated")
    threshold = plan.evaluate.threshold
    if threshold is not None and threshold.at is not None:
        yield Statement(f"The plan decides at {_percent(threshold.at)}.", "stated")
    if planned is not None and planned.bounds is not None and decision.length is not None:
        yield from _of_profit(planned.rate.base_rate, planned.bounds, money.capacity)
        yield from _of_test_money(planned.bounds, decision.length, money.currency)


def _of_profit(base_rate: float, bounds: ProfitBounds, capacity: float) -> Iterator[Statement]:
    """Yield how base rate, break-even and capacity relate."""
    if capacity < base_rate:
        yield Statement(
            f"At most {_percent(capacity)} can be contacted, and {_percent(base_rate)} have label 1: the capacity sets the "
            "threshold, unless the break-even is higher.",
            "measured",
        )
    if base_rate > bounds.break_even:
        text = "The base rate is above the break-even: contacting all earns, a model earns more by leaving some out."
    else:
        text = "The base rate is below the break-even: contacting all loses, a model earns by ranking."
    yield Statement(text, "measured")


def _of_test_money(bounds: ProfitBounds, length: ExperimentLength, currency: str) -> Iterator[Statement]:
    """Yield the profit of 1,000 units and of the test, and the largest change that can occur."""
    least, most = (_money(profit, currency) for profit in (bounds.contact_all, bounds.perfect))
    yield Statement(
        f"Per 1,000 units, contacting at random what the capacity allows is worth {least}, contacting exactly those with label "
        f"1 {most}; a model lies between.",
        "measured",
    )
    units = length.units - length.units_per_arm
    low, high = (_money(units / 1000 * profit, currency) for profit in (bounds.contact_all, bounds.perfect))
    forgone = _money(length.units_per_arm / 1000 * bounds.perfect, currency)
    yield Statement(
        f"In the test, the contacted arm of {units:,} units is worth {low} to {high}; the other arm forgoes at most {forgone}.",
        "measured",
    )
    if length.effect > bounds.best_effect:
        found, reach = _percent(length.effect), _percent(bounds.best_effect)
        yield Statement(
            f"A change of {found} cannot occur: by acceptance and capacity the offer moves at most {reach} of those with label "
            "1.",
            "stated",
        )


def _money(amount: float, currency: str) -> str:
    return f"{amount:,.0f} {currency}".rstrip()


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _days(days: float) -> str:
    """Compose a number of days, rounded up."""
    if math.isnan(days):
        return "unknown"
    return "never" if math.isinf(days) else f"{math.ceil(days):,} days"
