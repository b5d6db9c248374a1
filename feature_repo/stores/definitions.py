"""The Feast entities, views and services, generated from the plan; only this module creates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import feast
from feast import types as feast_types
from feast.data_format import ParquetFormat

from feature_repo.files.datasets import snapshot_glob
from feature_repo.stores.linked_retrieval import LINK
from feature_repo.views.definitions import declared_table

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan, View

_TYPES = {
    "int32": feast_types.Int32,
    "int64": feast_types.Int64,
    "float32": feast_types.Float32,
    "float64": feast_types.Float64,
    "string": feast_types.String,
    "bool": feast_types.Bool,
    "timestamp": feast_types.UnixTimestamp,
    "text": feast_types.String,
}
_KEY_TYPES = {"int64": feast.ValueType.INT64, "string": feast.ValueType.STRING}

#: Tag of a feature view: the name of its online table, which contains the version of its definition.
ONLINE_TABLE = "online_table"


@dataclass(frozen=True)
class Definitions:
    """The Feast objects that `apply` writes to the registry."""

    entities: dict[str, feast.Entity]
    views: dict[str, feast.FeatureView]
    services: dict[str, feast.FeatureService]

    def all(self) -> list[object]:
        """Return every object, dependencies first."""
        return [*self.entities.values(), *self.views.values(), *self.services.values()]


def define(plan: Plan, features: Path) -> Definitions:
    """Return the Feast objects of `plan`, whose snapshots lie in the folder `features` (relative to the repo's folder)."""
    entities = {
        name: feast.Entity(
            name=name,
            join_keys=[entity.key],
            value_type=_KEY_TYPES[entity.dtype],
            tags={LINK: entity.of.replace(".", ":")} if entity.of else None,
        )
        for name, entity in plan.entities.items()
    }
    views = {
        name: _view(plan, name, view, entities[plan.entity_name(view)], features)
        for name, view in plan.build_features.views.items()
    }
    return Definitions(entities, views, {name: _service(plan, name, views) for name in plan.build_features.services})


def _view(plan: Plan, name: str, view: View, entity: feast.Entity, features: Path) -> feast.FeatureView:
    source = feast.FileSource(
        name=f"{name}_snapshots",
        path=snapshot_glob(features, name),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    key = feast.Field(name=entity.join_key, dtype=_TYPES[plan.entities[entity.name].dtype])
    return feast.FeatureView(
        name=name,
        entities=[entity],
        ttl=view.ttl,
        schema=[key, *(_field(feature, view) for feature in view.features)],
        source=source,
        online=True,
        tags={ONLINE_TABLE: declared_table(plan, name).name},
    )


def _field(name: str, view: View) -> feast.Field:
    feature = view.features[name]
    description = ", ".join(filter(None, [feature.meaning, feature.unit]))
    return feast.Field(name=name, dtype=_TYPES[feature.dtype], description=description)


def _service(plan: Plan, name: str, views: dict[str, feast.FeatureView]) -> feast.FeatureService:
    chosen: dict[str, list[str]] = {}
    for view, feature in plan.build_features.service_features(name):
        chosen.setdefault(view, []).append(feature)
    return feast.FeatureService(name=name, features=[views[view][features] for view, features in chosen.items()])
