"""The check of drift against the truth fails on what is missed and on what alarms without a change."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.plan.file import read_plan
from core.reference import BinCounts
from monitoring.drift import DriftResult, column_drift
from worlds.subscription.changes import AnyChange, ColumnMissing, ConceptShift, CovariateShift
from worlds.subscription.live.checks import check_drift

if TYPE_CHECKING:
    from core.plan.plan import Plan

MONTH = datetime(2024, 8, 1, tzinfo=UTC)
SHIFT = CovariateShift(start_month=18, segments=("family",), minutes_factor=0.6)
BROKEN = ColumnMissing(start_month=20, table="usage_daily", column="features_used")
CONCEPT = ConceptShift(start_month=22, term="active_share_30d", coefficient=-0.5)
MINUTES, FEATURES, PRICE = "engagement__minutes_30d", "engagement__features_mean_30d", "contract__price"
STEADY, MOVED = BinCounts((500, 500), 0, 0), BinCounts((100, 900), 0, 0)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_plan(Path(__file__).parents[2] / "worlds/subscription/plan.yaml")


def result(plan: Plan, *moved: str) -> DriftResult:
    """Return a result in which the columns in `moved` have drifted, and those that the plan declares count as expected."""
    service = plan.build_features.service_features("churn")
    columns = [
        column_drift(name, STEADY, MOVED if name in moved else STEADY, 0.1, plan.monitor.expected(view, feature))
        for view, feature in service
        for name in [f"{view}__{feature}"]
    ]
    return DriftResult("r1", None, MONTH, tuple(columns))


@pytest.mark.parametrize(
    ("moved", "changes", "holds"),
    [
        ((), (), True),
        ((PRICE,), (), False),
        (("profile__season", "profile__tenure_days", "region_churn__growth_90d", "contract__changes"), (), True),
        ((MINUTES,), (SHIFT,), True),
        ((), (SHIFT,), False),
        ((MINUTES, PRICE), (SHIFT,), False),
        ((MINUTES,), (SHIFT, BROKEN), False),
        ((MINUTES, FEATURES), (SHIFT, BROKEN), True),
        ((), (CONCEPT,), True),  # no column of the inputs depends on it: performance names it
    ],
)
def test_a_change_that_is_missed_and_an_alarm_without_a_change_both_fail(
    plan: Plan, moved: tuple[str, ...], changes: tuple[AnyChange, ...], *, holds: bool
) -> None:
    assert check_drift(MONTH, result(plan, *moved), plan, changes).holds is holds
