"""Features joined to rows beside those of their own service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.stores.linked_retrieval import historical_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    import feast

    from core.contracts import ContractFeature


def join_features(store: feast.FeatureStore, rows: pa.Table, key: str, features: Sequence[ContractFeature]) -> pa.Table:
    """Add columns to `rows`, which has `key` and `as_of`: features that its own service does not have, point in time."""
    wanted = rows.select([key, "as_of"]).rename_columns([key, "event_timestamp"])
    references = [f"{feature.view}:{feature.name}" for feature in features]
    joined = historical_features(store, wanted, references)
    # The store may give the rows in an order of its own.
    order = pc.sort_indices(joined, [(key, "ascending"), ("event_timestamp", "ascending")])
    place = pc.sort_indices(pc.sort_indices(rows, [(key, "ascending"), ("as_of", "ascending")]))
    for feature in features:
        rows = rows.append_column(feature.column, joined.column(feature.column).take(order).take(place))
    return rows
