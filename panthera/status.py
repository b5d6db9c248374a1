"""The status of a project: its releases and online tables, and where they disagree with the receipts of the stages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.errors import BundleError, StaleStateError
from core.files import read_receipt
from core.postgres.database import connect, ensure_database, shown
from core.terminal import terminal_table
from feature_repo.online import tables
from feature_repo.upkeep.applied import applied_tables
from feature_repo.upkeep.status import count_future_rows
from feature_repo.upkeep.tables_in_use import upkeep
from feature_repo.views.definitions import declared_table
from models.bundles.bundle import check_bundle
from models.bundles.signing import read_trusted
from models.releases import ledger
from models.releases.needed_tables import record_missing_tables
from models.releases.registry_faults import registry_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from core.plan.plan import Plan
    from core.settings import Settings


@dataclass(frozen=True)
class Status:
    """The database, the release ids by role, the online rows by view, and the faults found."""

    database: str
    releases: dict[str, str | None]
    online_rows: dict[str, int | None]
    stale: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the status as JSON types."""
        return asdict(self)

    def table(self) -> Table:
        """Return a terminal table of the status."""
        table = terminal_table("what", "value", title="Status")
        table.add_row("database", self.database)
        for role, release in self.releases.items():
            table.add_row(role, release or "none; run `dvc repro`")
        for view, rows in self.online_rows.items():
            table.add_row(f"online: {view}", f"{rows:,} rows" if rows is not None else "none; run `dvc repro`")
        for fault in self.stale:
            table.add_row("stale", fault)
        return table


def read_status(settings: Settings, plan: Plan, data: Path) -> Status:
    """Return the status from the database, the bundles, and the receipts in the folder `data`."""
    url = ensure_database(settings)
    with connect(url) as connection:
        record_missing_tables(connection, settings.bundles, read_trusted(settings))
        unfilled = upkeep(connection, plan, plan.register_.model).unfilled
        roles = ledger.holders(connection, plan.register_.model)
        online: dict[str, int | None] = {}
        for name in plan.build_features.views:
            table = declared_table(plan, name).name
            online[name] = tables.count_rows(connection, table) if tables.exists(connection, table) else None
    return Status(
        database=shown(url),
        releases={role: release.release_id if release else None for role, release in roles.items()},
        online_rows=online,
        stale=(
            *map(str, unfilled),
            *_stale(settings, plan, url, data / "receipts"),
            *_future(plan, url, datetime.now(UTC)),
        ),
    )


def _future(plan: Plan, url: str, now: datetime) -> Iterator[str]:
    """Yield a fault for each online table with rows in the future."""
    with connect(url) as connection:
        for table in (declared_table(plan, name).name for name in plan.build_features.views):
            rows = count_future_rows(connection, table, now) if tables.exists(connection, table) else 0
            if rows:
                yield (
                    f"online.{table} has {rows:,} rows in the future, which newer rows cannot replace; "
                    "run `dvc repro -f -s materialize`"
                )


def _stale(settings: Settings, plan: Plan, url: str, receipts: Path) -> Iterator[str]:
    """Yield a fault for each entry of the receipts that no longer exists; stages that have not run yet are skipped."""
    if (receipts / "apply.json").exists():
        try:
            applied_tables(receipts / "apply.json", url)
        except StaleStateError as error:
            yield str(error)
    with connect(url) as connection:
        if (receipts / "register.json").exists():
            receipt = read_receipt(receipts / "register.json", "register")
            registered = receipt.get("releases")
            for release_id in registered if isinstance(registered, list) else ():
                release = ledger.find_release(connection, release_id)
                if release is None:
                    yield f"the ledger has no release {release_id}, which was registered; run `panthera repair`"
                    continue
                try:
                    check_bundle(settings.bundles / release.bundle_digest, read_trusted(settings))
                except BundleError as error:
                    yield str(error)
            model = plan.register_.model
            yield from registry_faults(connection, plan.project.name, model, ledger.holders(connection, model))
        if (receipts / "materialize.json").exists():
            views = read_receipt(receipts / "materialize.json", "materialize")["views"]
            for view, run in views.items() if isinstance(views, dict) else ():
                table, rows = run["online_table"], run["rows"]
                if not tables.exists(connection, table) or tables.count_rows(connection, table) < rows:
                    yield f"online.{table} lacks some of the {rows:,} materialized rows of {view!r}; run `panthera repair`"
