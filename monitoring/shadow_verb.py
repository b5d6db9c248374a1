"""`panthera shadow`: run the shadow scorer."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from core.errors import DatabaseError
from core.json_text import plain
from core.postgres.database import connect, ensure_database
from core.postgres.roles import SHADOW, role_url
from core.roles import CHALLENGER
from core.terminal import terminal_table
from models.bundles.bundle import load_bundle
from models.bundles.signing import read_trusted
from models.releases.verbs import known_release, refuse_other_model
from monitoring.shadow import ShadowScorer, ShadowSummary, ShadowTerms, summarize

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.bundles.bundle import Bundle

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

    While it follows, a database that is away is waited for.

    Raises
    ------
    PantheraError
        If there is no such release.

    """
    url = role_url(ensure_database(settings), SHADOW)
    terms, bundle = _release(url, settings, plan, release_id, since)
    scorer = ShadowScorer(terms, bundle)
    if follow:
        _follow(url, scorer)
    with connect(url) as connection:
        while scorer.score_pass(connection):
            pass
        return ShadowResult(terms.release_id, since, summarize(connection, terms))


def _follow(url: str, scorer: ShadowScorer) -> NoReturn:
    while True:
        began, rest = time.monotonic(), _SECONDS_BETWEEN_READS
        try:
            with connect(url) as connection:
                if not scorer.score_pass(connection):
                    rest = max(rest, _REST_PER_PASS * (time.monotonic() - began))
        except DatabaseError as error:
            _LOGGER.warning("%s", error)
        time.sleep(rest)


def _release(
    url: str, settings: Settings, plan: Plan, release_id: str | None, since: datetime
) -> tuple[ShadowTerms, Bundle]:
    with connect(url) as connection:
        release = known_release(connection, plan, release_id or CHALLENGER)
    refuse_other_model(release, plan)
    bundle = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))
    return ShadowTerms(release.model, release.release_id, since), bundle
