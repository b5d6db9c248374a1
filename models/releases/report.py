"""The report on one release: its origin, features, metrics, verdicts, roles and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from core.errors import BundleError
from core.json_text import plain
from core.plan.times import LONGEST, in_units
from core.terminal import terminal_table
from feature_repo.online import history
from models.bundles.bundle import load_bundle
from models.releases import ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    import psycopg
    from rich.console import Group
    from rich.table import Table

    from core.contracts import Contract
    from core.roles import Role
    from models.bundles.signing import TrustedKeys
    from models.releases.ledger import LedgerRelease, LedgerVerdict, RoleChange, ServedDay


@dataclass(frozen=True)
class OnlineView:
    """A view that a release reads: the sha256 of its definition, its online table, and the table's watermark."""

    name: str
    definition: str
    online_table: str
    filled_until: datetime | None


@dataclass(frozen=True)
class ReleaseReport:
    """The facts about a release in the ledger, the bundle and the prediction log.

    Attributes
    ----------
    role : its current role, or None.
    contract : None if the bundle cannot be loaded; then `fault` says why.
    changes : the changes of roles in which the release got or lost a role.

    """

    release: LedgerRelease
    role: Role | None
    contract: Contract | None
    fault: str | None
    bundle_bytes: int
    views: tuple[OnlineView, ...]
    verdicts: tuple[LedgerVerdict, ...]
    changes: tuple[RoleChange, ...]
    served: tuple[ServedDay, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; instants are ISO 8601 texts, durations seconds."""
        values: dict[str, Any] = plain(self)
        return values

    def table(self) -> Group:
        """Return the report as tables for a terminal."""
        from rich.console import Group

        return Group(*self._tables())

    def _tables(self) -> Iterator[Table]:
        yield self._facts()
        yield _metrics_table(self.release.metrics)
        if self.contract:
            yield _features_table(self.contract)
        yield from map(_verdict_table, self.verdicts)
        if self.changes:
            yield _roles_table(self.changes)
        if self.served:
            yield _served_table(self.served)

    def _facts(self) -> Table:
        release, contract = self.release, self.contract
        table = terminal_table("what", "value", title=f"Release {release.release_id}")
        table.add_row("role", self.role or "none")
        table.add_row(
            "model", f"{release.model}, candidate {release.candidate}, MLflow version {release.registry_version}"
        )
        table.add_row("entered", f"{_time(release.created_at)} by {release.registered_by}")
        table.add_row("data", release.data_revision)
        table.add_row("code", release.code_revision)
        table.add_row("packages", release.lock or "not kept")
        state = self.fault or f"verified, {self.bundle_bytes:,} bytes"
        table.add_row("bundle", f"{release.bundle_digest} ({state})")
        table.add_row("feature service", release.feature_service)
        for view in self.views:
            filled = f"filled until {_time(view.filled_until)}" if view.filled_until else "not filled"
            table.add_row(f"view {view.name}", f"online.{view.online_table}, {filled}")
        if contract:
            calibration = contract.calibration.kind if contract.calibration else "none"
            score = f"probability of {contract.positive} " if contract.positive else ""
            table.add_row("decision", f"{score}at or above {contract.threshold:.6g}; calibration {calibration}")
            window = f"within {in_units(contract.horizon)}; " if timedelta() < contract.horizon < LONGEST else ""
            table.add_row("label", f"{window}definition {contract.label[:12] or 'not kept'}")
        if not self.served:
            table.add_row("predictions", "none")
        return table


def release_report(
    connection: psycopg.Connection, release: LedgerRelease, bundles: Path, trusted: TrustedKeys
) -> ReleaseReport:
    """Fetch the facts about `release`."""
    folder = bundles / release.bundle_digest
    contract, fault = None, None
    try:
        contract = load_bundle(folder, trusted).contract
    except BundleError as error:
        fault = str(error)
    held = ledger.roles(connection, release.model)
    changes = ledger.history(connection, release.model)
    return ReleaseReport(
        release=release,
        role=next((role for role, holder in held.items() if holder == release.release_id), None),
        contract=contract,
        fault=fault,
        bundle_bytes=sum(file.stat().st_size for file in folder.glob("*")),
        views=tuple(_views(connection, contract)) if contract else (),
        verdicts=tuple(ledger.verdicts(connection, [release.release_id])),
        changes=tuple(change for change in changes if release.release_id in {change.release_id, change.replaced}),
        served=tuple(ledger.served_days(connection, release)),
    )


def _views(connection: psycopg.Connection, contract: Contract) -> Iterator[OnlineView]:
    for view in contract.views:
        until = history.watermark(connection, view.online_table)
        yield OnlineView(view.name, view.definition, view.online_table, until)


def _metrics_table(metrics: Mapping[str, float]) -> Table:
    table = terminal_table("metric", "validation", "test", numbers=("validation", "test"), title="Metrics")
    found = {part: _metrics_of_part(metrics, part) for part in ("validation", "test")}
    for name in dict.fromkeys([*found["validation"], *found["test"]]):
        table.add_row(name, *(f"{found[part][name]:.6g}" if name in found[part] else "" for part in found))
    return table


def _metrics_of_part(metrics: Mapping[str, float], part: str) -> dict[str, float]:
    return {name.removeprefix(f"{part}_"): metrics[name] for name in sorted(metrics) if name.startswith(f"{part}_")}


def _features_table(contract: Contract) -> Table:
    table = terminal_table(
        "feature", "dtype", "levels", "may be missing", numbers=("levels",), title="Features, in the model's order"
    )
    for feature in contract.features:
        levels = f"{len(feature.levels)}" if feature.dtype == "string" else ""
        missing = "yes" if feature.nullable else "no"
        table.add_row(f"{feature.view}.{feature.name}", feature.dtype, levels, missing)
    return table


def _roles_table(changes: Iterable[RoleChange]) -> Table:
    table = terminal_table("since", "role", "from", "to", "by", "why", title="Roles")
    for change in changes:
        table.add_row(
            _time(change.since),
            change.role,
            change.replaced or "none",
            change.release_id or "none",
            f"{change.actor} ({change.cause})",
            change.reason,
        )
    return table


def _served_table(served: Iterable[ServedDay]) -> Table:
    table = terminal_table("day", "arm", "predictions", numbers=("predictions",), title="Served")
    for day in served:
        table.add_row(day.day.isoformat(), day.arm, f"{day.predictions:,}")
    return table


def _verdict_table(verdict: LedgerVerdict) -> Table:
    against = f" against {verdict.against}" if verdict.against else ""
    title = f"Verdict{against}, {_time(verdict.decided_at)} by {verdict.actor}: {verdict.outcome}"
    table = terminal_table("check", "passed", "found", title=title, caption=verdict.reason)
    for check in verdict.checks:
        table.add_row(str(check["check"]), "yes" if check["passed"] else "no", str(check["found"]))
    return table


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
