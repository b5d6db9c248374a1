"""The training set of a plan before its stages have run: labels, parts and features, joined without a feature store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from core.plan.times import LONGEST
from feature_repo.files.feature_files import FeatureFiles
from feature_repo.join.point_in_time import ViewJoin, point_in_time_join
from feature_repo.views.snapshots import build_views
from models.data.labels import plan_labels
from models.data.parts import parts_of
from models.data.split import GAP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.plan.plan import Plan

    #: Pairs (view, feature).
    Features = Sequence[tuple[str, str]]


def training_rows(plan: Plan, accepted: Path, scratch: Path) -> pa.Table:
    """Return the training set that the stages would make of the accepted rows; snapshots are written to `scratch`.

    Raises
    ------
    PlanError
        If the SQL of a label or a feature fails, or the rows cannot be split.

    """
    for _ in build_views(plan, accepted, scratch):
        pass
    section = plan.training_set
    listed = plan.build_features.service_features(section.service)
    besides = [(view, feature) for view, _, feature in (name.partition(".") for name in section.read_besides)]
    joined = _joined(plan, plan_labels(plan, accepted).rows, list(dict.fromkeys([*listed, *besides])), scratch)
    parts = parts_of(section.split, joined, plan.unit.key, plan.project.problem)
    return joined.add_column(3, "split", parts).filter(pc.not_equal(parts, GAP))


def _joined(plan: Plan, rows: pa.Table, features: Features, folder: Path) -> pa.Table:
    """Return `rows` with features as they were known at `as_of`; the keys of linked entities are resolved first."""
    views = plan.build_features.views
    links = {link.key: (link.view, link.feature) for name, _ in features if (link := plan.link_of(views[name]))}
    with_links = _from_views(plan, rows, list(links.values()), folder)
    for key, (view, feature) in links.items():
        rows = rows.append_column(key, with_links.column(f"{view}__{feature}"))
    return _from_views(plan, rows, features, folder).drop_columns([*links])


def _from_views(plan: Plan, rows: pa.Table, features: Features, folder: Path) -> pa.Table:
    names = dict.fromkeys(view for view, _ in features)
    joins = [
        _join(plan, view, [feature for name, feature in dict.fromkeys(features) if name == view], folder)
        for view in names
    ]
    found = point_in_time_join(rows, "as_of", joins)
    return found.select([*rows.column_names, *(f"{view}__{name}" for view, name in dict.fromkeys(features))])


def _join(plan: Plan, name: str, features: Sequence[str], folder: Path) -> ViewJoin:
    view = plan.build_features.views[name]
    key = plan.entity_of(view).key
    return ViewJoin(
        parts=FeatureFiles.find(folder / name, folder).parts(),
        keys=((key, key),),
        event_time="event_timestamp",
        created_time="created_timestamp",
        cutoff=True,
        ttl=view.ttl if view.ttl < LONGEST else None,
        columns=tuple((feature, f"{name}__{feature}") for feature in features),
    )
