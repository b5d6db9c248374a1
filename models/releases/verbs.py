"""What `panthera releases`, `release …`, `promote` and `rollback` do: read places, open the database, look or change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import PantheraError, ReleaseError, StaleStateError
from core.postgres.database import connect, ensure_database
from core.roles import ROLES
from core.terminal import harmless, terminal_table
from feature_repo.online.history import unfilled
from models.bundles.bundle import load_bundle, sign_bundle
from models.bundles.revisions import actor
from models.bundles.signing import read_signer, read_trusted
from models.releases import ledger, promotion
from models.releases.ledger import Act
from models.releases.needed_tables import record_tables
from models.releases.registry import open_registry, runs_of
from models.releases.report import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.roles import Role
    from core.settings import Settings
    from models.releases.ledger import Cause, LedgerRelease
    from models.releases.report import Story

#: Among so many releases is looked for the one that may have been meant.
_MOST_KNOWN = 1000


@dataclass(frozen=True)
class Listed:
    """A release among others: its role, the gate's last word on it, and what it measured on the test rows."""

    release_id: str
    role: Role | None
    verdict: str | None
    candidate: str
    test: dict[str, float]
    entered: str
    registered_by: str


@dataclass(frozen=True)
class Listing:
    """The latest releases of a model, the newest first; the plan's primary metric is the one that a terminal shows."""

    model: str
    primary: str
    releases: tuple[Listed, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)

    def table(self) -> Table:
        """Lay the list out for a terminal."""
        table = terminal_table(
            "release",
            "role",
            "verdict",
            self.primary,
            "entered",
            numbers=(self.primary,),
            title=f"Releases of {self.model}",
        )
        table.columns[0].no_wrap = True
        for release in self.releases:
            table.add_row(
                release.release_id,
                release.role or "",
                release.verdict or "",
                f"{release.test[self.primary]:.4f}" if self.primary in release.test else "",
                release.entered,
            )
        return table


@dataclass(frozen=True)
class RolesNow:
    """Who has which role after a change, and why MLflow's aliases are behind, if they are."""

    model: str
    roles: dict[Role, str | None]
    mlflow_problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return asdict(self)

    def table(self) -> Table:
        """Lay the roles out for a terminal."""
        table = terminal_table("role", "release", title=f"Roles of {self.model}; a running service follows within 2 s")
        for role, release_id in self.roles.items():
            table.add_row(role, release_id or "nobody")
        if self.mlflow_problem:
            table.add_row("MLflow", f"its aliases are behind, and follow with the next change: {self.mlflow_problem}")
        return table


def list_verb(settings: Settings, plan: Plan, limit: int) -> Listing:
    """List the latest releases of the plan's model."""
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        found = ledger.newest(connection, model, limit)
        roles = {holder: role for role, holder in ledger.roles(connection, model).items()}
        verdicts = {said.release_id: said.outcome for said in ledger.verdicts(connection, _ids(found))}
    return Listing(
        model,
        plan.evaluate.primary,
        tuple(
            Listed(
                release_id=release.release_id,
                role=roles.get(release.release_id),
                verdict=verdicts.get(release.release_id),
                candidate=release.candidate,
                test={
                    name.removeprefix("test_"): value
                    for name, value in release.metrics.items()
                    if name.startswith("test_")
                },
                entered=f"{release.created_at:%Y-%m-%d %H:%M}",
                registered_by=release.registered_by,
            )
            for release in found
        ),
    )


def _ids(releases: list[LedgerRelease]) -> list[str]:
    return [release.release_id for release in releases]


def show_verb(settings: Settings, plan: Plan, release_id: str) -> Story:
    """Tell all that is known about a release, of whichever model."""
    with connect(ensure_database(settings)) as connection:
        release = _known(connection, plan, release_id)
        return tell(connection, release, settings.bundles, read_trusted(settings))


def promote_verb(settings: Settings, plan: Plan, release_id: str, role: Role, why: str) -> RolesNow:
    """Give `role` to a release that can answer.

    Raises
    ------
    PantheraError
        If there is no such release, it cannot answer, or may not have the role.

    """

    def change(connection: psycopg.Connection) -> None:
        release = _known(connection, plan, release_id)
        _of_this_model(release, plan)
        check_ready(connection, settings, plan, release)
        promotion.promote(connection, release, role, _act(settings, "promote", why))

    return _changed(settings, plan, change)


def rollback_verb(settings: Settings, plan: Plan, to: str | None, why: str) -> RolesNow:
    """Make an earlier champion the champion again; see `promotion.roll_back`.

    Raises
    ------
    PantheraError
        If there is no such release, or it cannot answer.

    """

    def change(connection: psycopg.Connection) -> None:
        if to is not None:
            _of_this_model(_known(connection, plan, to), plan)
        target = promotion.roll_back(connection, plan.register_.model, to, _act(settings, "rollback", why))
        check_ready(connection, settings, plan, _known(connection, plan, target))

    return _changed(settings, plan, change)


def retire_verb(settings: Settings, plan: Plan, release_id: str, why: str) -> RolesNow:
    """Take the challenger's role from a release.

    Raises
    ------
    PantheraError
        If there is no such release, or it is not the challenger.

    """

    def change(connection: psycopg.Connection) -> None:
        release = _known(connection, plan, release_id)
        _of_this_model(release, plan)
        promotion.retire(connection, release, _act(settings, "retire", why))

    return _changed(settings, plan, change)


def sign_verb(settings: Settings, plan: Plan, release_id: str) -> str:
    """Sign the bundle of a release with the key of this place, and see that it loads; return the public key.

    Raises
    ------
    PantheraError
        If there is no such release, its bytes are not those that the ledger stands for, or it does not load.

    """
    with connect(ensure_database(settings)) as connection:
        release = _known(connection, plan, release_id)
    signer, path = read_signer(settings), settings.bundles / release.bundle_digest
    sign_bundle(path, signer)
    load_bundle(path, signer.trusted)
    return signer.public


def check_ready(connection: psycopg.Connection, settings: Settings, plan: Plan, release: LedgerRelease) -> None:
    """See that a service of this plan could answer with `release`: its bundle loads, its online tables are filled.

    Raises
    ------
    BundleError
        If the bundle is absent, altered, not signed, or scores otherwise than it did.
    ReleaseError
        If it predicts for another entity, or reads a table that is not filled.

    """
    contract = load_bundle(settings.bundles / release.bundle_digest, read_trusted(settings)).contract
    if (contract.entity_key, contract.entity_dtype) != (plan.unit.key, plan.unit.dtype):
        raise ReleaseError(
            f"release {release.release_id} predicts for {contract.entity_key} ({contract.entity_dtype}), the plan for "
            f"{plan.unit.key} ({plan.unit.dtype}); run `dvc repro` for a release of this plan"
        )
    record_tables(connection, release.release_id, contract.views)
    missing = unfilled(connection, [view.online_table for view in contract.views])
    if missing:
        raise ReleaseError(
            f"release {release.release_id} reads the online table {missing[0]}, which is gone or was never filled; run "
            "`dvc repro` (or `panthera repair`) with the plan and code that it was trained with, then try again"
        )


def _known(connection: psycopg.Connection, plan: Plan, named: str) -> LedgerRelease:
    """Find a release by its id, or by the role that it has for the plan's model.

    Raises
    ------
    StaleStateError
        If the ledger has none of that id, and then it names the one that may have been meant, or nobody has the role.

    """
    model = plan.register_.model
    found = ledger.current(connection, model, named) if named in ROLES else ledger.find(connection, named)
    if found is not None:
        return found
    if named in ROLES:
        raise StaleStateError(f"{model!r} has no {named} (`panthera releases` lists the releases)")
    close = get_close_matches(named, _ids(ledger.newest(connection, None, _MOST_KNOWN)), n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise StaleStateError(f"the ledger has no release {named!r}{meant} (`panthera releases` lists them)")


def _of_this_model(release: LedgerRelease, plan: Plan) -> None:
    if release.model != plan.register_.model:
        raise ReleaseError(
            f"release {release.release_id} is one of the model {release.model!r}, this plan registers "
            f"{plan.register_.model!r}; name the plan of {release.model!r} by PANTHERA_PLAN"
        )


def _act(settings: Settings, cause: Cause, why: str) -> Act:
    if not why.strip():
        raise ReleaseError("say why (--why TEXT): the ledger keeps the reason of every change")
    if harmless(why) != why:
        raise ReleaseError(f"the reason {why!a} has a control character; expected is plain text")
    return Act(cause, actor(settings, Path.cwd()), why.strip())


def _changed(settings: Settings, plan: Plan, change: Callable[[psycopg.Connection], None]) -> RolesNow:
    """Make a change in one transaction; then have MLflow follow, whose absence must not hold up a rollback."""
    url, model = ensure_database(settings), plan.register_.model
    with connect(url) as connection:
        change(connection)
    with connect(url) as connection:
        roles, holders = ledger.roles(connection, model), ledger.holders(connection, model)
    problem = None
    try:
        with open_registry(settings, url, plan.project.name, model) as registry:
            registry.follow(runs_of(holders, settings.bundles))
    except PantheraError as error:
        problem = str(error)
    return RolesNow(model, roles, problem)
