"""What a person does with what is online: look at it, compare it with what is offline, push, delete and clean up."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.database import connect, ensure_database
from core.errors import PlanError
from core.settings import read_settings
from core.suggestions import allowed_here

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan import Entity, Plan
    from feature_repo.features_diff import FeaturesDiff
    from feature_repo.features_status import FeaturesStatus
    from feature_repo.online_tables import OnlineTable
    from feature_repo.push import PushReceipt

#: Ids of pushed rows are remembered so long.
_PUSHES_REMEMBERED = timedelta(days=30)


def status(plan: Plan) -> FeaturesStatus:
    """Say what is online, as of now."""
    from feature_repo.features_status import read_features_status
    from feature_repo.online_tables import declared_table

    views = {name: (declared_table(plan, name), view.ttl) for name, view in plan.build_features.views.items()}
    with connect(ensure_database(read_settings())) as connection:
        return read_features_status(connection, views, datetime.now(UTC))


def diff(plan: Plan, data: Path, as_of: datetime | None) -> FeaturesDiff:
    """Compare every view of `plan` online with its snapshots below the folder `data`."""
    from core.files import require
    from feature_repo.datasets import snapshot_glob
    from feature_repo.features_diff import FeaturesDiff, diff_view
    from feature_repo.online_history import watermark
    from feature_repo.online_tables import declared_table

    url, now = ensure_database(read_settings()), datetime.now(UTC)
    views = []
    for name in plan.build_features.views:
        require(data / "features" / name, "build_features")
        table = declared_table(plan, name)
        with connect(url) as connection:
            mark = watermark(connection, table.name)
        views.append(diff_view(url, name, table, snapshot_glob(data / "features", name), mark, as_of or now, now))
    return FeaturesDiff(as_of or now, tuple(views))


def push(plan: Plan, view: str, file: Path | None) -> PushReceipt:
    """Push the rows of a file, or of the standard input."""
    from serving.push_lines import push_lines

    table, url = _table(plan, view), ensure_database(read_settings())
    lines = sys.stdin.buffer if file is None else file.open("rb")
    with lines:
        return asyncio.run(push_lines(url, table, lines, lambda: datetime.now(UTC)))


def delete(plan: Plan, entity: str, key: str) -> dict[str, int]:
    """Delete the online rows of one entity; return how many, by table."""
    from feature_repo.online_erasure import delete_entity

    if entity not in plan.entities:
        raise PlanError(f"there is no entity {entity!r}; {allowed_here(entity, plan.entities)}")
    declared = plan.entities[entity]
    with connect(ensure_database(read_settings())) as connection:
        return delete_entity(connection, declared.key, key_value(declared, key))


def key_value(entity: Entity, text: str) -> int | str:
    """Read the key of an entity as its type in the plan has it.

    Raises
    ------
    PlanError
        If it is no key of that type.

    """
    if entity.dtype != "int64":
        return text
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -(2**63) <= int(text) < 2**63:
        raise PlanError(f"{entity.key} is an int64 in the plan, a whole number of at most 64 bits; found {text!r}")
    return int(text)


def collect() -> list[str]:
    """Drop the retired tables that no release reads, and forget old pushes; return the names of the tables."""
    from feature_repo.online_history import collect, forget_pushes
    from feature_repo.registry import changing_features
    from models.needed_tables import needed_tables
    from models.signing import read_trusted

    settings = read_settings()
    url = ensure_database(settings)
    with changing_features(url), connect(url) as connection:
        forget_pushes(connection, datetime.now(UTC) - _PUSHES_REMEMBERED)
        return collect(connection, needed_tables(connection, settings.bundles, read_trusted(settings)))


def _table(plan: Plan, view: str) -> OnlineTable:
    from feature_repo.online_tables import declared_table

    if view not in plan.build_features.views:
        raise PlanError(f"there is no view {view!r}; {allowed_here(view, plan.build_features.views)}")
    return declared_table(plan, view)
