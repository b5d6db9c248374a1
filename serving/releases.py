"""The active releases: read from the ledger, loaded from their bundles, and replaced together."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from core.errors import BundleError
from core.experiment.running.changes import running
from core.roles import CHALLENGER, CHAMPION
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.online.history import unfilled
from feature_repo.upkeep.tables_in_use import TableInUse
from models.bundles.bundle import load_bundle
from models.releases.ledger import current, find_release, history
from serving.features import exposed_arm
from serving.scoring import Scorer
from serving.wire.refusals import NotAvailable, ReleaseFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import psycopg

    from core.contracts import Link, Value
    from core.experiment.running.changes import ExperimentState
    from core.roles import Role
    from feature_repo.online.query import EntityLookup
    from models.bundles.bundle import Bundle
    from models.bundles.signing import TrustedKeys
    from models.releases.ledger import LedgerRelease
    from serving.wire.decode import EntityKey

Pick: TypeAlias = "Callable[[Sequence[Value]], tuple[Value, ...]]"

_LOGGER = logging.getLogger(__name__)
#: Number of earlier champions that are tried as a fallback.
_MAX_EARLIER = 10


@dataclass(frozen=True)
class Input:
    """The position of a value in the rows that the handle reads, and the column under which it is logged.

    The handle identifies a view by its online table, so that two releases can read two definitions of one view. `position` is
    that among the values of the table, `index` that among the values of all tables.
    """

    column: str
    table: str
    position: int
    index: int


@dataclass(frozen=True)
class Release:
    """A loaded release.

    Attributes
    ----------
    inputs : the positions of its model's inputs, in the order of its contract.
    tables : the online table of each view that it reads, by the view's name.
    logged, logged_tables : the inputs, links and tables of all active releases; where two releases define a view
        differently, those of this release. They are logged, so that another release can be scored from the log later.

    """

    ledger: LedgerRelease
    bundle: Bundle
    scorer: Scorer
    inputs: tuple[Input, ...]
    tables: Mapping[str, str]
    logged: tuple[Input, ...]
    logged_tables: Mapping[str, str]

    @property
    def release_id(self) -> str:
        """The id of the release in the ledger."""
        return self.ledger.release_id

    @cached_property
    def pick_inputs(self) -> Pick:
        """Returns the model's inputs from the values of all tables."""
        return _picker([entry.index for entry in self.inputs])

    @cached_property
    def pick_logged(self) -> Pick:
        """Returns the logged values from the values of all tables, in the order of `logged_columns`."""
        return _picker([entry.index for entry in self.logged])

    @cached_property
    def logged_columns(self) -> tuple[str, ...]:
        """The columns under which values are logged."""
        return tuple(entry.column for entry in self.logged)


@dataclass(frozen=True)
class ActiveReleases:
    """The champion, the challenger if there is one, those of running experiments, and the handle that reads their features.

    Attributes
    ----------
    faults : the reasons why they differ from the releases in the ledger, one sentence each.
    others : the releases of running experiments that have no role.
    experiments : the running experiments whose releases are all loaded.
    running : all running experiments.

    """

    champion: Release
    challenger: Release | None
    handle: OnlineHandle
    faults: tuple[str, ...] = ()
    others: tuple[Release, ...] = ()
    experiments: tuple[ExperimentState, ...] = ()
    running: tuple[ExperimentState, ...] = ()

    @property
    def releases(self) -> tuple[Release, ...]:
        """Champion, challenger if there is one, and those of running experiments."""
        return (self.champion, *((self.challenger,) if self.challenger else ()), *self.others)

    @property
    def ids(self) -> tuple[str | None, str | None]:
        """The ids of champion and challenger."""
        return self.champion.release_id, self.challenger.release_id if self.challenger else None

    @property
    def tables_in_use(self) -> list[TableInUse]:
        """The online tables that the releases read."""
        holders = [
            (CHAMPION, self.champion),
            *([(CHALLENGER, self.challenger)] if self.challenger else []),
            *(("experiment", release) for release in self.others),
        ]
        return [
            TableInUse(role, release.release_id, view, table)
            for role, release in holders
            for view, table in release.tables.items()
        ]

    def bundle_of(self, release_id: str) -> Bundle | None:
        """Return the bundle of an active release; None if it is not active."""
        return next((release.bundle for release in self.releases if release.release_id == release_id), None)


@dataclass(frozen=True)
class _Pinned:
    """A release of the ledger and its loaded bundle."""

    ledger: LedgerRelease
    bundle: Bundle

    @property
    def tables(self) -> dict[str, str]:
        """The online table of each view that the model reads or that holds a link to such a view."""
        read = {feature.view for feature in self.bundle.contract.features} | {link.view for link in self.links.values()}
        return {view.name: view.online_table for view in self.bundle.contract.views if view.name in read}

    @property
    def links(self) -> dict[str, Link]:
        """The link of each view about a linked entity, by the view's name."""
        return {view.name: view.link for view in self.bundle.contract.views if view.link}

    @property
    def columns(self) -> dict[str, tuple[str, str]]:
        """The (view, feature) of each value that is read, by column name."""
        features = {feature.column: (feature.view, feature.name) for feature in self.bundle.contract.features}
        return features | {link.column: (link.view, link.feature) for link in self.links.values()}


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

        If releases are loaded, a fault of a new champion is raised and `present` stays active. If none is loaded yet, the
        latest champion without a fault is loaded. A challenger with a fault is left out if the champion is new. The faults
        are recorded in the result.

        Raises
        ------
        NotAvailable
            If there is no champion.
        ReleaseFault
            If a release has a fault and `present` should stay active.

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
        active = _activate(pinned, others, self.key, exposed_arm(self.experiment, names))
        return replace(active, faults=tuple(faults), experiments=runnable, running=experiments)

    def _pin_arms(
        self,
        connection: psycopg.Connection,
        pin: Callable[[LedgerRelease], _Pinned],
        pinned: Sequence[_Pinned],
        experiments: Sequence[ExperimentState],
        faults: list[str],
    ) -> tuple[list[_Pinned], tuple[ExperimentState, ...]]:
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
        return _activate([self._pin(connection, trusted, None, release)], [], self.key, exposed_arm(self.experiment))

    def _last_sound(
        self,
        connection: psycopg.Connection,
        champion: LedgerRelease,
        pin: Callable[[LedgerRelease], _Pinned],
        faults: list[str],
    ) -> _Pinned:
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
    ) -> _Pinned:
        """Load the bundle of `ledger` unless it is loaded, and check its entity and its online tables."""
        loaded = present.bundle_of(ledger.release_id) if present else None
        try:
            pinned = _Pinned(ledger, loaded or self.bundles.load(ledger.bundle_digest, trusted))
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


def _refuse_another_entity(row: _Pinned, key: EntityKey) -> None:
    contract = row.bundle.contract
    if (contract.entity_key, contract.entity_dtype) != (key.name, key.dtype):
        raise ReleaseFault(
            f"release {row.ledger.release_id} predicts for {contract.entity_key} ({contract.entity_dtype}), the plan "
            f"for {key.name} ({key.dtype}); run `dvc repro` for a release of this plan"
        )


def _refuse_missing_tables(connection: psycopg.Connection, row: _Pinned) -> None:
    missing = unfilled(connection, row.tables.values())
    if missing:
        raise ReleaseFault(
            f"release {row.ledger.release_id} reads the online table {missing[0]}, which is not filled yet; "
            "run `dvc repro`, or `panthera repair` if that finds nothing to do"
        )


def _activate(
    in_roles: Sequence[_Pinned], others: Sequence[_Pinned], key: EntityKey, lookup: EntityLookup
) -> ActiveReleases:
    pinned = [*in_roles, *others]
    columns = _columns_by_table(pinned)
    ttls = {view.online_table: view.ttl for row in pinned for view in row.bundle.contract.views}
    # The definition of a linked view includes its link, so all releases that read its table have the same link.
    links = {
        row.tables[view]: HandleLink(row.tables[link.view], link.feature, link.key)
        for row in pinned
        for view, link in row.links.items()
    }
    packed = {view.online_table: view.packed for row in pinned for view in row.bundle.contract.views}
    views = [
        HandleView(table, table, ttls[table], tuple(names), links.get(table), packed[table])
        for table, names in columns.items()
    ]
    handle = OnlineHandle(views, key.name, key.dtype, lookup)
    releases = [_release(row, pinned, columns) for row in pinned]
    champion, *challengers = releases[: len(in_roles)]
    return ActiveReleases(
        champion, challengers[0] if challengers else None, handle, others=tuple(releases[len(in_roles) :])
    )


def _columns_by_table(pinned: Sequence[_Pinned]) -> dict[str, list[str]]:
    """Return the union of the features that the releases read, by online table."""
    columns: dict[str, list[str]] = {}
    for row in pinned:
        for view, feature in row.columns.values():
            names = columns.setdefault(row.tables[view], [])
            if feature not in names:
                names.append(feature)
    return columns


def _inputs(row: _Pinned, columns: Mapping[str, Sequence[str]]) -> dict[str, Input]:
    """Return the position of each value that a release reads: the inputs of its model, then its links."""
    begins = dict(zip(columns, accumulate(map(len, columns.values()), initial=0), strict=False))

    def place(column: str, table: str, feature: str) -> Input:
        position = columns[table].index(feature)
        return Input(column, table, position, begins[table] + position)

    return {column: place(column, row.tables[view], feature) for column, (view, feature) in row.columns.items()}


def _picker(indices: Sequence[int]) -> Pick:
    """Return a function that returns the values at `indices`."""
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda values: tuple(values[index] for index in indices)


def _release(row: _Pinned, pinned: Sequence[_Pinned], columns: Mapping[str, Sequence[str]]) -> Release:
    own_last = [*(each for each in pinned if each is not row), row]
    logged = {column: entry for each in own_last for column, entry in _inputs(each, columns).items()}
    logged_tables = {view: table for each in own_last for view, table in each.tables.items()}
    own = _inputs(row, columns)
    return Release(
        row.ledger,
        row.bundle,
        Scorer(row.bundle),
        tuple(own[feature.column] for feature in row.bundle.contract.features),
        row.tables,
        tuple(logged.values()),
        logged_tables,
    )
