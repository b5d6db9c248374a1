"""The state of a running service: connections, the prediction log and the active releases, refreshed in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.errors import DatabaseError, PantheraError
from core.experiment.owners import stored_name, stored_salt
from core.experiment.phases import enter_phase, phase_terms
from core.postgres.database import connect, ensure_database
from core.postgres.liveness import hung_up_after
from core.postgres.pool import lent
from core.postgres.roles import SERVICE, role_url
from feature_repo.upkeep.tables_in_use import Upkeep, upkeep_of
from feature_repo.views.definitions import view_definitions
from models.bundles.signing import read_trusted
from models.releases.ledger import roles
from serving.access.key_cache import KeyCache
from serving.connections import Connections, open_connections
from serving.experiment_guard import Guardian
from serving.live_experiments import listed, live_experiments
from serving.predict import Policy
from serving.readiness import Readiness
from serving.releases import BundleFolder, Loader
from serving.router import Experiment
from serving.wire.plain_predict import PredictDecoder
from serving.wire.problems import public_message
from serving.wire.refusals import NotAvailable
from serving.wire.values import EntityKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    import psycopg

    from core.plan.plan import Plan
    from core.roles import Role
    from core.settings import Settings
    from feature_repo.online.table import OnlineTable
    from models.bundles.signing import TrustedKeys
    from serving.active_releases import ActiveReleases

_LOGGER = logging.getLogger(__name__)
#: Interval of the refresh: a change of the ledger, or a restarted database, is noticed within this time.
_SECONDS_BETWEEN_LOOKS = 2.0
#: Time limit of a refresh's use of the database; a server that stopped responding is given up after it.
_SECONDS_TO_LOOK = 10.0
_LIMITS = "-cstatement_timeout=4000 -clock_timeout=2000"


@dataclass(frozen=True)
class Ready:
    """The connections, releases and experiment that one request uses, unaffected by later refreshes."""

    connections: Connections
    active: ActiveReleases
    experiment: Experiment


class Runtime:
    """The connections and releases of one process.

    The service starts without a database or a release, and reports what is missing; a refresh every two seconds looks for it.
    """

    def __init__(self, settings: Settings, plan: Plan, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self.plan = plan
        serve = plan.serve
        weights = {str(arm): weight for arm, weight in serve.arms.items()}
        self.experiment = Experiment(serve.experiment, serve.salt, weights)
        self.policy = Policy.of(serve)
        self.key = EntityKey(plan.unit.key, plan.unit.dtype)
        self._declared = view_definitions(plan)
        self.views = {name: definition.table for name, definition in self._declared.items()}
        self.decode_predict = PredictDecoder(self.key, serve.max_entities, self.views)
        self.upkeep = Upkeep()
        self.problem: str | None = "the service is starting"
        self.active: ActiveReleases | None = None
        #: The release ids in the ledger, by role; the active releases differ from them if one has a fault.
        self.appointed: Mapping[Role, str | None] = {}
        self.readiness = Readiness(self.ready, self.key.dtype)
        self.keys = KeyCache()
        self._logged_unfilled: set[str] = set()
        self._clock = clock
        bundles = BundleFolder(settings.bundles)
        self._loader = Loader(plan.register_.model, bundles, self.key, serve.experiment)
        self._url: str | None = None
        self._connections: Connections | None = None
        self._looking_up = asyncio.Lock()
        self._following: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Refresh database, releases and keys once, then periodically in the background."""
        await self.look()
        keys = self.keys.follow(lambda: self._connections.keys if self._connections else None)
        guard = Guardian().follow(lambda: self._url, lambda: self.active, self.look)
        self._following = [asyncio.create_task(task) for task in (self._follow(), keys, guard)]

    async def stop(self) -> None:
        """Stop the refresh and close all connections."""
        for task in self._following:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._connections:
            await self._connections.close()

    @property
    def has_connections(self) -> bool:
        """Whether the database has been reached, so that `connections` can be read."""
        return self._connections is not None

    @property
    def connections(self) -> Connections:
        """The connections to the database.

        Raises
        ------
        NotAvailable
            If the database has not been reached yet.

        """
        if self._connections is None:
            raise NotAvailable(self.problem or "the database has not been found yet")
        return self._connections

    @property
    def class_numbers(self) -> dict[str, float]:
        """The number that stands for each class in outcomes, by name.

        It is 1 and 0 in a binary problem. Otherwise it is the index in the order of the plan, or in that of the champion.
        """
        label = self.plan.label
        if label.positive_name:
            return {label.positive_name: 1.0, **({label.negative_name: 0.0} if label.negative_name else {})}
        classes = label.ordered or (self.active.champion.bundle.contract.classes if self.active else ())
        return {name: float(index) for index, name in enumerate(classes)}

    def ready(self) -> Ready:
        """Return the connections, releases and experiment for one request.

        Raises
        ------
        NotAvailable
            If there is no database or no release; the message has the reason.

        """
        if self.active is None:
            raise NotAvailable(self.problem or "no release is loaded yet")
        return Ready(self.connections, self.active, self.experiment)

    @property
    def fault(self) -> str | None:
        """A fault of the releases, or of the tables that they read, even if predictions still succeed; None without one."""
        return self.problem or next(map(str, self.upkeep.unfilled), None)

    def tables_of(self, view: str) -> list[OnlineTable]:
        """Return the online tables of a view: the one of the plan's definition, then those that active releases read."""
        return [self.views[view], *self.upkeep.beside(view)]

    async def is_ready(self) -> bool:
        """Return whether a prediction would succeed now."""
        return await self.readiness.fault() is None

    async def look(self) -> None:
        """Refresh the releases from database and ledger; new ones are loaded before old ones are dropped."""
        async with self._looking_up:
            await self._look()

    async def _look(self) -> None:
        (active, experiment), problem = (self.active, self.experiment), None
        try:
            loaded, experiment = await asyncio.to_thread(self._load)
            active, problem = loaded, "; ".join(loaded.faults) or None
        except PantheraError as error:
            problem = public_message(error)
            if problem != self.problem:
                _LOGGER.warning("%s", error.__cause__ or error)
        except Exception:
            problem = "the releases could not be looked up; the service's log says why"
            if problem != self.problem:
                _LOGGER.exception("the releases could not be looked up")
        await self._prepare(active)
        self._log_unfilled()
        if active and active is not self.active:
            _LOGGER.warning("now answering: champion %s, challenger %s%s", *active.ids, listed(experiment.running))
        self.active, self.experiment, self.problem = active, experiment, problem

    def _load(self) -> tuple[ActiveReleases, Experiment]:
        if self._url is None:
            self._url = role_url(ensure_database(self.settings), SERVICE)
        try:
            trusted = read_trusted(self.settings)
            with self._looking(self._url) as connection:
                absent = self._loader.absent(connection, self.active)
                if not absent:
                    return self._load_active(connection, trusted)
            self._loader.preload(absent, trusted)
            with self._looking(self._url) as connection:
                return self._load_active(connection, trusted)
        except DatabaseError:
            if self.settings.database_url is None:
                self._url = None  # the embedded server was stopped; the next refresh starts it
            raise
        finally:
            self._loader.bundles.forget()

    def _load_active(self, connection: psycopg.Connection, trusted: TrustedKeys) -> tuple[ActiveReleases, Experiment]:
        model = self.plan.register_.model
        self.appointed = {**roles(connection, model)}
        name = stored_name(connection, self.plan.serve.experiment, model)
        self._loader = replace(self._loader, experiment=name)
        active = self._loader.load_active(connection, trusted, self.active)
        self.upkeep = upkeep_of(connection, self.plan, self._declared, active.tables_in_use)
        return active, self._in_phase(connection, active, name)

    @staticmethod
    @contextlib.contextmanager
    def _looking(url: str) -> Iterator[psycopg.Connection]:
        with connect(url, _LIMITS) as connection, hung_up_after(connection, _SECONDS_TO_LOOK):
            yield connection

    async def _prepare(self, active: ActiveReleases | None) -> None:
        """Open the pools, and fetch the handle's table metadata, so that no request has to."""
        if self._url is not None and self._connections is None:
            self._connections = await open_connections(self._url, self.plan.serve.max_entities, self._clock)
            await self.keys.read_first(self._connections.keys)
        if self._connections and active:
            with contextlib.suppress(PantheraError):
                async with lent(self._connections.answers) as connection:
                    await active.handle.look(connection)

    def _in_phase(self, connection: psycopg.Connection, active: ActiveReleases, name: str) -> Experiment:
        """Return the experiments with these releases; write the phase of the plan's to the database if they changed."""
        if active is self.active:
            return self.experiment
        salt = stored_salt(self.plan.serve.salt, name)
        experiment = replace(self.experiment, name=name, salt=salt, running=live_experiments(active))
        if self.experiment.phase_id and self.experiment.name == name and self.active and self.active.ids == active.ids:
            return experiment
        champion, challenger = active.ids
        terms = phase_terms(name, salt, self.experiment.weights, str(champion), challenger)
        return replace(experiment, phase_id=enter_phase(connection, terms))

    def _log_unfilled(self) -> None:
        """Log each table in use that no run fills any more, once."""
        unfilled = {table.online_table: table for table in self.upkeep.unfilled}
        for name in unfilled.keys() - self._logged_unfilled:
            _LOGGER.error("%s", unfilled[name])
        self._logged_unfilled = {*unfilled}

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            await self.look()
