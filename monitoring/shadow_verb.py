"""`panthera shadow`: run the shadow scorer."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from core.errors import BundleError, DatabaseError
from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.postgres.roles import SHADOW, role_url
from core.roles import CHALLENGER, ROLES
from core.terminal import terminal_table
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.releases.ledger import current, find_release
from models.releases.verbs import known_release, refuse_other_model
from monitoring.shadow import ShadowScorer, ShadowSummary, ShadowTerms, summarize

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import LedgerRelease

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_READS = 1.0
#: Seconds of rest for each second of a pass that found nothing: one long transaction makes every pass long.
_REST_PER_PASS = 9


@dataclass(frozen=True)
class ShadowResult:
    """The release of the shadow, since when it scores, and what it says."""

    release_id: str
    since: datetime
    summary: ShadowSummary

    def to_dict(self) -> dict[str, object]:
        """Return the result in types of JSON."""
        return {"release": self.release_id, "since": plain(self.since), **plain(self.summary)}

    def table(self) -> Table:
        """Return the result as a table."""
        table = terminal_table(
            "figure", "value", numbers=("value",), title=f"Shadow {self.release_id} since {self.since}"
        )
        for name, value in plain(self.summary).items():
            table.add_row(name.replace("_", " "), "" if value is None else f"{value:.6g}")
        return table


def shadow_verb(
    settings: Settings, plan: Plan, release_id: str | None, since: datetime, *, follow: bool = False
) -> ShadowResult:
    """Score all predictions since `since` with a release, by default the challenger; with `follow`, go on until stopped.

    While it follows, a database that is away is waited for, and the release that has the role now scores.

    Raises
    ------
    PantheraError
        If there is no such release.

    """
    url = role_url(ensure_database(settings), SHADOW)
    if follow:
        _follow(url, settings, plan, release_id, since)
    with connect(url) as connection:
        release = _named(connection, plan, release_id)
    scorer = _scorer(settings, release, since)
    with connect(url) as connection:
        while scorer.score_pass(connection):
            pass
        return ShadowResult(release.release_id, since, summarize(connection, scorer.terms))


def _follow(url: str, settings: Settings, plan: Plan, release_id: str | None, since: datetime) -> NoReturn:
    """Score until stopped with the release that has the role now; a role without a release is waited for."""
    role = release_id or CHALLENGER
    if role not in ROLES:
        with connect(url) as connection:
            _named(connection, plan, release_id)
    scorer: ShadowScorer | None = None
    while True:
        began, rest = time.monotonic(), _SECONDS_BETWEEN_READS
        try:
            with connect(url) as connection:
                release = current(connection, plan.register_.model, role) or find_release(connection, role)
                if release is None:
                    scorer = None
                elif scorer is None or scorer.terms.release_id != release.release_id:
                    scorer = _scorer(settings, release, since)
                    _LOGGER.warning("the shadow is %s", release.release_id)
                if scorer and not scorer.score_pass(connection):
                    rest = max(rest, _REST_PER_PASS * (time.monotonic() - began))
        except (DatabaseError, BundleError) as error:
            _LOGGER.warning("%s", error)
        time.sleep(rest)


def _named(connection: psycopg.Connection, plan: Plan, release_id: str | None) -> LedgerRelease:
    release = known_release(connection, plan, release_id or CHALLENGER)
    refuse_other_model(release, plan)
    return release


def _scorer(settings: Settings, release: LedgerRelease, since: datetime) -> ShadowScorer:
    bundle = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))
    return ShadowScorer(ShadowTerms(release.model, release.release_id, since), bundle)
