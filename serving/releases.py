"""Load the active releases: read from the ledger, loaded from their bundles, and replaced together."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from core.errors import BundleError
from core.experiment.running.changes import running
from core.roles import CHALLENGER, CHAMPION
from feature_repo.online.history import unfilled
from models.bundles.bundle import load_bundle
from models.releases.ledger import current, find_release, history
from serving.active_releases import Pinned, activate
from serving.features import exposed_arm
from serving.wire.refusals import NotAvailable, ReleaseFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import psycopg

    from core.experiment.running.changes import ExperimentState
    from core.roles import Role
    from models.bundles.bundle import Bundle
    from models.bundles.signing import TrustedKeys
    from models.releases.ledger import LedgerRelease
    from serving.active_releases import ActiveReleases
    from serving.wire.values import EntityKey

_LOGGER = logging.getLogger(__name__)
#: Number of earlier champions that are tried as a fallback.
_MAX_EARLIER = 10


class BundleFolder:
    """The folder of bundles.

    A bundle that failed to load is not read again until its files or the trusted keys change. One that was preloaded is kept
    until `forget`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed: dict[str, tuple[object, BundleError]] = {}
        self._preloaded: dict[str, tuple[object, Bundle]] = {}

    def load(self, digest: str, trusted: TrustedKeys) -> Bundle:
        """Load the bundle with this digest.

        Raises
        ------
        BundleError
            If it cannot be loaded.

        """
        state = (trusted, _fingerprint(self._path / digest))
        preloaded_state, bundle = self._preloaded.get(digest, (None, None))
        if bundle and preloaded_state == state:
            return bundle
        failed_state, error = self._failed.get(digest, (None, None))
        if error and failed_state == state:
            raise error.with_traceback(None)  # an exception that is raised again collects tracebacks
        try:
            return load_bundle(self._path / digest, trusted)
        except BundleError as new_error:
            self._failed[digest] = state, new_error
            raise

    def preload(self, digest: str, trusted: TrustedKeys) -> bool:
        """Load a bundle and keep it for `load`; return whether it could be loaded."""
        state = (trusted, _fingerprint(self._path / digest))
        try:
            self._preloaded[digest] = state, self.load(digest, trusted)
        except BundleError:
            return False
        return True

    def forget(self) -> None:
        """Drop the preloaded bundles."""
        self._preloaded.clear()


def _fingerprint(folder: Path) -> object:
    """Return names, times and sizes of the files in the folder, or None if it cannot be read."""
    try:
        return sorted((entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(folder))
    except OSError:
        return None


@dataclass(frozen=True)
class Loader:
    """Loads the active releases of `model`, which predict for `key`.

    With their features, the handle reads the exposed arm in `experiment`, that of the plan, and in the running ones.
    """

    model: str
    bundles: BundleFolder
    key: EntityKey
    experiment: str

    def absent(self, connection: psycopg.Connection, present: ActiveReleases | None) -> list[list[LedgerRelease]]:
        """Fetch the releases in a role or an experiment whose bundle is not loaded, each followed by its stand-ins."""
        in_roles = [
            [release, *self._stand_ins(connection, role, release, present)]
            for role, release in self._in_roles(connection).items()
            if release
        ]
        ids = {name for state in running(connection, self.model) for name in state.terms.releases}
        in_experiments = [[release] for name in sorted(ids) if (release := find_release(connection, name))]
        return [
            releases
            for releases in (*in_roles, *in_experiments)
            if not (present and present.bundle_of(releases[0].release_id))
        ]

    def _in_roles(self, connection: psycopg.Connection) -> dict[Role, LedgerRelease | None]:
        return {role: current(connection, self.model, role) for role in (CHAMPION, CHALLENGER)}

    def _stand_ins(
        self, connection: psycopg.Connection, role: Role, release: LedgerRelease, present: ActiveReleases | None
    ) -> list[LedgerRelease]:
        if present or role != CHAMPION:
            return []
        return _earlier_champions(connection, self.model, release.release_id)

    def preload(self, absent: Sequence[Sequence[LedgerRelease]], trusted: TrustedKeys) -> None:
        """Load the first sound bundle of each list of `absent`; this may take long, and needs no database."""
        for releases in absent:
            for release in releases:
                if self.bundles.preload(release.bundle_digest, trusted):
                    break

    def load_active(
        self, connection: psycopg.Connection, trusted: TrustedKeys, present: ActiveReleases | None
    ) -> ActiveReleases:
        """Load the releases that the ledger names, or return `present` if they are loaded already.

        Without `present`, the latest champion without a fault is loaded. A challenger with a fault is left out, unless the
        champion is that of `present`. An experiment with a fault does not run. `faults` of the result has the reasons.

        Raises
        ------
        NotAvailable
            If there is no champion.
        ReleaseFault
            With `present`, which stays active: if the champion has a fault, or a challenger beside an unchanged champion.
            Without `present`: if every champion has a fault.

        """
        ledger_releases = self._in_roles(connection)
        champion, challenger = ledger_releases[CHAMPION], ledger_releases[CHALLENGER]
        experiments = tuple(running(connection, self.model))
        if champion is None:
            raise NotAvailable(
                f"no release of {self.model!r} is registered; "
                "run `dvc repro`, or `panthera repair` if that finds nothing to do"
            )
        ids = (champion.release_id, challenger.release_id if challenger else None)
        if present and present.ids == ids and present.running == experiments == present.experiments:
            return replace(present, faults=()) if present.faults else present
        pin = partial(self._pin, connection, trusted, present)
        faults: list[str] = []
        pinned = [pin(champion) if present else self._last_sound(connection, champion, pin, faults)]
        if challenger:
            try:
                pinned.append(pin(challenger))
            except ReleaseFault as error:
                if present and present.champion.release_id == champion.release_id:
                    raise
                _LOGGER.warning("the challenger is left out: %s", error.__cause__ or error)
                faults.append(f"the challenger is left out: {error}")
        others, runnable = self._pin_arms(connection, pin, pinned, experiments, faults)
        names = tuple(state.experiment for state in runnable)
        active = activate(pinned, others, self.key, exposed_arm(self.experiment, names))
        return replace(active, faults=tuple(faults), experiments=runnable, running=experiments)

    def _pin_arms(
        self,
        connection: psycopg.Connection,
        pin: Callable[[LedgerRelease], Pinned],
        pinned: Sequence[Pinned],
        experiments: Sequence[ExperimentState],
        faults: list[str],
    ) -> tuple[list[Pinned], tuple[ExperimentState, ...]]:
        """Load the releases of the experiments' arms that are not in `pinned`; an experiment with a fault does not run."""
        loaded = {row.ledger.release_id: row for row in pinned}
        runnable: list[ExperimentState] = []
        for state in experiments:
            try:
                arms = {
                    name: loaded.get(name) or pin(self._of_ledger(connection, name)) for name in state.terms.releases
                }
            except ReleaseFault as error:
                _LOGGER.warning("experiment %s does not run: %s", state.experiment, error.__cause__ or error)
                faults.append(f"the experiment {state.experiment} does not run: {error}")
            else:
                loaded |= arms
                runnable.append(state)
        return [row for row in loaded.values() if row not in pinned], tuple(runnable)

    def _of_ledger(self, connection: psycopg.Connection, release_id: str) -> LedgerRelease:
        release = find_release(connection, release_id)
        if release is None or release.model != self.model:
            raise ReleaseFault(f"release {release_id} is not in the ledger of {self.model!r}; stop the experiment")
        return release

    def load_one(self, connection: psycopg.Connection, trusted: TrustedKeys, release: LedgerRelease) -> ActiveReleases:
        """Load one release, whatever its role, as if it were the only one.

        Raises
        ------
        ReleaseFault
            If it has a fault.

        """
        return activate([self._pin(connection, trusted, None, release)], [], self.key, exposed_arm(self.experiment))

    def _last_sound(
        self,
        connection: psycopg.Connection,
        champion: LedgerRelease,
        pin: Callable[[LedgerRelease], Pinned],
        faults: list[str],
    ) -> Pinned:
        """Load the champion or, if it has a fault, the latest earlier champion without one."""
        first: ReleaseFault | None = None
        for release in [champion, *_earlier_champions(connection, self.model, champion.release_id)]:
            try:
                pinned = pin(release)
            except ReleaseFault as error:
                first = first or error
                continue
            if first:
                _LOGGER.warning("%s; release %s answers instead", first.__cause__ or first, release.release_id)
                faults.append(f"{first}; meanwhile the earlier champion {release.release_id} answers")
            return pinned
        raise first or NotAvailable("no release can answer")

    def _pin(
        self,
        connection: psycopg.Connection,
        trusted: TrustedKeys,
        present: ActiveReleases | None,
        ledger: LedgerRelease,
    ) -> Pinned:
        """Load the bundle of `ledger` unless it is loaded, and check its entity and its online tables."""
        loaded = present.bundle_of(ledger.release_id) if present else None
        try:
            pinned = Pinned(ledger, loaded or self.bundles.load(ledger.bundle_digest, trusted))
        except BundleError as error:
            raise ReleaseFault(
                f"release {ledger.release_id} is not loaded, because its bundle is missing, altered, of another format, "
                "or its signature is not that of a trusted key; the service's log says which; "
                "run `panthera repair`, or promote another"
            ) from error
        _refuse_another_entity(pinned, self.key)
        _refuse_missing_tables(connection, pinned)
        return pinned


def _earlier_champions(connection: psycopg.Connection, model: str, champion: str) -> list[LedgerRelease]:
    """Fetch the earlier champions, latest first, without those that were rolled back from or retired."""
    ended: dict[str, str] = {}
    holder: str | None = None
    for change in history(connection, model):
        if change.role == CHAMPION:
            if holder:
                ended.pop(holder, None)
                ended[holder] = change.cause
            holder = change.release_id
    kept = [release for release, cause in ended.items() if cause not in {"rollback", "retire"} and release != champion]
    releases = (find_release(connection, release) for release in reversed(kept[-_MAX_EARLIER:]))
    return [release for release in releases if release]


def _refuse_another_entity(row: Pinned, key: EntityKey) -> None:
    contract = row.bundle.contract
    if (contract.entity_key, contract.entity_dtype) != (key.name, key.dtype):
        raise ReleaseFault(
            f"release {row.ledger.release_id} predicts for {contract.entity_key} ({contract.entity_dtype}), the plan "
            f"for {key.name} ({key.dtype}); run `dvc repro` for a release of this plan"
        )


def _refuse_missing_tables(connection: psycopg.Connection, row: Pinned) -> None:
    missing = unfilled(connection, row.tables.values())
    if missing:
        raise ReleaseFault(
            f"release {row.ledger.release_id} reads the online table {missing[0]}, which is not filled yet; "
            "run `dvc repro`, or `panthera repair` if that finds nothing to do"
        )
