"""Features of the past from Feast, also those of entities that are reached by a link: first the link, then what it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import feast
    import pyarrow as pa

#: Tag of a linked entity in the registry: the feature that holds its key, as Feast writes one (`view:feature`).
LINK = "of"


def historical_features(store: feast.FeatureStore, rows: pa.Table, references: Sequence[str]) -> pa.Table:
    """Join features to `rows` as they were known at its `event_timestamp`.

    What is linked is what the link said then: where it was expired or not known, so are the features of what it names.

    Parameters
    ----------
    rows : the key of what is predicted for, `event_timestamp`, and any other columns.
    references : features as Feast writes them.

    Returns
    -------
    The columns of `rows`, then the features as `view__feature`; the rows may be in another order.

    """
    links = _links(store, references)
    if links:
        known = _joined(store, rows, list(dict.fromkeys(links.values())))
        rows = known.select(rows.column_names)
        for key, reference in links.items():
            rows = rows.append_column(key, known.column(reference.replace(":", "__")))
    return _joined(store, rows, references).drop_columns([*links])


def _links(store: feast.FeatureStore, references: Iterable[str]) -> dict[str, str]:
    """Find in the registry which of the features belong to linked entities: for each key the feature that holds it."""
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
