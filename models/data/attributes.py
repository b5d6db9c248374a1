"""Join further features to rows of a training set, besides those of its feature service."""

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
    """Return `rows`, which has `key` and `as_of`, with the point-in-time values of `features` as further columns."""
    entity_rows = rows.select([key, "as_of"]).rename_columns([key, "event_timestamp"])
    references = [f"{feature.view}:{feature.name}" for feature in features]
    joined = historical_features(store, entity_rows, references)
    # The store may return the rows in another order.
    order = pc.sort_indices(joined, [(key, "ascending"), ("event_timestamp", "ascending")])
    rank = pc.sort_indices(pc.sort_indices(rows, [(key, "ascending"), ("as_of", "ascending")]))
    for feature in features:
        rows = rows.append_column(feature.column, joined.column(feature.column).take(order).take(rank))
    return rows
