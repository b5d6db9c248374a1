"""The active releases of the service as they answer: where each finds its inputs in the rows that one handle reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from core.roles import CHALLENGER, CHAMPION
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.upkeep.tables_in_use import TableInUse
from serving.scoring import Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from core.contracts import Link, Value
    from core.experiment.running.changes import ExperimentState
    from feature_repo.online.query import EntityLookup
    from models.bundles.bundle import Bundle
    from models.releases.ledger import LedgerRelease
    from serving.wire.values import EntityKey

Pick: TypeAlias = "Callable[[Sequence[Value]], tuple[Value, ...]]"


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
class Pinned:
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


def activate(
    in_roles: Sequence[Pinned], others: Sequence[Pinned], key: EntityKey, lookup: EntityLookup
) -> ActiveReleases:
    """Return the active releases: the champion and perhaps a challenger, and `others` of running experiments."""
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


def _columns_by_table(pinned: Sequence[Pinned]) -> dict[str, list[str]]:
    """Return the union of the features that the releases read, by online table."""
    columns: dict[str, list[str]] = {}
    for row in pinned:
        for view, feature in row.columns.values():
            names = columns.setdefault(row.tables[view], [])
            if feature not in names:
                names.append(feature)
    return columns


def _inputs(row: Pinned, columns: Mapping[str, Sequence[str]]) -> dict[str, Input]:
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


def _release(row: Pinned, pinned: Sequence[Pinned], columns: Mapping[str, Sequence[str]]) -> Release:
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
