"""The functions behind `panthera shadow` and `panthera cohorts`: what needs the scores of two releases for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.plan.section import column_of
from core.postgres.database import connect, ensure_database
from core.roles import CHAMPION
from models.bundles.bundle import read_facts
from models.bundles.signing import read_trusted
from models.releases.ledger import current, find_release
from monitoring.paired.comparison import Contestant, compare_pairs
from monitoring.paired.pairs import PairTerms, fetch_pairs
from monitoring.paired.triggered import fetch_triggered, triggered_result
from monitoring.performance_verb import measuring_of
from monitoring.served_outcomes import OutcomeWindow
from monitoring.shadow_verb import shadow_verb
from monitoring.verbs import cohorts_verb

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from core.contracts import Contract
    from core.experiment.cohorts import Comparison
    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import LedgerRelease
    from monitoring.paired.comparison import ShadowComparison
    from monitoring.paired.triggered import TriggeredResult
    from monitoring.shadow_verb import ShadowResult


@dataclass(frozen=True)
class ComparedShadow:
    """What the shadow says, and its comparison with the champion; None if it is the champion, or has another label."""

    shadow: ShadowResult
    comparison: ShadowComparison | None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types."""
        return {**self.shadow.to_dict(), "comparison": self.comparison.to_dict() if self.comparison else None}

    def table(self) -> Table:
        """Return a terminal table of the figures, with the verdict as its caption."""
        table = self.shadow.table()
        if self.comparison:
            for name, text in self.comparison.rows():
                table.add_row(name, text)
            table.caption = self.comparison.verdict
        return table


def compared_shadow(
    settings: Settings, plan: Plan, release_id: str | None, since: datetime, as_of: datetime, *, follow: bool = False
) -> ComparedShadow:
    """Score as `shadow_verb`, and compare with the champion on the predictions that both have scored since `since`.

    Outcomes count that are mature as of `as_of`.

    Raises
    ------
    PantheraError
        If there is no such release.

    """
    shadow = shadow_verb(settings, plan, release_id, since, follow=follow)
    return ComparedShadow(shadow, _compared(settings, plan, shadow, as_of))


def _compared(settings: Settings, plan: Plan, shadow: ShadowResult, as_of: datetime) -> ShadowComparison | None:
    amounts = [column_of(one) for one in plan.evaluate.money.references.values()] if plan.evaluate.money else []
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        champion, release = current(connection, model, CHAMPION), find_release(connection, shadow.release_id)
        if champion is None or release is None or champion.release_id == release.release_id:
            return None
        first, second = (_contract(settings, each) for each in (champion, release))
        if first.label != second.label:
            return None
        terms = PairTerms(model, champion.release_id, release.release_id, shadow.since, as_of)
        pairs = fetch_pairs(connection, terms, _window(plan), amounts)
    return compare_pairs(
        pairs,
        Contestant(terms.champion, first.threshold),
        Contestant(terms.shadow, second.threshold),
        measuring_of(plan, first),
        plan.evaluate.primary,
    )


def _contract(settings: Settings, release: LedgerRelease) -> Contract:
    return read_facts(settings.bundles / release.bundle_digest, read_trusted(settings)).contract


def _window(plan: Plan) -> OutcomeWindow:
    return OutcomeWindow(plan.label.matures_after, plan.label.begins_after)


@dataclass(frozen=True)
class ComparedCohorts:
    """The comparison of the arms, with that of the triggered units if the plan asks for it."""

    comparison: Comparison
    triggered: TriggeredResult | None

    def to_dict(self) -> dict[str, object]:
        """Return the result as JSON types; without a triggered analysis, no such key."""
        return {
            **self.comparison.to_dict(),
            **({"triggered": self.triggered.to_dict()} if self.triggered else {}),
        }

    def table(self) -> Table:
        """Return a terminal table of the arms."""
        from monitoring.cohorts import cohorts_table

        table = cohorts_table(self.comparison)
        if self.triggered:
            table.caption = f"{table.caption}\n{self.triggered.words}"
        return table


def compared_cohorts(settings: Settings, plan: Plan, as_of: datetime) -> ComparedCohorts:
    """Return the comparison of the arms by `cohorts_verb`, and the triggered analysis if the plan asks for it."""
    comparison = cohorts_verb(settings, plan, as_of=as_of)
    stated = plan.monitor.experiment
    triggered = _triggered(settings, plan, comparison) if stated and stated.triggered else None
    return ComparedCohorts(comparison, triggered)


def _triggered(settings: Settings, plan: Plan, comparison: Comparison) -> TriggeredResult:
    names = [
        (*phase.arms.champion_releases, *phase.arms.challenger_releases)
        for phase in comparison.phases
        if phase.left_out is None
    ]
    if not names:
        return triggered_result(comparison, [], plan.monitor.sample_ratio_alarm)
    with connect(ensure_database(settings)) as connection:
        found = [find_release(connection, name) for name in names[0]]
        champion, challenger = (
            Contestant(release.release_id, _contract(settings, release).threshold) for release in found if release
        )
        experiment, as_of = comparison.arms.experiment, comparison.arms.as_of
        arms = fetch_triggered(connection, experiment, champion, challenger, _window(plan), as_of)
    return triggered_result(comparison, arms, plan.monitor.sample_ratio_alarm)
