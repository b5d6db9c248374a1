"""The function behind `panthera performance`: open the database, and measure the predictions of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.plan.evaluate import METRICS
from core.plan.section import column_of
from core.postgres.database import connect, ensure_database
from core.roles import CHAMPION
from models.bundles.bundle import read_facts
from models.bundles.bundling import label_definition
from models.bundles.signing import read_trusted
from models.measures.intervals import Resampling
from models.releases.ledger import find_release
from monitoring.performance import Measuring, measure_performance
from monitoring.performance_page import write_performance_page
from monitoring.served_outcomes import OutcomeWindow, fetch_served_outcomes
from monitoring.verbs import in_role

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import psycopg

    from core.contracts import Contract
    from core.plan.plan import Plan, Problem
    from core.settings import Settings
    from models.releases.ledger import LedgerRelease
    from monitoring.performance import PerformanceResult
    from monitoring.served_outcomes import Period


def performance_verb(
    settings: Settings,
    plan: Plan,
    *,
    as_of: datetime,
    release_id: str | None = None,
    period: Period = "week",
    report: Path | None = None,
) -> PerformanceResult:
    """Return the performance of a release's predictions, by default the champion's; with `report`, write an HTML page.

    Raises
    ------
    PantheraError
        If there is no such release, it served nothing, or it was trained on another label than the plan has now.

    """
    window = OutcomeWindow(plan.label.matures_after, plan.label.begins_after)
    with connect(ensure_database(settings)) as connection:
        release = _release(connection, plan, release_id)
        contract = read_facts(settings.bundles / release.bundle_digest, read_trusted(settings)).contract
        if contract.label and contract.label != label_definition(plan.label):
            raise PantheraError(
                f"release {release.release_id} was trained on another label than {settings.plan} has now; "
                "run performance with the plan that it was trained with"
            )
        amounts = [column_of(one) for one in plan.evaluate.money.references.values()] if plan.evaluate.money else []
        cohorts = fetch_served_outcomes(connection, release.release_id, period, window, as_of, amounts)
    if not cohorts:
        raise PantheraError(
            f"release {release.release_id} served no prediction up to {as_of}, so there is nothing to measure; "
            "send requests to the service, or choose another release with --release"
        )
    measuring = measuring_of(plan, contract)
    result = measure_performance(
        release.release_id, cohorts, measuring, period=period, as_of=as_of, primary=plan.evaluate.primary
    )
    if report:
        write_performance_page(result, report)
    return result


def _release(connection: psycopg.Connection, plan: Plan, release_id: str | None) -> LedgerRelease:
    if release_id is None:
        return in_role(connection, plan.register_.model, CHAMPION)
    release = find_release(connection, release_id)
    if release is None:
        raise PantheraError(f"the ledger has no release {release_id!r}; `panthera releases` lists them")
    return release


def measuring_of(plan: Plan, contract: Contract) -> Measuring:
    """Return what the metrics of a release need to know of it and of the plan."""
    section, intervals = plan.evaluate, plan.evaluate.intervals
    problem: Problem = contract.problem  # type: ignore[assignment]
    return Measuring(
        problem=problem,
        metrics=tuple(metric for metric in section.metrics if metric in METRICS[problem]),
        threshold=contract.threshold,
        money=section.money,
        top=section.top,
        quantile=section.quantile,
        interval=contract.interval,
        classes=plan.label.ordered or contract.classes,
        reference=contract.score_reference,
        resampling=Resampling(intervals.repeats, intervals.confidence, plan.train.seed),
    )
