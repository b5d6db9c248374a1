"""The state of the service as gauges, sampled in the background: pools, queues, releases, online tables, the event loop."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import Gauge, Histogram

from core.errors import PantheraError
from core.postgres.pool import lent
from core.roles import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from serving.active_releases import ActiveReleases, Release
    from serving.connections import Connections
    from serving.metrics import Meters
    from serving.runtime import Runtime

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_SAMPLES = 0.5
#: Interval of the query for the newest runs of the online tables.
_SECONDS_BETWEEN_RUNS = 15.0
#: In the order of `ActiveReleases.ids`.
_ROLES = (CHAMPION, CHALLENGER)
_DELAYS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_NEWEST_RUNS = """
SELECT name, extract(epoch FROM (
    SELECT as_of FROM panthera.present_run WHERE online_table = name ORDER BY finished_at DESC LIMIT 1
))::float8 FROM unnest(%s::text[]) AS wanted (name)
"""


class StateGauges:
    """The gauges of one process; `follow` keeps them up to date and flushes the collected observations of `meters`."""

    def __init__(self, runtime: Runtime, meters: Meters) -> None:
        self._runtime, self._meters = runtime, meters
        self._connections = self._gauge("pool_connections", "Connections by pool and state", "pool", "state")
        self._waiting = self._gauge("pool_waiting", "Requests that wait for a connection", "pool")
        self._queue = self._gauge("queue_requests", "Requests that wait for the next batch", "queue")
        self._role = self._gauge(
            "release", "1 for the release of a role that answers", "role", "release", mode="livemax"
        )
        self._fault = self._gauge("fault", "1 while the service reports a fault in /v1/status", mode="livemax")
        self._as_of = self._gauge(
            "view_as_of_timestamp_seconds",
            "Instant of the newest run that filled a view's table",
            "view",
            mode="livemax",
        )
        self._ttl = self._gauge("view_ttl_seconds", "Age at which rows of a view are stale", "view", mode="livemax")
        self._delay = Histogram(
            "panthera_event_loop_delay_seconds",
            "Seconds that a timer of the event loop was late",
            registry=meters.registry,
            buckets=_DELAYS,
        )
        self._runs_at = 0.0
        self._loaded: set[tuple[str, str]] = set()
        self._failed = False

    def _gauge(self, name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(f"panthera_{name}", text, labels, registry=self._meters.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    async def follow(self) -> None:
        """Sample twice a second; a failure is logged once and ends nothing."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _SECONDS_BETWEEN_SAMPLES
            await asyncio.sleep(_SECONDS_BETWEEN_SAMPLES)
            self._delay.observe(max(0.0, loop.time() - due))
            try:
                await self.sample()
                self._failed = False
            except PantheraError:
                pass  # the database is away, which the service reports itself
            except Exception:
                if not self._failed:
                    _LOGGER.exception("the gauges could not be sampled")
                self._failed = True

    async def sample(self) -> None:
        """Set all gauges, and flush what the meters have collected."""
        self._meters.flush()
        active = self._runtime.active
        self._fault.set(self._runtime.fault is not None)
        self._set_releases(active)
        if self._runtime.has_connections:
            self._set_connections(self._runtime.connections, active)
            if active and monotonic() >= self._runs_at:
                self._runs_at = monotonic() + _SECONDS_BETWEEN_RUNS
                await self._set_views(self._runtime.connections, active.champion)

    def _set_releases(self, active: ActiveReleases | None) -> None:
        ids = active.ids if active else (None, None)
        loaded = {(str(role), found) for role, found in zip(_ROLES, ids, strict=True) if found}
        for labels in self._loaded - loaded:
            self._role.labels(*labels).set(0)
        for labels in loaded:
            self._role.labels(*labels).set(1)
        self._loaded = loaded

    def _set_connections(self, connections: Connections, active: ActiveReleases | None) -> None:
        for name, pool in connections.pools.items():
            stats = pool.get_stats()
            idle = stats.get("pool_available", 0)
            self._connections.labels(name, "idle").set(idle)
            self._connections.labels(name, "used").set(stats.get("pool_size", 0) - idle)
            self._waiting.labels(name).set(stats.get("requests_waiting", 0))
        self._queue.labels("features").set(connections.facts.waiting)
        self._queue.labels("log").set(connections.log.waiting)
        self._queue.labels("scoring").set(sum(release.scorer.waiting for release in active.releases) if active else 0)

    async def _set_views(self, connections: Connections, champion: Release) -> None:
        views = {table: view for view, table in champion.logged_tables.items()}
        async with lent(connections.administration) as connection:
            rows = await (await connection.execute(_NEWEST_RUNS, [list(views)])).fetchall()
        for table, as_of in rows:
            if as_of is not None:
                self._as_of.labels(views[table]).set(as_of)
        for view in champion.bundle.contract.views:
            self._ttl.labels(view.name).set(view.ttl.total_seconds())
