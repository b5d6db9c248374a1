"""The functions behind `panthera features ...`: status, diff, push, delete and collect."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import PlanError
from core.postgres.database import connect, ensure_database
from core.settings import read_settings
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Entity, Plan
    from core.settings import Settings
    from feature_repo.online.push import PushReceipt
    from feature_repo.online.table import OnlineTable
    from feature_repo.upkeep.diff import FeaturesDiff
    from feature_repo.upkeep.status import FeaturesStatus

#: The ids of pushed rows are kept for this time.
_PUSH_RETENTION = timedelta(days=30)


def record_tables_in_use(settings: Settings) -> None:
    """Write to the database which online tables are read by releases that an earlier version registered without them."""
    from models.bundles.signing import read_trusted
    from models.releases.needed_tables import record_missing_tables

    with connect(ensure_database(settings)) as connection:
        record_missing_tables(connection, settings.bundles, read_trusted(settings))


def status(plan: Plan) -> FeaturesStatus:
    """Return the status of the online tables as of now, with the tables that releases read and no run fills."""
    from feature_repo.upkeep.status import read_features_status
    from feature_repo.upkeep.tables_in_use import upkeep
    from feature_repo.views.definitions import declared_table

    settings = read_settings()
    record_tables_in_use(settings)
    views = {name: (declared_table(plan, name), view.ttl) for name, view in plan.build_features.views.items()}
    with connect(ensure_database(settings)) as connection:
        in_use = upkeep(connection, plan, plan.register_.model)
        kept = {each.table.name: (each.table, each.definition.view.ttl) for each in in_use.kept}
        return read_features_status(connection, {**views, **kept}, in_use.unfilled, datetime.now(UTC))


def diff(plan: Plan, data: Path, as_of: datetime | None) -> FeaturesDiff:
    """Return the comparison of every online view of `plan` with its snapshots in the folder `data`."""
    from core.files import require
    from feature_repo.files.datasets import snapshot_glob
    from feature_repo.online.history import watermarks
    from feature_repo.upkeep.diff import FeaturesDiff, diff_view
    from feature_repo.upkeep.tables_in_use import upkeep
    from feature_repo.views.definitions import declared_table

    settings, now = read_settings(), datetime.now(UTC)
    url = ensure_database(settings)
    record_tables_in_use(settings)
    for name in plan.build_features.views:
        require(data / "features" / name, "build_features")
    tables = [(name, name, declared_table(plan, name)) for name in plan.build_features.views]
    with connect(url) as connection:
        in_use = upkeep(connection, plan, plan.register_.model)
        tables += [(each.table.name, each.definition.name, each.table) for each in in_use.kept if each.same_values]
        marks = watermarks(connection, [table.name for *_, table in tables])
    views = [
        diff_view(url, label, table, snapshot_glob(data / "features", view), marks.get(table.name), as_of or now, now)
        for label, view, table in tables
    ]
    return FeaturesDiff(as_of or now, tuple(views), in_use.unfilled)


def push(plan: Plan, view: str, file: Path | None) -> PushReceipt:
    """Write the rows of a JSON Lines file, or of the standard input, to the online tables of a view."""
    from feature_repo.upkeep.tables_in_use import upkeep
    from serving.wire.push_lines import push_lines

    settings, table = read_settings(), _table(plan, view)
    url = ensure_database(settings)
    record_tables_in_use(settings)
    with connect(url) as connection:
        extra = upkeep(connection, plan, plan.register_.model).beside(view)
    lines = sys.stdin.buffer if file is None else file.open("rb")
    with lines:
        return asyncio.run(push_lines(url, [table, *extra], lines, lambda: datetime.now(UTC)))


def delete(plan: Plan, entity: str, key: str) -> dict[str, int]:
    """Delete the online rows of one entity; return the number of deleted rows by table."""
    from feature_repo.online.erasure import delete_entity

    if entity not in plan.entities:
        raise PlanError(f"there is no entity {entity!r}; {allowed_here(entity, plan.entities)}")
    declared = plan.entities[entity]
    with connect(ensure_database(read_settings())) as connection:
        return delete_entity(connection, declared.key, key_value(declared, key))


def key_value(entity: Entity, text: str) -> int | str:
    """Return the key of an entity in the dtype that the plan declares.

    Raises
    ------
    PlanError
        If `text` is not a value of that dtype.

    """
    if entity.dtype != "int64":
        return text
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise PlanError(f"found the key {text!r}; expected an integer of 64 bits, as {entity.key} is int64 in the plan")
    return int(text)


def collect() -> list[str]:
    """Drop the retired tables that no release reads, delete the ids of old pushes, and return the names of the tables."""
    from feature_repo.online.history import collect, forget_pushes
    from feature_repo.stores.registry import changing_features
    from models.bundles.signing import read_trusted
    from models.releases.needed_tables import needed_tables

    settings = read_settings()
    url = ensure_database(settings)
    with changing_features(url), connect(url) as connection:
        forget_pushes(connection, datetime.now(UTC) - _PUSH_RETENTION)
        return collect(connection, needed_tables(connection, settings.bundles, read_trusted(settings)))


def _table(plan: Plan, view: str) -> OnlineTable:
    from feature_repo.views.definitions import declared_table

    if view not in plan.build_features.views:
        raise PlanError(f"there is no view {view!r}; {allowed_here(view, plan.build_features.views)}")
    return declared_table(plan, view)
