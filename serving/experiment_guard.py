"""The guard of running experiments: it writes what this worker measured, and stops an experiment that breaks a limit.

Every worker runs it, so that no worker's end leaves an experiment unguarded. A stop is one row, written for the state that was
judged; the second worker that would write it finds the experiment stopped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.experiment.running.measures import roll_back_if_broken, write_measures
from core.experiment.running.terms import ExperimentError
from core.postgres.database import connect
from core.postgres.liveness import hung_up_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import psycopg

    from core.experiment.running.changes import ExperimentState
    from core.experiment.running.limits import Measured
    from serving.active_releases import ActiveReleases

_LOGGER = logging.getLogger(__name__)
_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_TO_CHECK = 4.0
_LIMITS = "-cstatement_timeout=3000 -clock_timeout=1000"
ACTOR = "the service"


class Guardian:
    """The guard of one worker; without a running experiment it does not use the database."""

    def __init__(self) -> None:
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    async def follow(
        self,
        url: Callable[[], str | None],
        active: Callable[[], ActiveReleases | None],
        stopped: Callable[[], Awaitable[None]],
    ) -> None:
        """Check once a second; `stopped` is awaited after an experiment was stopped."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            present, address = active(), url()
            if present and present.experiments and address and await self.check(address, present):
                await stopped()

    async def check(self, url: str, active: ActiveReleases) -> bool:
        """Write what was measured, and stop each experiment that breaks a limit; return whether one was stopped."""
        measured = {release.release_id: release.scorer.measure.take() for release in active.releases}
        try:
            return await asyncio.to_thread(self._check, url, measured, active.experiments)
        except PantheraError as error:
            _LOGGER.warning("the limits of the experiments could not be checked: %s", error)
            return False

    def _check(self, url: str, measured: dict[str, Measured], experiments: Sequence[ExperimentState]) -> bool:
        with connect(url, _LIMITS) as connection, hung_up_after(connection, _SECONDS_TO_CHECK):
            write_measures(connection, self._worker, measured)
            stopped = [self._stopped(connection, state) for state in experiments]
        return any(stopped)

    @staticmethod
    def _stopped(connection: psycopg.Connection, state: ExperimentState) -> bool:
        try:
            broken = roll_back_if_broken(connection, state, ACTOR)
        except ExperimentError:
            return True  # another worker, or a user, changed it first
        if broken:
            _LOGGER.error("experiment %s is rolled back: %s", state.experiment, broken)
        return broken is not None
