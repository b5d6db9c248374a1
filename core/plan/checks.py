"""Checks between the sections of a plan: every name that is used is declared, and the times are consistent.

A check yields findings (path of the key, fault); `core.plan.text` raises them as one `PlanError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.clock import future_fault, is_ahead
from core.plan.candidate_checks import candidate_findings
from core.plan.cross_checks.data import (
    entity_findings,
    link_findings,
    personal_findings,
    quality_findings,
    source_findings,
    view_findings,
)
from core.plan.cross_checks.declared import KEYS_TAKEN, RESERVED, Finding
from core.plan.cross_checks.evaluation import (
    allowance_findings,
    attribute_findings,
    covariate_findings,
    drift_findings,
    evaluation_findings,
    group_findings,
    money_findings,
    register_findings,
)
from core.plan.cross_checks.labels import label_findings, time_findings, unreached_findings
from core.plan.limits import limit_findings
from core.plan.rows.instants import instant_findings, row_findings
from core.plan.rows.look_ups import look_up_findings, timed_look_up_findings
from core.plan.rows.validity import validity_findings
from core.plan.without_time import flat_findings, missing_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from core.plan.plan import Plan

__all__ = ["KEYS_TAKEN", "RESERVED", "Finding", "findings", "future_findings"]


def future_findings(plan: Plan, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each instant of `plan` in the future of `now`: its data cannot have been observed."""
    named = {f"ingest.{name}.observed_until": source.observed_until for name, source in plan.ingest.items()}
    named |= {
        "build_features.snapshots.end": plan.build_features.snapshots.end,
        "training_set.as_of.end": plan.training_set.as_of.end,
        "materialize.as_of": plan.materialize.as_of,
    }
    yield from ((path, future_fault(instant, now)) for path, instant in named.items() if is_ahead(instant, now))


def findings(plan: Plan) -> list[Finding]:
    """Return all findings between the sections of `plan`; the later checks run only if all names are declared."""
    found = [
        finding
        for check in (
            missing_keys,
            look_up_findings,
            instant_findings,
            validity_findings,
            entity_findings,
            source_findings,
            personal_findings,
            quality_findings,
            view_findings,
            link_findings,
            label_findings,
        )
        for finding in check(plan)
    ]
    if found:
        return found
    later = (
        flat_findings,
        row_findings,
        timed_look_up_findings,
        limit_findings,
        unreached_findings,
        candidate_findings,
        evaluation_findings,
        attribute_findings,
        money_findings,
        allowance_findings,
        group_findings,
        covariate_findings,
        drift_findings,
        register_findings,
        time_findings,
    )
    return [finding for check in later for finding in check(plan)]
