"""What a bundle's model says of one vector, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.explanations import ORDERS, Explanation, background_rows, contributions, explanation
from models.scoring.columns import spread
from models.scoring.encoding import Inputs, encode, encode_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Value
    from models.bundles.bundle import Bundle


def explain_vector(bundle: Bundle, vector: Sequence[Value]) -> Explanation:
    """Explain what a loaded bundle says of one vector in its contract's order; of several classes, of the likeliest.

    The training rows that the bundle keeps stand for what is not known.
    """
    features = bundle.contract.features
    found = contributions(
        bundle.model, bundle.contract.problem, encode([vector], features), background_of(bundle), orders=ORDERS
    )
    likeliest = int((found.base + found.values[0].sum(axis=0)).argmax())
    return explanation(found, 0, features, vector, likeliest)


def background_of(bundle: Bundle) -> Inputs:
    """Encode some of the training rows that a bundle keeps; it keeps no free text, so that is missing in them."""
    kept = pq.read_table(pa.BufferReader(bundle.sample))
    some = kept.take(spread(len(kept), background_rows(len(bundle.contract.features))))
    for feature in bundle.contract.features:
        if feature.column not in some.column_names:
            some = some.append_column(feature.column, pa.nulls(len(some), pa.string()))
    return encode_table(some, bundle.contract.features)
