"""The differences of two arms at the ends of the days of an experiment, and the decision by them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from core.experiment.cohorts import ArmCounts, PhaseArms, added
from core.experiment.covariate import phase_means
from core.experiment.decision import DayEnd, decide_experiment
from core.experiment.means import has_enough_units, mean_difference
from core.experiment.phases import CONTROL, TREATMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from core.experiment.cohorts import Comparison, DayCounts
    from core.experiment.decision import ExperimentTerms


def decided(comparison: Comparison, terms: ExperimentTerms | None) -> Comparison:
    """Return the comparison, whose arms are counted by day, with its decision by `terms`; without terms as it is.

    The looks are at the phases that are compared.
    """
    if terms is None:
        return comparison
    guardrails = [metric for metric in comparison.metrics if metric.is_guardrail and comparison.has_comparable_arms]
    decision = decide_experiment(day_ends(comparison), terms, comparison.withheld_because, guardrails)
    return replace(comparison, decision=decision)


def day_ends(comparison: Comparison) -> Iterator[DayEnd]:
    """Yield the difference over all units so far, for each day at whose end a compared phase has enough units."""
    compared = {result.phase_id for result in comparison.phases if result.left_out is None}
    counted = (day for day in comparison.arms.days if day.phase_id in compared)
    yield from _day_ends(counted, adjusted=comparison.is_adjusted)


def _day_ends(days: Iterable[DayCounts], *, adjusted: bool) -> Iterator[DayEnd]:
    so_far: dict[int | None, PhaseArms] = {}
    empty = PhaseArms(None, ArmCounts(CONTROL), ArmCounts(TREATMENT))
    for day_end, day in groupby(days, key=lambda each: each.day_end):
        for each in day:
            so_far[each.phase_id] = _with(so_far.get(each.phase_id, empty), each.counts)
        phases = [phase_means(phase, adjusted=adjusted) for phase in so_far.values() if has_enough_units(phase.means)]
        if phases:
            found = mean_difference(phases)
            yield DayEnd(day_end, found.difference, found.variance, found.units)


def _with(phase: PhaseArms, counts: ArmCounts) -> PhaseArms:
    if counts.arm == CONTROL:
        return replace(phase, champion=added([phase.champion, counts], CONTROL))
    return replace(phase, challenger=added([phase.challenger, counts], TREATMENT))
