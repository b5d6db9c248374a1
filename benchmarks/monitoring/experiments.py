"""Simulated experiments with a known effect, read every week through the product's own comparison and decision.

Prints one JSON object: shares of experiments without a difference that showed one, coverage of intervals, power, and what the
covariate narrows.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from core.experiment.cohorts import ArmCounts, DayCounts, ExperimentArms, Phase, PhaseArms, added
from core.experiment.day_ends import decided
from core.experiment.decision import ExperimentTerms
from core.experiment.means import RatioSums
from core.experiment.metrics import MetricArms, MetricTerms, judge_metrics
from core.experiment.power import units_per_arm
from core.experiment.strata import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.experiment.cohorts import Comparison
    from core.roles import Role

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
_ARMS: tuple[Role, Role] = ("champion", "challenger")
#: Risks of the units: of mean 0.2, and so different that they explain much of the outcome.
_BETA = (0.3, 1.2)
BASE_RATE = _BETA[0] / sum(_BETA)
#: An experiment has its planned units after eleven of its weeks.
_WEEKS, _PLANNED_WEEKS = 13, 11
TERMS = ExperimentTerms("lower", minimum_effect=0.03, looks=5, alpha=0.05, power=0.8)
_CONFIDENCE, _ALARM = 1 - TERMS.alpha, 0.001
_EVEN: dict[Role, int] = {"champion": 1, "challenger": 1}
_GUARDRAIL = MetricTerms("calls", "lower", "calls", margin=0.1)


@dataclass(frozen=True)
class Seen:
    """What the weekly readings of one experiment showed.

    Attributes
    ----------
    decided, shipped : whether a look showed a difference, and one for the challenger.
    naive : whether the interval of some week excluded 0.
    covered : whether the interval of the last week holds the true effect.
    sequence_held : whether the confidence sequences of all weeks hold it.
    width, narrowed_by : width of the last interval; the factor by which the covariate narrowed it.
    weeks : until the decision.

    """

    decided: bool
    shipped: bool
    naive: bool
    covered: bool
    sequence_held: bool
    width: float
    narrowed_by: float
    weeks: int


def simulate(rng: np.random.Generator, effect: float, covariate: str | None = None) -> Seen:
    """Simulate one experiment whose challenger lowers the rate by `effect`, and read it at the end of each week."""
    days = days_of(rng, effect)
    readings = [read(days, START + week * WEEK, covariate) for week in range(1, _WEEKS + 1)]
    decisions = [reading.decision for reading in readings if reading.decision]
    ends = [any(look.ends for look in decision.looks) for decision in decisions]
    last = readings[-1]
    return Seen(
        decided=ends[-1],
        shipped=decisions[-1].decision == "ship the challenger",
        naive=any(reading.ci_lower > 0 or reading.ci_upper < 0 for reading in readings),
        covered=last.ci_lower <= -effect <= last.ci_upper,
        sequence_held=all(reading.sequence_lower <= -effect <= reading.sequence_upper for reading in readings),
        width=last.ci_upper - last.ci_lower,
        narrowed_by=last.covariate.narrowed_by if last.covariate and last.covariate.is_used else 1.0,
        weeks=ends.index(True) + 1 if any(ends) else _WEEKS,
    )


def days_of(rng: np.random.Generator, effect: float) -> list[DayCounts]:
    """Draw the units of both arms by the last day of the week in which they matured; their scores are their risks."""
    weekly = units_per_arm(BASE_RATE, -TERMS.minimum_effect, looks=TERMS.looks) / _PLANNED_WEEKS
    found = []
    for arm, lowered in zip(_ARMS, (0.0, effect), strict=True):
        for week, units in enumerate(rng.poisson(weekly, _WEEKS), start=1):
            risk = rng.beta(*_BETA, units)
            outcome = (rng.random(units) < risk * (1 - lowered / BASE_RATE)).astype(np.float64)
            found.append(DayCounts(1, START + week * WEEK, _counts(arm, outcome, risk)))
    return sorted(found, key=lambda each: each.day_end)


def _counts(arm: Role, y: NDArray[np.float64], x: NDArray[np.float64]) -> ArmCounts:
    units, total = len(y), float(y.sum())
    sums = (float(x.sum()), float(x @ x), float(x @ y), total)
    return ArmCounts(arm, units, units, units, total, float(y @ y), units, *sums)


def read(days: Sequence[DayCounts], as_of: datetime, covariate: str | None) -> Comparison:
    """Compare and decide as the product does, over the units that matured until `as_of`."""
    until = tuple(day for day in days if day.day_end <= as_of)
    control, treatment = (added([day.counts for day in until if day.counts.arm == arm], arm) for arm in _ARMS)
    phase = Phase("trial", "salt", 1, 1, "r1", "r2", phase_id=1, since=START)
    arms = PhaseArms(phase, control, treatment, ("r1",), ("r2",), last_exposed_at=as_of)
    comparison = compare(ExperimentArms("trial", as_of, (arms,), until), _EVEN, _CONFIDENCE, _ALARM, covariate)
    return decided(comparison, TERMS)


def guardrail_passes(rng: np.random.Generator, loss: float, weekly: int = 1_000) -> bool:
    """Return whether a guardrail whose challenger is worse by `loss` is called not worse in some week."""
    draws = [rng.normal(shift, 1, (_WEEKS, weekly)) for shift in (0.0, loss)]
    for week in range(1, _WEEKS + 1):
        control, treatment = (_sums(draw[:week].ravel()) for draw in draws)
        (result,) = judge_metrics({_GUARDRAIL: [MetricArms(1, control, treatment)]}, {1}, _CONFIDENCE)
        if result.verdict == "not worse":
            return True
    return False


def _sums(values: NDArray[np.float64]) -> RatioSums:
    units, total = len(values), float(values.sum())
    return RatioSums(units, total, units, float(values @ values), units, total)


def measure(experiments: int, seed: int = 17) -> dict[str, float]:
    """Return the shares over so many experiments without a difference and with the planned one, plain and adjusted."""
    rng = np.random.default_rng(seed)
    found: dict[str, float] = {"experiments": experiments, "promised_power": TERMS.power, "alpha": TERMS.alpha}
    for name, covariate in (("", None), ("adjusted_", "score")):
        same = [simulate(rng, 0.0, covariate) for _ in range(experiments)]
        better = [simulate(rng, TERMS.minimum_effect, covariate) for _ in range(experiments)]
        found |= {
            f"{name}false_positives": _share([each.decided for each in same]),
            f"{name}false_positives_naive": _share([each.naive for each in same]),
            f"{name}power": _share([each.shipped for each in better]),
            f"{name}coverage": _share([each.covered for each in same + better]),
            f"{name}sequence_errors": 1 - _share([each.sequence_held for each in same + better]),
            f"{name}weeks_until_decided": float(np.mean([each.weeks for each in better])),
            f"{name}width": float(np.mean([each.width for each in same + better])),
            f"{name}narrowed_by": float(np.mean([each.narrowed_by for each in same + better])),
        }
    found["narrowed_by_correlation"] = math.sqrt(1 - correlation() ** 2)
    found["guardrail_errors"] = _share([guardrail_passes(rng, _GUARDRAIL.margin or 0.0) for _ in range(experiments)])
    found["guardrail_power"] = _share([guardrail_passes(rng, 0.0) for _ in range(experiments)])
    return found


def correlation() -> float:
    """Return the true correlation of risk and outcome: sqrt(var(risk) / (mean (1 - mean)))."""
    a, b = _BETA
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    return math.sqrt(variance / (BASE_RATE * (1 - BASE_RATE)))


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags))


def main() -> None:
    """Simulate, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=1_000, help="of each kind; default: 1000")
    experiments = parser.parse_args().experiments
    began = perf_counter()
    print(json.dumps({**measure(experiments), "seconds": round(perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
