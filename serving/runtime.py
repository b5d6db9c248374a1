"""What lives as long as the service: its connections, its prediction log, and the releases, followed as they change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.connection_pool import Pool, connection_pool, lent
from core.database import connect, ensure_database
from core.errors import PantheraError
from core.prediction_log import PredictionLog
from feature_repo.online_history import UNFILLED
from feature_repo.online_tables import declared_table
from models.signing import read_trusted
from serving.decode import EntityKey
from serving.features import FactsReader
from serving.predict import Policy
from serving.refusals import NotAvailable
from serving.releases import ActiveReleases, BundleFolder, load_active
from serving.router import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from core.plan import Plan
    from core.settings import Settings

_LOGGER = logging.getLogger(__name__)
#: How long a change of the ledger, or a database that came up, may go unnoticed.
_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True)
class Connections:
    """The database, and how requests read and write it."""

    url: str
    pool: Pool
    facts: FactsReader
    log: PredictionLog


@dataclass(frozen=True)
class Ready:
    """Everything that an answer needs, as one: the releases cannot change under a request."""

    connections: Connections
    active: ActiveReleases


class Runtime:
    """Connections and releases of one process.

    The service starts without either of them and says so: what is missing is looked for every two seconds.
    """

    def __init__(self, settings: Settings, plan: Plan, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self.plan = plan
        serve = plan.serve
        weights = {str(arm): weight for arm, weight in serve.arms.items()}
        self.experiment = Experiment(serve.experiment, serve.salt, weights)
        self.policy = Policy(serve.missing, serve.stale, serve.decisions.above, serve.decisions.below)
        self.key = EntityKey(plan.unit.key, plan.unit.dtype)
        self.views = {name: declared_table(plan, name) for name in plan.build_features.views}
        self.problem: str | None = "the service is starting"
        self.active: ActiveReleases | None = None
        self._clock = clock
        self._url: str | None = None
        self._connections: Connections | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for database and releases once, and from then on in the background."""
        await self.look()
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop looking, and close all connections."""
        if self._following:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._connections:
            await self._connections.pool.close()

    @property
    def connections(self) -> Connections:
        """The database.

        Raises
        ------
        NotAvailable
            If it has not been found yet.

        """
        if self._connections is None:
            raise NotAvailable(self.problem or "the database has not been found yet")
        return self._connections

    def ready(self) -> Ready:
        """Give everything that an answer needs.

        Raises
        ------
        NotAvailable
            If it is not there, with the reason.

        """
        if self.active is None:
            raise NotAvailable(self.problem or "no release is loaded yet")
        return Ready(self.connections, self.active)

    async def is_ready(self) -> bool:
        """Whether a prediction would be answered now: database there, champion loaded, its online tables in place."""
        try:
            ready = self.ready()
            async with lent(ready.connections.pool) as connection:
                tables = list(ready.active.champion.logged_tables.values())
                return await (await connection.execute(UNFILLED, [tables])).fetchone() is None
        except PantheraError:
            return False

    async def look(self) -> None:
        """Look at database and ledger; what is new is loaded before what is old is dropped."""
        active, problem = self.active, None
        try:
            active = await asyncio.to_thread(self._load)
        except PantheraError as error:
            problem = str(error)
        except Exception as error:
            _LOGGER.exception("the releases could not be looked up")
            problem = f"the releases could not be looked up: {error}"
        await self._open_pool()
        self._tell(active, problem)
        self.active, self.problem = active, problem

    def _load(self) -> ActiveReleases:
        if self._url is None:
            self._url = ensure_database(self.settings)
        with connect(self._url) as connection:
            bundles = BundleFolder(self.settings.bundles, read_trusted(self.settings))
            return load_active(connection, self.plan.register_.model, bundles, self.key, present=self.active)

    async def _open_pool(self) -> None:
        if self._url is not None and self._connections is None:
            pool = connection_pool(self._url)
            await pool.open()
            facts = FactsReader(pool, self.experiment.name, self._clock)
            self._connections = Connections(self._url, pool, facts, PredictionLog(pool))

    def _tell(self, active: ActiveReleases | None, problem: str | None) -> None:
        """Log what changed, once."""
        if problem and problem != self.problem:
            _LOGGER.warning("%s", problem)
        if active and active is not self.active:
            _LOGGER.warning("now answering: champion %s, challenger %s", *active.ids)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await self.look()
