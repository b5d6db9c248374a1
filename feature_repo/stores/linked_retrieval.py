"""Historical features from Feast, including those of linked entities: first the link, then the features of its entity."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import feast
    import pyarrow as pa

#: Tag of a linked entity in the registry: the reference (`view:feature`) of the feature with its key.
LINK = "of"


def historical_features(store: feast.FeatureStore, rows: pa.Table, references: Sequence[str]) -> pa.Table:
    """Return `rows` with features as they were known at `event_timestamp`.

    Links are resolved as of the same instant. Where a link was expired or unknown, the features of its entity are null.

    Parameters
    ----------
    rows : the key of the predicted entity, `event_timestamp`, and any other columns.
    references : features as Feast's references (`view:feature`).

    Returns
    -------
    The columns of `rows`, then the features as `view__feature`; the rows may be in another order.

    """
    links = _links(store, references)
    if links:
        with_links = _joined(store, rows, list(dict.fromkeys(links.values())))
        rows = with_links.select(rows.column_names)
        for key, reference in links.items():
            rows = rows.append_column(key, with_links.column(reference.replace(":", "__")))
    return _joined(store, rows, references).drop_columns([*links])


def _links(store: feast.FeatureStore, references: Iterable[str]) -> dict[str, str]:
    """Return, for each key of a linked entity among the features' views, the reference of the feature with that key."""
    links = {}
    for view in dict.fromkeys(reference.partition(":")[0] for reference in references):
        for name in store.get_feature_view(view).entities:
            entity = store.get_entity(name)
            if LINK in entity.tags:
                links[entity.join_key] = entity.tags[LINK]
    return links


def _joined(store: feast.FeatureStore, rows: pa.Table, references: Sequence[str]) -> pa.Table:
    return store.get_historical_features(
        rows, list(references), full_feature_names=True, filter_by_created_timestamp=True
    ).to_arrow()
