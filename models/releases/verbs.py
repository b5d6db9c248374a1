"""The verbs `panthera releases`, `release …`, `promote` and `rollback`."""

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
from models.releases.report import release_report

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from rich.table import Table

    from core.plan.plan import Plan
    from core.roles import Role
    from core.settings import Settings
    from models.releases.ledger import Cause, LedgerRelease
    from models.releases.report import ReleaseReport

#: The newest releases among which a similar name is suggested.
_MOST_KNOWN = 1000


@dataclass(frozen=True)
class ListedRelease:
    """A row of the list: a release, its role, the outcome of its last verdict, and its test metrics."""

    release_id: str
    role: Role | None
    verdict: str | None
    candidate: str
    test: dict[str, float]
    entered: str
    registered_by: str


@dataclass(frozen=True)
class ReleaseList:
    """The latest releases of a model, the newest first; the terminal table shows the primary metric."""

    model: str
    primary: str
    releases: tuple[ListedRelease, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the list as JSON values."""
        return asdict(self)

    def table(self) -> Table:
        """Return the list as a table for a terminal."""
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
    """The roles after a change, and why MLflow's aliases could not be updated (None: they were)."""

    model: str
    roles: dict[Role, str | None]
    mlflow_problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the roles as JSON values."""
        return asdict(self)

    def table(self) -> Table:
        """Return the roles as a table for a terminal."""
        table = terminal_table("role", "release", title=f"Roles of {self.model}; a running service follows within 2 s")
        for role, release_id in self.roles.items():
            table.add_row(role, release_id or "none")
        if self.mlflow_problem:
            table.add_row("MLflow", f"aliases not updated; the next change updates them: {self.mlflow_problem}")
        return table


def list_verb(settings: Settings, plan: Plan, limit: int) -> ReleaseList:
    """Return the latest releases of the plan's model."""
    model = plan.register_.model
    with connect(ensure_database(settings)) as connection:
        found = ledger.newest(connection, model, limit)
        roles = {holder: role for role, holder in ledger.roles(connection, model).items()}
        verdicts = {verdict.release_id: verdict.outcome for verdict in ledger.verdicts(connection, _ids(found))}
    return ReleaseList(
        model,
        plan.evaluate.primary,
        tuple(
            ListedRelease(
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


def show_verb(settings: Settings, plan: Plan, release_id: str) -> ReleaseReport:
    """Return the report on a release, of any model."""
    with connect(ensure_database(settings)) as connection:
        release = known_release(connection, plan, release_id)
        return release_report(connection, release, settings.bundles, read_trusted(settings))


def promote_verb(settings: Settings, plan: Plan, release_id: str, role: Role, why: str) -> RolesNow:
    """Assign `role` to a release that is ready to serve.

    Raises
    ------
    PantheraError
        If there is no such release, it is not ready, or it may not have the role.

    """

    def change(connection: psycopg.Connection) -> None:
        release = known_release(connection, plan, release_id)
        refuse_other_model(release, plan)
        check_ready(connection, settings, plan, release)
        promotion.promote(connection, release, role, _act(settings, "promote", why))

    return change_roles(settings, plan, change)


def rollback_verb(settings: Settings, plan: Plan, to: str | None, why: str) -> RolesNow:
    """Make an earlier champion the champion again; see `promotion.roll_back`.

    Raises
    ------
    PantheraError
        If there is no such release, or it is not ready to serve.

    """

    def change(connection: psycopg.Connection) -> None:
        if to is not None:
            refuse_other_model(known_release(connection, plan, to), plan)
        target = promotion.roll_back(connection, plan.register_.model, to, _act(settings, "rollback", why))
        check_ready(connection, settings, plan, known_release(connection, plan, target))

    return change_roles(settings, plan, change)


def retire_verb(settings: Settings, plan: Plan, release_id: str, why: str) -> RolesNow:
    """Remove the challenger's role from a release.

    Raises
    ------
    PantheraError
        If there is no such release, or it is not the challenger.

    """

    def change(connection: psycopg.Connection) -> None:
        release = known_release(connection, plan, release_id)
        refuse_other_model(release, plan)
        promotion.retire(connection, release, _act(settings, "retire", why))

    return change_roles(settings, plan, change)


def sign_verb(settings: Settings, plan: Plan, release_id: str) -> str:
    """Sign the bundle of a release with the key of this project, and load it as a check; return the public key.

    Raises
    ------
    PantheraError
        If there is no such release, its bundle does not match its digest, or it does not load.

    """
    with connect(ensure_database(settings)) as connection:
        release = known_release(connection, plan, release_id)
    signer, path = read_signer(settings), settings.bundles / release.bundle_digest
    sign_bundle(path, signer)
    load_bundle(path, signer.trusted)
    return signer.public


def check_ready(connection: psycopg.Connection, settings: Settings, plan: Plan, release: LedgerRelease) -> None:
    """Refuse a release that a service of this plan could not serve; write its online tables to the database.

    Raises
    ------
    BundleError
        If the bundle is absent, altered, not signed, or scores its golden rows differently.
    ReleaseError
        If the release predicts for another entity, or an online table of it is not filled.

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
            f"release {release.release_id} reads the online table {missing[0]}, which is missing or was never filled; run "
            "`dvc repro` (or `panthera repair`) with the plan and code of its training, then try again"
        )


def known_release(connection: psycopg.Connection, plan: Plan, named: str) -> LedgerRelease:
    """Fetch a release by its id, or by its role for the plan's model.

    Raises
    ------
    StaleStateError
        If no release has that id or role; the message suggests a similar id.

    """
    model = plan.register_.model
    found = ledger.current(connection, model, named) if named in ROLES else ledger.find_release(connection, named)
    if found is not None:
        return found
    if named in ROLES:
        raise StaleStateError(f"{model!r} has no {named} (`panthera releases` lists the releases)")
    close = get_close_matches(named, _ids(ledger.newest(connection, None, _MOST_KNOWN)), n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise StaleStateError(f"the ledger has no release {named!r}{meant} (`panthera releases` lists them)")


def refuse_other_model(release: LedgerRelease, plan: Plan) -> None:
    """Raise ReleaseError if the release belongs to another model than that of the plan."""
    if release.model != plan.register_.model:
        raise ReleaseError(
            f"release {release.release_id} belongs to the model {release.model!r}, this plan registers "
            f"{plan.register_.model!r}; set PANTHERA_PLAN to the plan of {release.model!r}"
        )


def plain_reason(why: str) -> str:
    """Return a reason without blanks around it.

    Raises
    ------
    ReleaseError
        If it is empty, or has a control character.

    """
    if not why.strip() or harmless(why) != why:
        raise ReleaseError(
            f"the reason is empty or has a control character: found {why!a}, expected plain text; give it with --why TEXT, the "
            "ledger stores it"
        )
    return why.strip()


def _act(settings: Settings, cause: Cause, why: str) -> Act:
    return Act(cause, actor(settings, Path.cwd()), plain_reason(why))


def change_roles(settings: Settings, plan: Plan, change: Callable[[psycopg.Connection], None]) -> RolesNow:
    """Make a change in one transaction, then update MLflow's aliases; an unreachable MLflow must not block a rollback."""
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
