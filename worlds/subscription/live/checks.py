"""Compare the platform's reports on an operation with the known truth."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from worlds.subscription.live.business import month_of
from worlds.subscription.live.journal import DAYS, OUTCOMES, PREDICTIONS, read_entries, read_truth
from worlds.subscription.live.operation import CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from core.experiment.cohorts import ArmCounts, Comparison
    from core.plan.plan import Plan
    from core.settings import Settings
    from monitoring.drift import DriftResult
    from monitoring.parity import ParityResult
    from worlds.subscription.changes import AnyChange
    from worlds.subscription.settings import SubscriptionSettings

#: The largest deviation of a rate from its expectation in standard errors: exceeded in 1 of 1,000 cases by chance.
_DEVIATIONS = 3.3


@dataclass(frozen=True)
class TruthCheck:
    """One report of the platform, and the truth; `holds` is whether they agree."""

    what: str
    found: str
    truth: str
    holds: bool


def all_checks(
    settings: Settings, plan: Plan, world: SubscriptionSettings, journal: Path, data: Path, end: datetime
) -> Iterator[TruthCheck]:
    """Yield the checks of an operation that ended at `end`."""
    from core.postgres.database import connect, ensure_database
    from monitoring.verbs import cohorts_verb, drift_verb, parity_verb

    with connect(ensure_database(settings)) as connection:
        predictions = {str(row[0]) for row in connection.execute("SELECT prediction_id FROM panthera.prediction")}
        outcomes = connection.execute("SELECT count(*) FROM panthera.outcome").fetchone()
    yield check_log(journal, predictions)
    yield check_outcomes(journal, outcomes[0] if outcomes else 0)
    yield check_served_values(parity_verb(settings, plan, data=data))
    yield from check_cohorts(cohorts_verb(settings, plan, as_of=end), expected_rates(journal))
    for campaign in campaigns(journal):
        drift = drift_verb(settings, plan, as_of=campaign, window=timedelta(days=1))
        # The features on the first of a month describe the previous month.
        before = [change for change in world.changes if change.active(month_of(world, campaign) - 1)]
        yield check_drift(campaign, drift, plan, before)


def check_log(folder: Path, stored: Collection[str]) -> TruthCheck:
    """Return the check that the log has every acknowledged prediction exactly once; `stored` are the ids in the log."""
    acknowledged = [entry["prediction_id"] for entry in read_entries(folder, PREDICTIONS) if "prediction_id" in entry]
    distinct = set(acknowledged)
    return TruthCheck(
        "predictions: acknowledged = stored = distinct",
        f"{len(stored):,} stored",
        f"{len(acknowledged):,} acknowledged, {len(distinct):,} distinct",
        len(acknowledged) == len(distinct) and set(stored) == distinct,
    )


def check_outcomes(folder: Path, stored: int) -> TruthCheck:
    """Return the check that every outcome is stored once, even if it was sent twice."""
    ids = [entry["outcome_id"] for entry in read_entries(folder, OUTCOMES)]
    duplicates = sum(day["duplicates"] for day in read_entries(folder, DAYS))
    return TruthCheck(
        "outcomes: sent twice, stored once",
        f"{stored:,} stored, {duplicates:,} duplicates answered",
        f"{len(set(ids)):,} outcomes, {len(ids) - len(set(ids)):,} sent twice",
        stored == len(set(ids)) and duplicates == len(ids) - len(set(ids)),
    )


def check_served_values(parity: ParityResult) -> TruthCheck:
    """Return the check that served values equal their recomputation, except for late or restated records."""
    late = sum(parity.mismatches.values()) - parity.defects
    return TruthCheck(
        "parity: served values against offline ones",
        f"{parity.defects} defects, {late:,} late or restated, of {parity.values_compared:,}",
        "0 defects",
        parity.defects == 0 and parity.values_compared > 0,
    )


def expected_rates(folder: Path) -> dict[str, float]:
    """Return the true mean probability, by arm, to cancel in the month of the first exposure.

    It is the hazard with the offer for those who received it, without it for the others.
    """
    truth = {
        (row["customer_id"], row["month_start"]): row["hazard_with_offer" if row["offered"] else "hazard"]
        for row in read_truth(folder).to_pylist()
    }
    sums: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for customer, entry in _first_exposures(folder).items():
        hazard = truth.get((customer, datetime.fromisoformat(entry["as_of"])))
        if hazard is not None:
            sums[entry["arm"]] += hazard
            units[entry["arm"]] += 1
    return {arm: sums[arm] / units[arm] for arm in units}


def _first_exposures(folder: Path) -> dict[int, dict[str, Any]]:
    first: dict[int, dict[str, Any]] = {}
    for entry in read_entries(folder, PREDICTIONS):
        if "prediction_id" in entry:
            first.setdefault(entry["customer"], entry)
    return first


def campaigns(folder: Path) -> list[datetime]:
    """Return the instants at which all customers were scored, in order."""
    instants = {entry["as_of"] for entry in read_entries(folder, PREDICTIONS) if entry["why"] == CAMPAIGN}
    return sorted(map(datetime.fromisoformat, instants))


def check_cohorts(cohorts: Comparison, expected: Mapping[str, float]) -> Iterator[TruthCheck]:
    """Yield the checks that each arm's rate, and their difference, agree with the true hazards."""
    for arm in (cohorts.arms.champion, cohorts.arms.challenger):
        yield _check_rate(arm, expected[arm.arm])
    difference = expected["challenger"] - expected["champion"]
    yield TruthCheck(
        "cohorts: difference of the arms",
        f"{cohorts.difference:+.4f} [{cohorts.ci_lower:+.4f}, {cohorts.ci_upper:+.4f}]",
        f"{difference:+.4f}",
        cohorts.ci_lower <= difference <= cohorts.ci_upper,
    )


def _check_rate(arm: ArmCounts, expected: float) -> TruthCheck:
    error = math.sqrt(expected * (1 - expected) / max(arm.with_outcome, 1))
    return TruthCheck(
        f"cohorts: rate of the {arm.arm}",
        f"{arm.rate:.4f} of {arm.with_outcome:,}",
        f"{expected:.4f} +- {_DEVIATIONS * error:.4f}",
        abs(arm.rate - expected) <= _DEVIATIONS * error,
    )


def columns_touched(plan: Plan, change: AnyChange) -> set[str]:
    """Return the feature columns whose SQL reads the column of `change`, directly or through other features."""
    column = "minutes" if change.kind == "covariate_shift" else getattr(change, "column", None)
    return set() if column is None else set(_reading(plan, column))


def _reading(plan: Plan, column: str) -> Iterator[str]:
    for name, view in plan.build_features.views.items():
        touched: set[str] = {column}
        for feature, spec in view.features.items():
            if any(word in spec.sql.replace("(", " ").replace(")", " ").replace(",", " ").split() for word in touched):
                touched.add(feature)
                yield f"{name}__{feature}"


def check_drift(month: datetime, drift: DriftResult, plan: Plan, active: Iterable[AnyChange]) -> TruthCheck:
    """Return the check that each active change raises an alarm in a column that depends on it, and no other column alarms.

    What moves without a change is declared in the plan (`monitor.expected_drift`). With the 1,000 rows and more of a campaign,
    chance raises an alarm less than once in a million columns.
    """
    alarms = set(drift.alarms)
    expected = {change.kind: columns_touched(plan, change) for change in active}
    seen = {kind: sorted(alarms & columns) for kind, columns in expected.items() if columns}
    others = alarms.difference(*expected.values())
    return TruthCheck(
        f"drift: month of {month:%Y-%m}",
        f"{len(alarms)} columns alarm, {len(others)} of them untouched by a change: {', '.join(sorted(others)) or 'none'}",
        "; ".join(f"{kind} alarms {len(columns)}" for kind, columns in seen.items()) or "no change",
        all(seen.values()) and not others,
    )
